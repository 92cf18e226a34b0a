"""A watchdog: messages wait, and nothing happens."""

from __future__ import annotations

import time
from collections.abc import Callable


class Watchdog:
    """Tells when a worker has made no progress for too long although messages wait.

    What a client believes of the end of its partitions may be what is wrong with it: before the watchdog speaks, the
    broker itself is asked.

    Args:
        seconds: how long.
        lag: asks the broker how many messages wait.
        clock: seconds that only grow.
    """

    def __init__(self, seconds: float, lag: Callable[[], int], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._lag = lag
        self._clock = clock
        self._progress = clock()
        self._known = 0

    def progress(self) -> None:
        """A batch was committed."""
        self._progress = self._clock()
        self._known = 0

    def stalled(self) -> int:
        """How many messages wait, where they have for too long; else 0."""
        if self._clock() - self._progress < self._seconds:
            return 0
        waiting = self._lag()
        # Asked again after as long a time, not at every turn.
        self._progress = self._clock()
        # Messages may have come a moment ago: those that wait now must have waited the last time too.
        known, self._known = self._known, waiting
        return min(known, waiting)
