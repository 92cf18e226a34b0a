"""Waiting for what other processes and threads bring about."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(holds: Callable[[], T], seconds: float = 60.0) -> T:
    """Ask until the answer is true, and return it; fails where it is not in time, which a busy machine needs."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come about in time"
        pause.wait(0.02)
    return found
