"""Settings: a flag beats the environment, the environment beats `appraise.toml` in the working folder.

Environment variables begin with `APPRAISE_`; two underscores lead into a section (`APPRAISE_TRAIN__QUALITY`).
`docs/settings.md` documents each; a test holds the two together.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from appraise.errors import SettingsError

PREFIX = "APPRAISE_"
FILE = "appraise.toml"
_NESTING = "__"
_HINT = "docs/settings.md lists every setting and what it may be"
#: Further variables of a setting, the first that is there counts; its own variable beats them.
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "kafka.bootstrap_servers": ("APPRAISE_KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
}
#: What is allowed, in words, where pydantic speaks of parsing.
_ALLOWED = {
    "byte_size": "it should be a size in bytes such as 4GiB",
    "int_parsing": "it should be a whole number",
    "float_parsing": "it should be a number",
    "model_type": "it should be a section with settings in it",
}
_STORES = ("sqlite:///", "postgresql://", "postgresql+", "mysql://", "mysql+", "http://", "https://")


def _store_address(value: str) -> str:
    if not value.startswith(_STORES):
        raise ValueError("it should be a database (sqlite:///FILE, postgresql://...) or a server (https://...)")
    return value


def _postgres_address(value: str) -> str:
    if not value.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        raise ValueError("it should be the address of a PostgreSQL database (postgresql://user@host/database)")
    return re.sub(r"^[a-z+]+://", "postgresql://", value)


def _folder_or_bucket(value: str) -> str:
    if "://" in value and not value.startswith("s3://"):
        raise ValueError("it should be a folder or an s3:// address")
    return value


def _http_address(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("it should be an http:// or https:// address")
    return value


def _brokers(value: str) -> str:
    if not all(re.fullmatch(r"\s*(\[[0-9a-fA-F:.]+\]|[^\s:/@,]+):\d{1,5}\s*", one) for one in value.split(",")):
        raise ValueError("it should be host:port, or several of them with commas between")
    return ",".join(one.strip() for one in value.split(","))


def _topic_prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,100}", value):
        raise ValueError("it should be at most 100 letters, digits, dots, dashes and underscores")
    return value


def _flat(value: object, path: str = "") -> object:
    """Options by their whole names: TOML reads `security.protocol` without quotes as a table in a table."""
    if not isinstance(value, Mapping):
        return value
    found: dict[str, object] = {}
    for name, inner in value.items():
        whole = f"{path}{name}"
        nested = _flat(inner, f"{whole}.")
        found.update(nested if isinstance(nested, Mapping) else {whole: nested})
    return found


Folder = Annotated[Path, AfterValidator(Path.expanduser)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogSettings(_Section):
    """What is logged to stderr, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is logged"
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`json` is one object a line; `auto` is `text` on a terminal and `json` elsewhere"
    )


class TrainSettings(_Section):
    """How models are trained and chosen."""

    quality: Literal["fast", "best"] = Field(
        default="fast",
        description="`fast` takes the cheapest model within the row-time budget whose error is within 1% of the least, "
        "`best` the best of all",
    )
    row_budget_us: float = Field(
        default=250.0, gt=0, allow_inf_nan=False, description="time that one estimate may take, in microseconds"
    )
    threads: int | None = Field(default=None, ge=1, description="threads for training; all processors where unset")


class MarketSettings(_Section):
    """The market level of dated data: the median log residual of recent sales."""

    recording_lag_days: int = Field(default=1, ge=0, description="days until a sale is known")
    window_days: int = Field(default=30, ge=1, description="days of recent sales that the level is taken from")


class MlflowSettings(_Section):
    """Where runs and models are kept."""

    tracking_uri: Annotated[str, AfterValidator(_store_address)] | None = Field(
        default=None, description="database or server of MLflow; `HOME/mlflow.db` where unset"
    )
    artifact_root: Annotated[str, AfterValidator(_folder_or_bucket)] | None = Field(
        default=None,
        description="folder or `s3://` address for artifacts of new experiments; `HOME/mlflow-artifacts` where unset, "
        "unless `tracking_uri` is a server, which decides for itself",
    )


