"""Serve: from registered models to a REST service in one or several processes."""

from __future__ import annotations

import ipaddress
import logging
import logging.handlers
import multiprocessing
import os
import queue
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from appraise import logs
from appraise.errors import AppraiseError, LogError, RegistryError, SettingsError, UnknownModelError
from appraise.jobs.batches import BatchPlan, carrying_out
from appraise.jobs.db import close, prepared
from appraise.jobs.kafka.finding import KafkaPlan
from appraise.jobs.keys import KeyPlace, followed
from appraise.jobs.loading import LoadingPlan, loading
from appraise.registry.mlflow_registry import Registry
from appraise.serving.keys import KeyFile
from appraise.serving.models import Shelf
from appraise.serving.rest.crew import Crew
from appraise.serving.rest.guard import Guard
from appraise.serving.rest.limits import Limits
from appraise.serving.rest.recording import Recorder
from appraise.serving.rest.server import run_server
from appraise.serving.rest.service import Service
from appraise.serving.rest.storing import StoredFeatures
from appraise.serving.source import RegistrySource
from appraise.serving.stored import FeatureAges
from appraise.serving.streaming.proxy import TopicPublisher
from appraise.store.database import Database
from appraise.store.log import LogPlan, PredictionLog
from appraise.store.lookup import FeatureLookup

_log = logs.get_logger(__name__)

_MOST_LOG_RECORDS = 10_000
#: A worker that ends sooner than this after its start was not able to work.
_SOON_SECONDS = 5.0
_MOST_FALSE_STARTS = 3


@dataclass(frozen=True, slots=True)
class ServePlan:
    """How to serve: plain values, which every worker is given.

    Attributes:
        registry: where models are; another process may ask in this one's stead.
        home: the folder that holds all state.
        names: the models, the first of them that of `/predict`; every registered one where empty.
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


def serve(plan: ServePlan, *, announce: Callable[[Serving], None]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        plan: how.
        announce: is called once, when requests are taken.

    Raises:
        SettingsError: the address cannot be listened on, or other machines would be served without keys.
        UnknownModelError, RegistryError, BundleError: there is no model to serve.
        LogError: estimates cannot be recorded.
    """
    with followed(plan.key_place):
        has_keys = bool(plan.keys.read())
        if not has_keys and not plan.insecure and not _is_loopback(plan.host):
            raise SettingsError(
                f"{plan.host} can be reached from other machines, and there is no API key",
                hint="make one with appraise keys create --name web, or serve without: --insecure",
            )
        _serve(plan, announce)


def _serve(plan: ServePlan, announce: Callable[[Serving], None]) -> None:
    _allow_many_files()
    with listening(plan.host, plan.port) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if plan.workers == 1:
            with _logs_handed_over(), prepared(plan.database), loading(plan.loading), carrying_out(plan.batches):
                _serve_alone(plan, listener, url, announce)
        else:
            with prepared(plan.database), loading(plan.loading), carrying_out(plan.batches):
                _Supervisor(plan, listener, url, announce).run()


def _serve_alone(plan: ServePlan, listener: socket.socket, url: str, announce: Callable[[Serving], None]) -> None:
    shelf = Shelf(RegistrySource(plan.registry), plan.names)
    asked = shelf.open()
    with _service(plan, shelf, Crew()) as service:
        run_server(
            service,
            listener,
            ask_registry=not asked,
            drain_seconds=plan.drain_seconds,
            finish_seconds=plan.finish_seconds,
            announce=lambda: announce(_serving(plan, shelf, url, keys=service.guard.required)),
        )


def _serving(plan: ServePlan, shelf: Shelf, url: str, *, keys: bool) -> Serving:
    lineup = shelf.lineup
    models = {model.name: model.version for model in lineup.champions()}
    return Serving(url, models, lineup.default, plan.workers, keys)


@contextmanager
def _service(plan: ServePlan, shelf: Shelf, crew: Crew) -> Iterator[Service]:
    """What the routes of one worker share, its connections closed at the end."""
    guard = Guard(plan.keys, rate_per_second=plan.limits.rate_per_second, workers=plan.workers)
    lookup = None if plan.database is None else FeatureLookup(plan.database)
    stored = StoredFeatures(lookup, plan.feature_ages)
    recorder = None if plan.log is None or plan.log.mode == "off" else Recorder(PredictionLog(plan.log))
    publisher = None if plan.kafka is None else _publisher(plan.kafka)
    try:
        yield Service(
            shelf,
            plan.limits,
            guard,
            crew,
            plan.registry.tracking_uri,
            plan.home,
            database=plan.database,
            stored=stored,
            recorder=recorder,
            publisher=publisher,
            orders=None if plan.batches is None else plan.batches.book,
        )
    finally:
        if publisher is not None:
            publisher.close(plan.finish_seconds)
        if recorder is not None:
            recorder.close(seconds=plan.finish_seconds)
        stored.close()
        if plan.database is not None:
            close(plan.database)


