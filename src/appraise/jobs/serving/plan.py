"""How to serve, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appraise import logs
from appraise.jobs.batches import BatchPlan
from appraise.jobs.kafka.finding import KafkaPlan
from appraise.jobs.keys import KeyPlace
from appraise.jobs.loading import LoadingPlan
from appraise.registry.mlflow_registry import Registry
from appraise.serving.keys import KeyFile
from appraise.serving.rest.limits import Limits
from appraise.serving.stored import FeatureAges
from appraise.store.database import Database
from appraise.store.logplan import LogPlan


@dataclass(frozen=True, slots=True)
class ServePlan:
    """How to serve: plain values, which every worker is given.

    Attributes:
        registry: where models are; another process may ask in this one's stead.
        home: the folder that holds all state.
        names: the models; every registered one where empty.
        default: the model of `/predict`; None means the first of `names`, or else the only one.
        host, port: where to listen; port 0 takes a free one.
        workers: processes.
        insecure: serve other machines without keys.
        database: where stored features are; None serves without them.
        feature_ages: how old they may be.
        log: how estimates are recorded; None records nothing.
        kafka: where messages are sent to; None sends none.
        batches: how batch runs are carried out; None takes none.
        limits: what is allowed.
        drain_seconds: how long to answer as not ready before the end.
        finish_seconds: how long requests that have begun may take then.
        log_level, log_format: as of the settings.
    """

    registry: Registry
    home: Path
    names: tuple[str, ...] = ()
    default: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    insecure: bool = False
    database: Database | None = None
    feature_ages: FeatureAges = field(default_factory=FeatureAges)
    log: LogPlan | None = None
    kafka: KafkaPlan | None = None
    batches: BatchPlan | None = None
    limits: Limits = field(default_factory=Limits)
    drain_seconds: float = 0.0
    finish_seconds: float = 10.0
    log_level: logs.Level = "info"
    log_format: logs.Format = "auto"

    @property
    def keys(self) -> KeyFile:
        """API keys."""
        return KeyFile(self.home / "keys.json") if self.key_place is None else self.key_place.file

    @property
    def key_place(self) -> KeyPlace | None:
        """Where they are kept; None without a database."""
        return None if self.database is None else KeyPlace(self.home, self.database)

    @property
    def loading(self) -> LoadingPlan | None:
        """What brings the prediction log into the database; None where there is nothing to bring, or nowhere to."""
        if self.log is None or self.log.mode == "off" or self.database is None:
            return None
        return LoadingPlan(self.log, self.database, self.log_level, self.log_format)


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, and where.

    Attributes:
        url: where requests go.
        models: versions by name.
        default: the model of `/predict`.
        workers: processes.
        keys: whether a key is asked for.
        example: a row that the default model values.
    """

    url: str
    models: Mapping[str, str]
    default: str | None
    workers: int
    keys: bool
    example: Mapping[str, object] | None = None

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "url": self.url,
            "models": dict(self.models),
            "default": self.default,
            "workers": self.workers,
            "keys": self.keys,
        }