class ServeSettings(_Section):
    """The REST service."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: int = Field(default=1, ge=1, le=256, description="processes that share the port")
    max_batch_rows: int = Field(default=10_000, ge=1, description="most rows of one batch")
    max_body: ByteSize = Field(default=ByteSize(16 * 2**20), gt=0, description="most bytes of one body (`16MiB`)")
    request_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="time in which a request must have arrived whole"
    )
    queue: int = Field(default=1024, ge=1, description="most rows that wait to be valued at a time, in one process")
    max_connections: int = Field(default=10_000, ge=1, description="most clients connected at a time, to one process")
    rate_per_second: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="requests of one API key in a second; no limit where unset"
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="origins whose pages may call the service from a browser; `*` is any"
    )
    batch_inputs: tuple[str, ...] = Field(
        default=(), description="folders and `s3://` addresses that `POST /run_batch` may read; none where empty"
    )
    batch_runs: int = Field(default=8, ge=1, description="most batch runs that wait or are under way at a time")
    drain_seconds: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="how long to answer as not ready before the end"
    )
    finish_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="how long requests that have begun may take at the end"
    )


class DatabaseSettings(_Section):
    """How the database is used; `database_url` says which one."""

    pool_size: int = Field(default=5, ge=1, le=1000, description="most connections of one process")
    connect_timeout: float = Field(
        default=5.0, ge=1, allow_inf_nan=False, description="seconds in which a connection must be had"
    )
    statement_timeout: float = Field(
        default=30.0, gt=0, allow_inf_nan=False, description="seconds that one statement may take"
    )


class FeatureSettings(_Section):
    """Stored features."""

    warn_after_days: float = Field(
        default=30.0, gt=0, allow_inf_nan=False, description="age from which the use of a stored feature is warned of"
    )
    refuse_after_days: float = Field(
        default=365.0, gt=0, allow_inf_nan=False, description="age from which a stored feature is too old to be used"
    )


class KafkaSettings(_Section):
    """The Kafka cluster."""

    bootstrap_servers: Annotated[str, AfterValidator(_brokers)] | None = Field(
        default=None, description="`host:port` of its brokers; the broker of `appraise kafka start` where unset"
    )
    topic_prefix: Annotated[str, AfterValidator(_topic_prefix)] = Field(
        default="", description="what the names of topics and consumer groups begin with"
    )
    seconds: float = Field(
        default=10.0, gt=0, le=300, allow_inf_nan=False, description="how long one question to the cluster may take"
    )
    options: Annotated[dict[str, str | int | float | bool], BeforeValidator(_flat)] = Field(
        default={}, description="settings of librdkafka by their own names (`security.protocol`)"
    )


class StreamSettings(_Section):
    """The workers of the streams."""

    batch: int = Field(default=5_000, ge=1, le=100_000, description="most messages of one transaction")
    transaction_seconds: float = Field(
        default=15.0, ge=1, le=600, allow_inf_nan=False, description="the deadline of one transaction"
    )
    session_seconds: float = Field(
        default=15.0, ge=6, le=1800, allow_inf_nan=False, description="silence after which others take its partitions"
    )
    stall_seconds: float = Field(
        default=30.0, ge=1, allow_inf_nan=False, description="time without progress after which clients are made anew"
    )
    registry_seconds: float = Field(
        default=300.0, ge=1, allow_inf_nan=False, description="time between questions to the registry for new models"
    )
    health_host: str = Field(default="127.0.0.1", description="address of the workers' health and metrics")
    health_port: int = Field(default=0, ge=0, le=65535, description="port of them; 0 takes a free one")


class PredictionLogSettings(_Section):
    """The record of every estimate that is served."""

    mode: Literal["async", "sync", "off"] = Field(
        default="async",
        description="`async` answers at once, `sync` when the record is on the disk, `off` records nothing",
    )
    commit_seconds: float = Field(
        default=0.05, gt=0, le=10, allow_inf_nan=False, description="longest time that records gather before a write"
    )
    queue: int = Field(default=20_000, ge=1, description="most records that wait to be on the disk, in one process")
    wait_seconds: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="how long a request waits for room before it is refused"
    )
    segment_size: ByteSize = Field(
        default=ByteSize(64 * 2**20), ge=4096, description="size at which a new file of the spool begins (`64MiB`)"
    )
    segment_seconds: float = Field(
        default=3600.0, gt=0, allow_inf_nan=False, description="age at which a new file of the spool begins"
    )
    keep_days: float = Field(
        default=7.0, ge=0, allow_inf_nan=False, description="how long a file is kept that is in the database whole"
    )
    lag_seconds: float = Field(
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        description="how long records may wait for the database while requests take the whole processor",
    )


class S3Settings(_Section):
    """The S3 service; credentials come from the environment and files that the AWS tools read."""

    endpoint: Annotated[str, AfterValidator(_http_address)] | None = Field(
        default=None, description="address of a service other than Amazon's"
    )


class Settings(BaseSettings):
    """All settings, immutable."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter=_NESTING,
        env_ignore_empty=True,
        toml_file=FILE,
    )

    home: Folder = Field(default=Path(".appraise"), description="the one folder that holds all state")
    data_dir: Folder | None = Field(
        default=None, description="folder in which a dataset's file is looked for by its name (`california.csv`)"
    )
    memory_limit: ByteSize | None = Field(
        default=None, gt=0, description="memory that loading data may take (`4GiB`); measured where unset"
    )
    database_url: Annotated[str, AfterValidator(_postgres_address)] | None = Field(
        default=None,
        description="PostgreSQL database (`postgresql://user:password@host/database`); an embedded one where unset",
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="seed of everything that is random")
    log: LogSettings = LogSettings()
    train: TrainSettings = TrainSettings()
    market: MarketSettings = MarketSettings()
    mlflow: MlflowSettings = MlflowSettings()
    database: DatabaseSettings = DatabaseSettings()
    features: FeatureSettings = FeatureSettings()
    kafka: KafkaSettings = KafkaSettings()
    stream: StreamSettings = StreamSettings()
    s3: S3Settings = S3Settings()
    serve: ServeSettings = ServeSettings()
    prediction_log: PredictionLogSettings = PredictionLogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file."""
        return init_settings, env_settings, _OtherNames(settings_cls), TomlConfigSettingsSource(settings_cls)


class _OtherNames(PydanticBaseSettingsSource):
    """Variables that other programs of the field read too."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Nothing by field: sections are read whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """What the variables say."""
        given = (
            (key, [os.environ[name] for name in names if os.environ.get(name)]) for key, names in OTHER_NAMES.items()
        )
        return _nested({key: values[0] for key, values in given if values})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its place (`train.quality`), its variable, its default and what it is for."""

    key: str
    variable: str
    default: object
    description: str


