"""The composition root: the one place that builds registries and workspaces from settings."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appraise.datasets.paths import plain
from appraise.errors import SettingsError
from appraise.registry.mlflow_registry import Registry
from appraise.settings import Settings

if TYPE_CHECKING:
    from appraise.jobs.batches import BatchPlan
    from appraise.jobs.ingesting import IngestingPlan
    from appraise.jobs.kafka.broker import LocalBroker
    from appraise.jobs.kafka.finding import KafkaPlan
    from appraise.jobs.keys import KeyPlace
    from appraise.jobs.scoring import ScoringPlan
    from appraise.jobs.serving.plan import ServePlan
    from appraise.jobs.up import UpPlan
    from appraise.jobs.workspace import Workspace
    from appraise.serving.streaming.clients import KafkaConfig
    from appraise.serving.streaming.lives import WorkerLimits
    from appraise.serving.streaming.topics import Topics
    from appraise.store.database import Database
    from appraise.store.logplan import LogPlan

#: What a service that runs takes no part in.
_NOT_SERVED = {"data_dir", "market", "memory_limit", "seed", "train"}
#: What may hold a password.
_SECRET = ("database_url", "kafka.options", "mlflow.tracking_uri")
#: Where clients look for the service.
_ADDRESS = ("host", "port", "workers")


def home_of(settings: Settings) -> Path:
    """The whole path of the folder that holds all state."""
    return plain(settings.home.absolute())


def build_registry(settings: Settings) -> Registry:
    """The model registry; it opens nothing before it is asked something."""
    home = home_of(settings)
    tracking_uri = settings.mlflow.tracking_uri or f"sqlite:///{home / 'mlflow.db'}"
    return Registry(
        tracking_uri,
        _artifact_root(settings, home, tracking_uri),
        home / "cache" / "models",
        s3_endpoint=settings.s3.endpoint,
    )


def build_database(settings: Settings) -> Database:
    """The database; it opens nothing before it is asked something, and the caller closes it."""
    from appraise.store.database import Database, DatabaseOptions

    return Database(
        DatabaseOptions(
            url=settings.database_url,
            folder=home_of(settings) / "postgres",
            pool_size=settings.database.pool_size,
            connect_timeout=settings.database.connect_timeout,
            statement_timeout=settings.database.statement_timeout,
        )
    )


def build_broker(settings: Settings) -> LocalBroker:
    """The Kafka broker of this machine, which may run or not."""
    from appraise.jobs.kafka.broker import LocalBroker

    return LocalBroker(home_of(settings) / "kafka")


def build_kafka_plan(settings: Settings) -> KafkaPlan:
    """Where Kafka is looked for."""
    from appraise.jobs.kafka.finding import KafkaPlan

    return KafkaPlan(
        folder=home_of(settings) / "kafka",
        servers=settings.kafka.bootstrap_servers,
        options=settings.kafka.options,
        seconds=settings.kafka.seconds,
        topics=build_topics(settings),
    )


def build_kafka(settings: Settings) -> KafkaConfig:
    """The Kafka cluster: the configured one, or else the broker of this machine.

    Raises:
        BrokerUnavailableError: none is configured, and none runs here.
    """
    return build_kafka_plan(settings).find()


def build_topics(settings: Settings) -> Topics:
    """The names of the topics."""
    from appraise.serving.streaming.topics import Topics

    return Topics(settings.kafka.topic_prefix)


def build_log_plan(settings: Settings) -> LogPlan:
    """How served estimates are recorded."""
    from appraise.store.logplan import LogPlan

    log = settings.prediction_log
    return LogPlan(
        folder=home_of(settings) / "log",
        mode=log.mode,
        commit_seconds=log.commit_seconds,
        queue=log.queue,
        wait_seconds=log.wait_seconds,
        segment_bytes=int(log.segment_size),
        segment_seconds=log.segment_seconds,
        keep_days=log.keep_days,
        lag_seconds=log.lag_seconds,
    )


def build_key_place(settings: Settings) -> KeyPlace:
    """Where API keys are kept."""
    from appraise.jobs.keys import KeyPlace

    return KeyPlace(home_of(settings), build_database(settings))


def build_workspace(settings: Settings) -> Workspace:
    """What every job is given."""
    from appraise.jobs.workspace import Workspace

    return Workspace(
        home=home_of(settings),
        registry=build_registry(settings),
        data_dir=settings.data_dir,
        memory_limit=settings.memory_limit,
        seed=settings.seed,
        quality=settings.train.quality,
        row_budget_us=settings.train.row_budget_us,
        threads=settings.train.threads or _processors(),
        recording_lag_days=settings.market.recording_lag_days,
        window_days=settings.market.window_days,
        s3_endpoint=settings.s3.endpoint,
    )


def build_serve_plan(
    settings: Settings, *, names: tuple[str, ...] = (), default: str | None = None, insecure: bool = False
) -> ServePlan:
    """How to serve models over HTTP.

    Args:
        settings: where models are, and what is allowed.
        names: the models; every registered one where empty.
        default: the model of `/predict`; None means the first of `names`, or else the only one.
        insecure: serve other machines without keys.
    """
    # Not `Workspace`: what trains takes long to import, and a server should start soon.
    from appraise.jobs.serving.plan import ServePlan
    from appraise.serving.rest.limits import Limits
    from appraise.serving.stored import FeatureAges

    serve = settings.serve
    return ServePlan(
        registry=build_registry(settings),
        home=home_of(settings),
        names=names,
        default=default,
        host=serve.host,
        port=serve.port,
        workers=serve.workers,
        insecure=insecure,
        database=build_database(settings),
        log=build_log_plan(settings),
        feature_ages=FeatureAges(
            warn=dt.timedelta(days=settings.features.warn_after_days),
            refuse=dt.timedelta(days=settings.features.refuse_after_days),
        ),
        kafka=build_kafka_plan(settings),
        batches=_build_batch_plan(settings),
        limits=Limits(
            max_batch_rows=serve.max_batch_rows,
            max_body_bytes=int(serve.max_body),
            request_seconds=serve.request_seconds,
            queue=serve.queue,
            max_connections=serve.max_connections,
            rate_per_second=serve.rate_per_second,
            cors_origins=serve.cors_origins,
        ),
        drain_seconds=serve.drain_seconds,
        finish_seconds=serve.finish_seconds,
        log_level=settings.log.level,
        log_format=settings.log.format,
    )


def _build_batch_plan(settings: Settings) -> BatchPlan:
    from appraise.jobs.batches import BatchPlan

    return BatchPlan(
        registry=build_registry(settings),
        home=home_of(settings),
        inputs=settings.serve.batch_inputs,
        most_open=settings.serve.batch_runs,
        data_dir=settings.data_dir,
        database=build_database(settings),
        s3_endpoint=settings.s3.endpoint,
        log_level=settings.log.level,
        log_format=settings.log.format,
    )


def build_up_plan(settings: Settings, flags: Mapping[str, Any]) -> UpPlan:
    """How to serve in the background.

    What the service that runs, or was not ended by `appraise down`, was given by flags is kept unless it is given anew,
    and so is its address where nothing says another one now. Other settings reach the process as they reached this one:
    by its environment and its working folder.

    Args:
        settings: where models are, and what is allowed.
        flags: what was given on the command line: `model`, `default`, `host`, `port`, `workers`, `insecure`.

    Raises:
        SettingsError: the default is none of the models.
    """
    from appraise.jobs.starting import Start, service_at
    from appraise.jobs.up import UpPlan

    home = home_of(settings)
    before = Start.of(service_at(home).last())
    kept = {name: value for name, value in before.flags.items() if name not in flags}
    if "model" in flags:
        kept.pop("default", None)
    wanted = {**kept, **flags}
    address = {name: wanted[name] for name in _ADDRESS if name in wanted}
    for name in _ADDRESS:
        if name not in wanted and name not in settings.serve.model_fields_set:
            was = before.settings.get(f"serve.{name}")
            if was is not None and was != getattr(settings.serve, name):
                address[name] = kept[name] = was
    serve = settings.serve.model_copy(update=address)
    settings = settings.model_copy(update={"serve": serve})
    names, default, insecure = tuple(wanted.get("model", ())), wanted.get("default"), wanted.get("insecure", False)
    if names and default is not None and default not in names:
        raise SettingsError(
            f"the default {default!r} is not among the models that are served: {', '.join(names)}",
            hint="give them anew with --model",
        )
    command = [
        *(sys.executable, "-P", "-m", "appraise", "--home", str(home), "--log-level", settings.log.level, "serve"),
        *("--json", "--host", serve.host, "--port", str(serve.port), "--workers", str(serve.workers)),
        *(word for name in names for word in ("--model", name)),
        *(["--insecure"] if insecure else []),
    ]
    in_force = _in_force(settings, {"models": list(names), "default": default, "insecure": insecure})
    return UpPlan(
        home=home,
        keys=build_key_place(settings).file,
        registry=build_registry(settings),
        command=tuple(command),
        fingerprint=hashlib.sha256(json.dumps(in_force, sort_keys=True).encode()).hexdigest(),
        end_seconds=build_end_seconds(settings),
        host=serve.host,
        port=serve.port,
        names=names,
        default=default,
        insecure=insecure,
        start=Start(wanted, in_force),
        kept=kept,
    )


def _in_force(settings: Settings, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What a service is started with, by key, as JSON; of what may be secret a digest."""
    from appraise import __version__
    from appraise.jobs.starting import HIDDEN

    found: dict[str, Any] = {"version": __version__, "python": sys.executable, **flags}
    sections = settings.model_dump(mode="json", exclude=_NOT_SERVED)
    for section, value in sections.items():
        inner = value if isinstance(value, dict) else {"": value}
        found.update({f"{section}.{name}".rstrip("."): one for name, one in inner.items()})
    for key in _SECRET:
        if found.get(key):
            digest = hashlib.sha256(json.dumps(found[key], sort_keys=True).encode()).hexdigest()
            found[key] = HIDDEN + digest[:16]
    return found


