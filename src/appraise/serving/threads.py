"""Threads that value the pieces of large tables: the compiled loops hold no lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_threads = os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Value large tables with so many threads from now on; for processes of which there is one a processor."""
    global _threads  # noqa: PLW0603  a property of the process, as the threads are
    _threads = count
    _executor.cache_clear()


def threads_used() -> int:
    """How many value large tables."""
    return _threads


def in_threads(do: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """What it gives for each piece, in order; where there is one thread nothing is handed over."""
    return [do(piece) for piece in pieces] if _threads == 1 else list(_executor().map(do, pieces))


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads, thread_name_prefix="appraise-value")