def all_settings() -> tuple[Setting, ...]:
    """Every setting, in order."""
    return tuple(_walk(Settings, ()))


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings of this process.

    Args:
        flags: what the command line gave, by key (`{"train.quality": "best"}`); None means not given.

    Raises:
        SettingsError: naming the flag, variable or file at fault, what was received and what is allowed.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**_nested(given))
    except ValidationError as error:
        raise _explained(error, given) from error
    except SourceError as error:
        raise _not_json(error) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{FILE} is not TOML: {error}", hint="mend the file, or remove it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{FILE} cannot be read: {error}", hint="mend the file, or remove it") from error


def unknown_variables() -> tuple[tuple[str, str | None], ...]:
    """Environment variables with our prefix that are not settings, each with the setting that was probably meant.

    They are worth a warning and not an error: Kubernetes gives every container variables such as
    `APPRAISE_SERVICE_HOST` when a service is named so.
    """
    known = {setting.variable for setting in all_settings()} | set(chain(*OTHER_NAMES.values()))
    sections = {variable.rpartition(_NESTING)[0] for variable in known}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    return tuple((name, _closest(name.upper(), known)) for name in unknown if name.upper() not in sections)


def _walk(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        section = _section(info)
        if section is not None:
            yield from _walk(section, (*path, name))
        else:
            keys = (*path, name)
            yield Setting(".".join(keys), _variable(keys), info.get_default(), info.description or "")


def _section(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _variable(keys: tuple[str, ...]) -> str:
    return PREFIX + _NESTING.join(keys).upper()


def _nested(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flags.items():
        *sections, name = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested


def _explained(error: ValidationError, flags: Mapping[str, Any]) -> SettingsError:
    first = error.errors()[0]
    keys = tuple(str(part) for part in first["loc"])
    key = ".".join(keys)
    where = _origin(key, keys, flags)
    if first["type"] == "extra_forbidden":
        meant = _closest(key, [setting.key for setting in all_settings()])
        return SettingsError(
            f"{where} is not a setting", hint=_HINT if meant is None else f"did you mean {_like(where, meant)}?"
        )
    if keys[:2] == ("kafka", "options") and len(keys) > 2:
        # Not a word of the value: it may be a secret.
        return SettingsError(f"{'.'.join(keys[:3])} should be a text, a number, true or false", hint=_HINT)
    received = re.sub(r"://.*@", "://***@", repr(first["input"]))
    allowed = _ALLOWED.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return SettingsError(f"{where} is {received}, but {allowed.replace('Input should', 'it should')}", hint=_HINT)


def _not_json(error: SourceError) -> SettingsError:
    """The variable that should be JSON and is not; not a word of its value, which may be a secret."""
    forms = {_variable((name,)): "object" for name, info in Settings.model_fields.items() if _section(info)}
    for setting in all_settings():
        if isinstance(setting.default, tuple | Mapping):
            forms[setting.variable] = "array" if isinstance(setting.default, tuple) else "object"
    for name, text in os.environ.items():
        form = forms.get(name.upper())
        try:
            json.loads(text if form else "null")
        except ValueError:
            example = '["a", "b"]' if form == "array" else '{"name": "value"}'
            return SettingsError(f"{name} is not JSON, but it should be an {form} such as {example}", hint=_HINT)
    return SettingsError(f"an environment variable cannot be read: {error}", hint=_HINT)


def _origin(key: str, keys: tuple[str, ...], flags: Mapping[str, Any]) -> str:
    """The flag, variable or place in the file that a setting came from."""
    if key in flags:
        return "--" + keys[-1].replace("_", "-")
    # A section may come from one variable as JSON.
    names = {_variable(keys[: depth + 1]) for depth in range(len(keys))} | set(OTHER_NAMES.get(key, ()))
    given = [name for name in os.environ if name.upper() in names]
    return max(given, key=len) if given else f"{key} in {FILE}"


def _like(where: str, key: str) -> str:
    return _variable(tuple(key.split("."))) if where.upper().startswith(PREFIX) else key


def _closest(name: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return found[0] if found else None