def build_end_seconds(settings: Settings) -> float:
    """How long a service may take to end."""
    return settings.serve.drain_seconds + settings.serve.finish_seconds + 10.0


def build_scoring_plan(
    settings: Settings,
    *,
    partition: int | None = None,
    dataset: str | None = None,
    group: str | None = None,
    slot: str | None = None,
) -> ScoringPlan:
    """How to answer price requests in Kafka.

    Args:
        settings: where things are, and what is allowed.
        partition: the one partition; the group shares them out where None.
        dataset: the model of requests that name none.
        group: the consumer group.
        slot: the worker's name within it.

    Raises:
        BrokerUnavailableError: no cluster is configured, and none runs here.
    """
    from appraise.jobs.scoring import ScoringPlan

    topics, log = build_topics(settings), build_log_plan(settings)
    batch = settings.stream.batch
    return ScoringPlan(
        kafka=build_kafka(settings),
        topics=topics,
        registry=build_registry(settings),
        home=home_of(settings),
        group=group or topics.group("score"),
        limits=_worker_limits(settings),
        partition=partition,
        slot=slot,
        dataset=dataset,
        # A prediction is on the disk before it can be read in Kafka; two batches may be under way.
        log=None if log.mode == "off" else replace(log, mode="sync", queue=max(log.queue, 4 * batch)),
        health_host=settings.stream.health_host,
        health_port=settings.stream.health_port,
        ask_seconds=settings.stream.registry_seconds,
    )


