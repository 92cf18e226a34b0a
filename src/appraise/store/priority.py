"""Work that is done when nobody else wants the processor."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from appraise.logs import get_logger

_log = get_logger(__name__)

#: The nice level at which the kernel gives a process half of what it gives one of the usual level.
_SHARE_NICE = 3
#: Part of its time for which a thread waited for the processor, from which on the processor counts as busy.
_BUSY = 0.2
#: Rest after a piece of work on a busy processor, in times of what the piece took, and the longest in seconds.
_REST, _LONGEST_REST_SECONDS = 10.0, 4.0


def stand_back(pid: int = 0) -> None:
    """Have a process, 0 for this one, run only while nothing else of its session or container would.

    Whatever wakes up takes the processor from it at once, where the lowest of the usual priorities would keep it for
    some milliseconds. It cannot be undone without privileges, and is inherited.
    """
    try:
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.setpriority(os.PRIO_PROCESS, pid, 19)
    except OSError as error:
        _log.debug("a process keeps its priority", pid=pid, reason=error.strerror or str(error))


def take_a_share(pid: int = 0) -> None:
    """Have a process, 0 for this one, take about a third of a processor that somebody else wants too.

    It can stand back later. The backend of a database and who feeds it have half of it together.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, pid, max(_SHARE_NICE, os.getpriority(os.PRIO_PROCESS, pid)))
    except OSError as error:
        _log.debug("a process keeps its priority", pid=pid, reason=error.strerror or str(error))


class Courtesy:
    """How long this thread should rest between pieces of its work.

    Work that runs in every gap that others leave takes no time of theirs, and still costs them some: what they had in
    the processor's caches. Measured on a service with 16 connections it was 8 us a request of 75.
    """

    def __init__(self) -> None:
        self._at, self._waited = time.monotonic(), _waited()

    def begin(self) -> None:
        """A piece begins."""
        self._at, self._waited = time.monotonic(), _waited()

    def rest_seconds(self) -> float:
        """How long to rest after the piece that ends now; 0 where the processor was free."""
        took = time.monotonic() - self._at
        if _waited() - self._waited < _BUSY * took:
            return 0.0
        return min(_REST * took, _LONGEST_REST_SECONDS)


def _waited() -> float:
    """Seconds for which this thread could have run and did not; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="utf-8").split()[1]) / 1e9
    return 0.0
