"""The loader of the prediction log, as a process beside a service."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from appraise import logs
from appraise.errors import StoreError
from appraise.jobs.beside import follow, run_process, working
from appraise.store.database import Database
from appraise.store.loader import Loader
from appraise.store.logplan import LogPlan

_log = logs.get_logger(__name__)

_END_SECONDS = 15.0
#: Seconds before one that ended by itself is started anew, twice as long each time.
_AGAIN_SECONDS = (1.0, 30.0)
#: What a loader ends with whose records have waited for too long.
_OVERDUE = 75
#: Between attempts to start the embedded database.
_LOOK_SECONDS = 5.0


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
    with working(partial(_keep, plan), name="prediction-log-loader", seconds=_END_SECONDS + 5.0):
        yield


def _keep(plan: LoadingPlan, ended: threading.Event) -> None:
    """Start the process, and again where it ends by itself; what it was loading is begun again by the next."""
    pause = _AGAIN_SECONDS[0]
    late = False
    while True:
        try:
            code = run_process(
                _load, plan, os.getpid(), late, name="appraise-loader", ended=ended, seconds=_END_SECONDS
            )
        except OSError as error:
            # As where there are as many processes as there may be.
            _log.error("the loader of the prediction log cannot be started", reason=error.strerror or str(error))
            code = None
        if ended.is_set():
            return
        late = code == _OVERDUE
        if code in (0, _OVERDUE):
            # The embedded database has ended, and is started by a loader that begins at the usual priority; or one is
            # wanted that takes a share of a busy processor.
            pause = _AGAIN_SECONDS[0]
        elif code is not None:
            _log.error("the loader of the prediction log ended and is started anew", exit_code=code)
        if ended.wait(pause):
            return
        pause = min(2 * pause, _AGAIN_SECONDS[1])


def _load(plan: LoadingPlan, parent: int, late: bool) -> None:  # noqa: FBT001
    """The process."""
    logs.configure(level=plan.log_level, format=plan.log_format)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow(parent, stop.set)
    log = plan.log
    with plan.database:
        _await_database(plan.database, stop)
        # The service comes first, but not for ever.
        loader = Loader(
            log.folder, plan.database, keep_days=log.keep_days, behind=True, lag_seconds=log.lag_seconds, late=late
        )
        loader.run(stop)
    if loader.overdue:
        # The interpreter takes a tenth of a second to end, which may be a minute for who stands back.
        os._exit(_OVERDUE)


def _await_database(database: Database, stop: threading.Event) -> None:
    """Have the embedded database run, before this process does anything at a priority that would be the server's."""
    told = None
    while not stop.is_set() and database.embedded:
        try:
            database.dedicated().close()
        except StoreError as error:
            if error.message != told:
                told = error.message
                _log.warning("the prediction log is kept in its spool until it can be loaded", reason=told)
            stop.wait(_LOOK_SECONDS)
        else:
            return
