"""The models of a worker, kept as the registry has them: looked at between batches, loaded beside them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from appraise.errors import AppraiseError
from appraise.logs import get_logger
from appraise.serving.models import Shelf
from appraise.serving.streaming.tally import Known
from appraise.serving.versions import ModelSource

_log = get_logger(__name__)

#: Seconds between looks at the cache, which every process of the same home writes to when it learns of a new champion.
_LOOK_SECONDS = 1.0


class ModelKeeper:
    """Takes up new champions while a worker goes on with those that it has.

    The local cache is looked at all the time, which costs nothing; the registry, which a process of its own must be
    started for, is asked now and then, and when somebody wants it to be.

    Args:
        shelf: the models, at least one of them on show.
        source: where they come from.
        names: which; every registered one where empty.
        cache: the folder of cached models.
        ask_seconds: seconds between questions to the registry.
        changed: is called when other models are on show.
        heard: is told after each question whether the registry `answered` or the question `failed`.
        ask_now: whether to begin with a question, because a cached model was shown without one.
    """

    def __init__(
        self,
        shelf: Shelf,
        source: ModelSource,
        names: tuple[str, ...],
        *,
        cache: Path,
        ask_seconds: float,
        changed: Callable[[], None],
        heard: Callable[[Known], None],
        ask_now: bool,
    ) -> None:
        self._shelf = shelf
        self._source = source
        self._names = names
        self._cache = cache
        self._ask_seconds = ask_seconds
        self._changed = changed
        self._heard = heard
        self._stop = threading.Event()
        self._asked = -ask_seconds if ask_now else time.monotonic()
        self._wanted = ask_now
        self._seen = self._index()
        self._thread = threading.Thread(target=self._keep, name="models", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Have the registry asked soon."""
        self._wanted = True

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._shelf.close()
        self._thread.join(5.0)

    def _keep(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            due = time.monotonic() - self._asked > self._ask_seconds
            index = self._index()
            if not self._wanted and not due and index == self._seen:
                continue
            before = self._shelf.lineup.loaded
            try:
                if self._wanted or due:
                    self._ask_registry()
                else:
                    self._shelf.adopt(self._source.remembered(self._names))
            except (AppraiseError, OSError) as error:
                # A disk that is full, say: this thread has to be there when it no longer is.
                if not self._stop.is_set():
                    _log.warning("new models cannot be had, those in memory go on", reason=str(error))
            self._seen = self._index()
            if self._shelf.lineup.loaded.keys() != before.keys():
                self._changed()

    def _ask_registry(self) -> None:
        self._wanted, self._asked = False, time.monotonic()
        try:
            self._shelf.refresh()
        except (AppraiseError, OSError):
            self._heard("failed")
            raise
        self._heard("answered")

    def _index(self) -> tuple[tuple[str, int], ...]:
        """What changes when somebody notes another champion in the cache."""
        found = []
        for index in sorted(self._cache.glob("*/index.json")):
            try:
                found.append((str(index), index.stat().st_mtime_ns))
            except FileNotFoundError:
                continue
        return tuple(found)
