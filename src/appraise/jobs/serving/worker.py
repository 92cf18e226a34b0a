"""One process that serves."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from appraise import logs
from appraise.errors import AppraiseError, LogError
from appraise.jobs.db import close
from appraise.jobs.kafka.finding import KafkaPlan
from appraise.jobs.serving.companions import companions
from appraise.jobs.serving.handover import logs_handed_over
from appraise.jobs.serving.plan import ServePlan, Serving
from appraise.serving.models import Shelf
from appraise.serving.rest.crew import Crew
from appraise.serving.rest.footprint import keep_little
from appraise.serving.rest.guard import Guard
from appraise.serving.rest.recording import Recorder
from appraise.serving.rest.server import run_server
from appraise.serving.rest.service import Service
from appraise.serving.rest.storing import StoredFeatures
from appraise.serving.source import RegistrySource
from appraise.serving.streaming.proxy import TopicPublisher
from appraise.serving.versions import cached
from appraise.store.log import PredictionLog
from appraise.store.lookup import FeatureLookup

_log = logs.get_logger(__name__)


def serve_alone(plan: ServePlan, listener: socket.socket, url: str, announce: Callable[[Serving], None]) -> None:
    """Serve in this process until a signal.

    Args:
        plan: how.
        listener: a bound socket.
        url: where requests go.
        announce: is called once, when requests are taken.

    Raises:
        UnknownModelError, RegistryError, BundleError: there is no model to serve; nothing was started.
        LogError: estimates cannot be recorded.
    """
    keep_little()
    source = RegistrySource(plan.registry)
    shelf = Shelf(source, plan.names, plan.default)
    with ExitStack() as stack:
        if cached(source, plan.names, plan.default):
            # The database starts while the model is loaded.
            stack.enter_context(companions(plan))
            asked = shelf.open()
        else:
            asked = shelf.open()
            stack.enter_context(companions(plan))
        service = stack.enter_context(_service(plan, shelf, Crew()))
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
    return Serving(url, lineup.champion_versions(), lineup.default, plan.workers, keys)


def work(plan: ServePlan, listener: socket.socket, folder: Path, parent: int, ask_registry: bool) -> None:  # noqa: FBT001
    """Serve in a process of a supervisor's until a signal, or the supervisor's end.

    Args:
        plan: how.
        listener: a bound socket, which the workers share.
        folder: where the workers meet.
        parent: the supervisor's process.
        ask_registry: whether this worker asks the registry what is new.

    Raises:
        SystemExit: there is nothing to serve, or estimates cannot be recorded; the log says why.
    """
    keep_little()
    logs.configure(level=plan.log_level, format=plan.log_format)
    allow_many_files()
    shelf = Shelf(RegistrySource(plan.registry), plan.names, plan.default)
    crew = Crew(folder, plan.workers)
    with logs_handed_over():
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


@contextmanager
def _service(plan: ServePlan, shelf: Shelf, crew: Crew) -> Iterator[Service]:
    """What the routes of one worker share, its connections closed at the end, each whatever becomes of the others."""
    database, seconds = plan.database, plan.finish_seconds
    with ExitStack() as stack:
        if database is not None:
            stack.callback(close, database)
        stored = StoredFeatures(None if database is None else FeatureLookup(database), plan.feature_ages)
        stack.callback(stored.close)
        recorder = None if plan.log is None or plan.log.mode == "off" else Recorder(PredictionLog(plan.log))
        if recorder is not None:
            stack.callback(recorder.close, seconds=seconds)
        publisher = None if plan.kafka is None else _publisher(plan.kafka)
        if publisher is not None:
            stack.callback(publisher.close, seconds)
        yield Service(
            shelf,
            plan.limits,
            Guard(plan.keys, rate_per_second=plan.limits.rate_per_second, workers=plan.workers),
            crew,
            plan.registry.tracking_uri,
            plan.home,
            database=database,
            stored=stored,
            recorder=recorder,
            publisher=publisher,
            orders=None if plan.batches is None else plan.batches.book,
        )


def _publisher(kafka: KafkaPlan) -> TopicPublisher:
    return TopicPublisher(kafka.find, kafka.topics.inputs, seconds=min(8.0, kafka.seconds))


def allow_many_files() -> None:
    """Raise this process's own limit of open files, for each client is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
