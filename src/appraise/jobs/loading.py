"""The loader of the prediction log, as a process beside a service."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from appraise import logs
from appraise.store.database import Database
from appraise.store.loader import Loader
from appraise.store.log import LogPlan

_log = logs.get_logger(__name__)

_END_SECONDS = 15.0
#: Seconds before one that ended by itself is started anew, twice as long each time.
_AGAIN_SECONDS = (1.0, 30.0)
#: The service comes first.
_NICE = 19


@dataclass(frozen=True, slots=True)
class LoadingPlan:
    """What is loaded where to, as plain values.

    Attributes:
        log: whose spool.
        database: where to.
        log_level, log_format: as of the settings.
    """

    log: LogPlan
    database: Database
    log_level: logs.Level = "info"
    log_format: logs.Format = "auto"


@contextmanager
def loading(plan: LoadingPlan | None) -> Iterator[None]:
    """Load the prediction log in another process for as long as the block runs, and what is left at its end."""
    if plan is None:
        yield
        return
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(plan, ended), name="prediction-log-loader", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join(_END_SECONDS + 5.0)


def _keep(plan: LoadingPlan, ended: threading.Event) -> None:
    """Start the process, and again where it ends by itself."""
    pause = _AGAIN_SECONDS[0]
    while not ended.is_set():
        process = multiprocessing.get_context("spawn").Process(
            target=_load, args=(plan, os.getpid()), name="appraise-loader"
        )
        process.start()
        while process.is_alive() and not ended.is_set():
            wait([process.sentinel], timeout=0.2)
        if ended.is_set():
            _end(process)
            return
        _log.error("the loader of the prediction log ended and is started anew", exit_code=process.exitcode)
        ended.wait(pause)
        pause = min(2 * pause, _AGAIN_SECONDS[1])


def _end(process: SpawnProcess) -> None:
    process.terminate()
    process.join(_END_SECONDS)
    if process.is_alive():
        # What it was loading is begun again by the next.
        process.kill()
        process.join()


def _load(plan: LoadingPlan, parent: int) -> None:
    """The process."""
    logs.configure(level=plan.log_level, format=plan.log_format)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    threading.Thread(target=_end_with, args=(parent, stop), daemon=True).start()
    with plan.database:
        Loader(plan.log.folder, plan.database, keep_days=plan.log.keep_days).run(stop)


def _end_with(parent: int, stop: threading.Event) -> None:
    """Stop when the service is gone, however it ended."""
    while not stop.wait(1.0):
        if os.getppid() != parent:
            stop.set()
