"""`RegistrySource`: models from the registry, which is asked in a process of its own.

MLflow takes seconds to import and hundreds of megabytes to hold. A server needs it for a moment at start and at each
reload, so a short-lived process asks and the server stays small; a cached model is served before anybody is asked.
Nobody is asked where the answer cannot have changed: the registry is a file that is as it was, for this process or
for one before it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TypeVar

from appraise.errors import AppraiseError, RegistryError, UnknownModelError
from appraise.registry.bundle import read_manifest
from appraise.registry.changes import Stamp, stamp_of
from appraise.registry.mlflow_registry import Registry
from appraise.registry.version import Version
from appraise.serving.answers import Answers
from appraise.serving.versions import DEFAULT_ALIAS, KnownVersion

R = TypeVar("R")

#: How long a process that asked may take to end by itself, and then by being told to.
_END_SECONDS = 5.0


class RegistrySource:
    """Models of a registry.

    Args:
        registry: it, not yet connected: another process connects in its stead.
        most_seconds: how long an answer may take, the bundles that are fetched for it included.
    """

    def __init__(self, registry: Registry, *, most_seconds: float = 600.0) -> None:
        self._registry = registry
        self._most_seconds = most_seconds
        self._asking: set[SpawnProcess] = set()
        self._answers: dict[tuple[str, ...], tuple[Stamp, tuple[KnownVersion, ...]]] = {}
        self._kept = Answers(registry)

    def remembered(self, names: tuple[str, ...]) -> tuple[KnownVersion, ...]:
        """The champions that the cache has, without asking the registry."""
        found = []
        for name in names or self._registry.cached_names():
            folder = self._registry.cached(name)
            if folder is not None:
                manifest = read_manifest(folder)
                found.append(KnownVersion(name, str(manifest.version), (DEFAULT_ALIAS,), folder.name, folder))
        return tuple(found)

    def ask(self, names: tuple[str, ...]) -> tuple[KnownVersion, ...]:
        """Every version that the registry has, newest first, the bundles of those with an alias fetched.

        Raises:
            UnknownModelError: a model that the registry does not have.
            RegistryError: it cannot be reached.
            BundleError: what it holds is not what was registered.
        """
        # Looked at before the question: what changes while it is answered is asked for the next time.
        stamp = stamp_of(self._registry.tracking_uri)
        before = self._answers.get(names)
        if before is not None and before[0] == stamp and _are_there(before[1]):
            return before[1]
        content = self._kept.content()
        answer = self._kept.find(content, names)
        if answer is None:
            answer = self._elsewhere(_ask, names)
            if stamp_of(self._registry.tracking_uri) == stamp:
                self._kept.keep(content, names, answer)
        if stamp is not None:
            self._answers[names] = stamp, answer
        return answer

    def fetch(self, known: KnownVersion) -> Path:
        """The bundle of a version; raises as `ask` does."""
        cached = known.folder or self._registry.cached(known.name, alias=known.version)
        if cached is not None and cached.name == known.digest:
            return cached
        return self._elsewhere(_fetch, known.name, known.version)

    def close(self) -> None:
        """End the processes that ask; whoever waits for them is told that the registry did not answer."""
        for process in tuple(self._asking):
            process.terminate()

    def _elsewhere(self, function: Callable[..., R], *arguments: object) -> R:
        """Call a function with the registry in a process that ends with it."""
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_answer, args=(sender, function, (self._registry, *arguments)), daemon=True)
        process.start()
        sender.close()
        self._asking.add(process)
        try:
            if not receiver.poll(self._most_seconds):
                raise RegistryError(
                    f"the registry did not answer within {self._most_seconds:g} seconds",
                    hint="see that it and the store of its files are running and can be reached",
                )
            answer = receiver.recv()
        except EOFError as error:
            raise RegistryError(
                "the process that asks the registry ended before it answered",
                hint="see that there is memory left, and try again",
            ) from error
        finally:
            _end(process)
            self._asking.discard(process)
            receiver.close()
        if isinstance(answer, AppraiseError):
            raise answer
        found: R = answer
        return found


def _end(process: SpawnProcess) -> None:
    """Have a process ended, which has answered or will not."""
    for end in (process.terminate, process.kill):
        process.join(_END_SECONDS)
        if process.exitcode is not None:
            return
        end()
    process.join()


def _are_there(versions: tuple[KnownVersion, ...]) -> bool:
    """Whether the bundles that were fetched are where they were put."""
    return all(known.folder is None or known.folder.is_dir() for known in versions)


def _ask(registry: Registry, names: tuple[str, ...]) -> tuple[KnownVersion, ...]:
    entries = registry.list_models()
    for name in names:
        if not any(entry.name == name for entry in entries):
            registry.find(name)
    return tuple(
        KnownVersion(
            entry.name,
            str(entry.version),
            entry.aliases,
            entry.digest,
            registry.resolve(entry.name, version=entry.version) if entry.aliases else None,
        )
        for entry in entries
        if not names or entry.name in names
    )


def _fetch(registry: Registry, name: str, version: str) -> Path:
    try:
        return registry.resolve(name, version=Version.parse(version))
    except ValueError as error:
        raise UnknownModelError(f"the model {name} has no version {version!r}") from error


def _answer(sender: Connection, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Send what a function returns, or the error that it raises."""
    # Requests that are answered meanwhile come first.
    os.nice(10)
    # The process ends before garbage matters, and collecting is a fifth of the time that MLflow takes to import.
    gc.disable()
    try:
        answer: object = function(*arguments)
    except AppraiseError as error:
        answer = error
    sender.send(answer)
    sender.close()
