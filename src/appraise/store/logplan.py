"""How predictions are logged, and where a process's part of the log stands, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["async", "sync", "off"]


@dataclass(frozen=True, slots=True)
class LogPlan:
    """How predictions are logged.

    Attributes:
        folder: the spool.
        mode: `async` answers at once, `sync` when the record is on the disk, `off` logs nothing.
        commit_seconds: longest time in which records gather before they are written.
        queue: records that may wait to be on the disk at a time, in one process.
        queue_bytes: bytes of them.
        wait_seconds: how long a request waits for room before it is refused.
        segment_bytes, segment_seconds: a new segment begins when one is as large or as old.
        keep_days: how long a segment is kept when all of it is in the database.
        lag_seconds: how long records may wait for the database because the processor is busy.
    """

    folder: Path
    mode: Mode = "async"
    commit_seconds: float = 0.05
    queue: int = 20_000
    queue_bytes: int = 64 * 2**20
    wait_seconds: float = 1.0
    segment_bytes: int = 64 * 2**20
    segment_seconds: float = 3600.0
    keep_days: float = 7.0
    lag_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class LogState:
    """Where a process's part of the log stands.

    Attributes:
        taken: records handed over.
        written: records in the spool.
        durable: records that the disk was asked to confirm, and did but for `failures`.
        refused: estimates that were not given for want of room.
        withdrawn: records of refused answers that could not be written (mode `sync`).
        failures: writes that failed.
        waiting_bytes: bytes that are not on the disk yet.
        trouble: why nothing can be written now, None where it can.
    """

    taken: int
    written: int
    durable: int
    refused: int
    withdrawn: int
    failures: int
    waiting_bytes: int
    trouble: str | None

    @property
    def depth(self) -> int:
        """Records that are not on the disk yet."""
        return self.taken - self.durable


#: Is told the first and the last number of records that are settled now, and why they are not in the log; None where
#: they are.
Listener = Callable[[int, int, str | None], None]
