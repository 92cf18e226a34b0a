"""Several processes that serve one address: started, started anew, and ended together."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from appraise import logs
from appraise.errors import RegistryError, UnknownModelError
from appraise.jobs.serving.companions import companions
from appraise.jobs.serving.plan import ServePlan, Serving
from appraise.jobs.serving.worker import work
from appraise.serving.rest.crew import Crew
from appraise.serving.rest.footprint import settle
from appraise.serving.source import RegistrySource
from appraise.serving.versions import KnownVersion, cached, default_of

_log = logs.get_logger(__name__)

#: A worker that ends sooner than this after its start was not able to work.
_SOON_SECONDS = 5.0
_MOST_FALSE_STARTS = 3
#: By which time workers take requests, each of which loads every model, on however busy a machine.
_START_SECONDS = 300.0
#: In which time the system ends a process that is killed.
_KILL_SECONDS = 5.0


class Supervisor:
    """Starts workers, starts those that end anew, and ends them together."""

    #: Where the workers meet, for as long as it runs.
    _folder: Path

    def __init__(self, plan: ServePlan, listener: socket.socket, url: str, announce: Callable[[Serving], None]) -> None:
        self._plan = plan
        self._listener = listener
        self._url = url
        self._announce = announce
        self._workers: dict[int, SpawnProcess] = {}
        self._started: dict[int, float] = {}
        self._false_starts = 0
        self._ending = False

    def run(self) -> None:
        """Serve until a signal.

        Raises:
            UnknownModelError, RegistryError, BundleError: there is no model to serve; nothing was started.
            RegistryError: workers do not get ready, or end again and again.
        """
        source = RegistrySource(self._plan.registry)
        names = self._plan.names
        remembered = cached(source, names, self._plan.default)
        versions = remembered or source.ask(names)
        if not versions:
            raise UnknownModelError("no model is registered", hint="train one first: appraise train bayside")
        default = default_of(dict.fromkeys(known.name for known in versions), names, self._plan.default)
        with companions(self._plan):
            self._supervise(versions, default, ask_registry=bool(remembered))

    def _supervise(self, versions: tuple[KnownVersion, ...], default: str | None, *, ask_registry: bool) -> None:
        folders = self._plan.home / "run"
        folders.mkdir(parents=True, exist_ok=True)
        # Not called by the process alone: in containers all have one number, and what was killed leaves its folder.
        self._folder = Path(tempfile.mkdtemp(prefix=f"serve-{os.getpid()}-", dir=folders))
        before = {sig: signal.signal(sig, self._end) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            Crew(self._folder).publish(versions)
            for index in range(self._plan.workers):
                self._start(index, ask_registry=ask_registry and index == 0)
            self._await_workers()
            models = {known.name: known.version for known in versions if "champion" in known.aliases}
            if not self._ending:
                self._announce(Serving(self._url, models, default, self._plan.workers, bool(self._plan.keys.read())))
            settle()
            self._watch()
        finally:
            self._stop()
            for sig, handler in before.items():
                signal.signal(sig, handler)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, index: int, *, ask_registry: bool = False) -> None:
        worker = multiprocessing.get_context("spawn").Process(
            target=work,
            args=(self._plan, self._listener, self._folder, os.getpid(), ask_registry),
            name=f"appraise-worker-{index}",
        )
        worker.start()
        self._workers[index] = worker
        self._started[index] = time.monotonic()

    def _await_workers(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while len(list(self._folder.glob("worker-*.json"))) < self._plan.workers and not self._ending:
            if time.monotonic() > deadline:
                raise RegistryError(
                    f"the workers are not ready after {_START_SECONDS:.0f} s", hint="see in the log what they wait for"
                )
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
                worker.join(_KILL_SECONDS)
