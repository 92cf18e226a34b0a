"""Work that is done when nobody else wants the processor."""

from __future__ import annotations

import os

from appraise.logs import get_logger

_log = get_logger(__name__)


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