class _Supervisor:
    """Starts workers, starts those that end anew, and ends them together."""

    def __init__(self, plan: ServePlan, listener: socket.socket, url: str, announce: Callable[[Serving], None]) -> None:
        self._plan = plan
        self._listener = listener
        self._url = url
        self._announce = announce
        self._folder = plan.home / "run" / f"serve-{os.getpid()}"
        self._workers: dict[int, SpawnProcess] = {}
        self._started: dict[int, float] = {}
        self._false_starts = 0
        self._ending = False

    def run(self) -> None:
        """Serve until a signal."""
        source = RegistrySource(self._plan.registry)
        names = self._plan.names
        versions = source.remembered(names)
        cached = bool(versions) and set(names) <= {known.name for known in versions}
        if not cached:
            versions = source.ask(names)
            if not versions:
                raise UnknownModelError("no model is registered", hint="train one first: appraise train bayside")
        self._folder.mkdir(parents=True)
        before = {sig: signal.signal(sig, self._end) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            Crew(self._folder).publish(versions)
            for index in range(self._plan.workers):
                self._start(index, ask_registry=cached and index == 0)
            self._await_workers()
            models = {known.name: known.version for known in versions if "champion" in known.aliases}
            default = names[0] if names else next(iter(models)) if len(models) == 1 else None
            if not self._ending:
                self._announce(Serving(self._url, models, default, self._plan.workers, bool(self._plan.keys.read())))
            self._watch()
        finally:
            self._stop()
            for sig, handler in before.items():
                signal.signal(sig, handler)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, index: int, *, ask_registry: bool = False) -> None:
        worker = multiprocessing.get_context("spawn").Process(
            target=_work,
            args=(self._plan, self._listener, self._folder, os.getpid(), ask_registry),
            name=f"appraise-worker-{index}",
        )
        worker.start()
        self._workers[index] = worker
        self._started[index] = time.monotonic()

    def _await_workers(self) -> None:
        while len(list(self._folder.glob("worker-*.json"))) < self._plan.workers and not self._ending:
            if wait([worker.sentinel for worker in self._workers.values()], timeout=0.05):
                raise RegistryError("a worker could not start", hint="its reason is in the log above")

    def _watch(self) -> None:
        while not self._ending:
            wait([worker.sentinel for worker in self._workers.values()], timeout=0.5)
            for index, worker in list(self._workers.items()):
                if worker.is_alive() or self._ending:
                    continue
                soon = time.monotonic() - self._started[index] < _SOON_SECONDS
                self._false_starts = self._false_starts + 1 if soon else 0
                _log.error("a worker ended and is started anew", worker=worker.name, exit_code=worker.exitcode)
                if self._false_starts >= _MOST_FALSE_STARTS:
                    raise RegistryError("workers end as soon as they start", hint="their reason is in the log above")
                self._start(index)

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _stop(self) -> None:
        for worker in self._workers.values():
            if worker.is_alive():
                worker.terminate()
        deadline = time.monotonic() + self._plan.drain_seconds + self._plan.finish_seconds + 5.0
        for worker in self._workers.values():
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()


def _work(plan: ServePlan, listener: socket.socket, folder: Path, parent: int, ask_registry: bool) -> None:  # noqa: FBT001
    """A worker process."""
    logs.configure(level=plan.log_level, format=plan.log_format)
    _allow_many_files()
    shelf = Shelf(RegistrySource(plan.registry), plan.names)
    crew = Crew(folder, plan.workers)
    with _logs_handed_over():
        try:
            versions = crew.news()
            if versions is not None:
                shelf.adopt(versions)
            else:
                shelf.open()
        except AppraiseError as error:
            _log.error("a worker has no model to serve", reason=error.message)
            raise SystemExit(1) from error
        try:
            with _service(plan, shelf, crew) as service:
                run_server(
                    service,
                    listener,
                    ask_registry=ask_registry,
                    drain_seconds=plan.drain_seconds,
                    finish_seconds=plan.finish_seconds,
                    announce=lambda: crew.report(service.tally.snapshot()),
                    parent=parent,
                )
        except LogError as error:
            _log.error("a worker cannot record estimates", reason=error.message)
            raise SystemExit(1) from error


def _publisher(kafka: KafkaPlan) -> TopicPublisher:
    return TopicPublisher(kafka.find, kafka.topics.inputs, seconds=min(8.0, kafka.seconds))


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket; raises SettingsError where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"{host}:{port} cannot be listened on: {reason}", hint="choose another port with --port, or --port 0"
        ) from error
    with listener:
        yield listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _allow_many_files() -> None:
    """Raise this process's own limit of open files, for each client is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _HandOver(logging.handlers.QueueHandler):
    """Hands records to a thread; where the thread cannot keep up they are dropped, for requests come first."""

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand one over."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            return

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Leave the record as it is: it stays in this process."""
        return record


@contextmanager
def _logs_handed_over() -> Iterator[None]:
    """Have another thread write the logs: a terminal or pipe that is full would hold up every request."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    records: queue.Queue[logging.LogRecord] = queue.Queue(_MOST_LOG_RECORDS)
    listener = logging.handlers.QueueListener(records, *handlers, respect_handler_level=True)
    root.handlers[:] = [_HandOver(records)]
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        root.handlers[:] = handlers