def build_ingesting_plan(
    settings: Settings, *, partition: int | None = None, dataset: str | None = None, group: str | None = None
) -> IngestingPlan:
    """How to write feature events into the database.

    Args:
        settings: where things are, and what is allowed.
        partition: the one partition; the group shares them out where None.
        dataset: a preset or spec whose columns the events must be about.
        group: the consumer group.

    Raises:
        BrokerUnavailableError: no cluster is configured, and none runs here.
        SpecError: the dataset is none.
    """
    from appraise.datasets.presets import find_spec
    from appraise.jobs.ingesting import IngestingPlan

    topics = build_topics(settings)
    return IngestingPlan(
        kafka=build_kafka(settings),
        topics=topics,
        database=build_database(settings),
        group=group or topics.group("ingest"),
        limits=_worker_limits(settings),
        partition=partition,
        spec=None if dataset is None else find_spec(dataset),
        health_host=settings.stream.health_host,
        health_port=settings.stream.health_port,
    )


def _worker_limits(settings: Settings) -> WorkerLimits:
    from appraise.serving.streaming.lives import WorkerLimits

    stream = settings.stream
    return WorkerLimits(
        batch=stream.batch,
        transaction_seconds=stream.transaction_seconds,
        session_seconds=stream.session_seconds,
        stall_seconds=stream.stall_seconds,
    )


def _artifact_root(settings: Settings, home: Path, tracking_uri: str) -> str | None:
    root = settings.mlflow.artifact_root
    if root is None:
        # A server decides for itself where its artifacts are.
        return None if tracking_uri.startswith("http") else str(home / "mlflow-artifacts")
    return root if "://" in root else str(plain(Path(root).expanduser().absolute()))


def _processors() -> int:
    """Processors that this process may run on, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
