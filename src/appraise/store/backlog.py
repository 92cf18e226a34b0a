"""What of the spool is not in the database yet."""

from __future__ import annotations

import datetime as dt
import os
import time
from dataclasses import dataclass
from pathlib import Path

from appraise.store.chain import Frame, scan
from appraise.store.headers import seal_of
from appraise.store.leadership import is_loading, read_status
from appraise.store.records import read_record
from appraise.store.segments import Segment, SpoolFolder, size_of

_HEAD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much of a spool waits to be loaded.

    Attributes:
        segments: files of the spool.
        spool_bytes: what they take.
        unloaded_bytes: how much of that is not in the database.
        oldest_seconds: how old the oldest record is that is not, 0 where all are.
        loaded: records that the loader has brought into the database since it began.
        loading: whether a loader is at work.
        trouble: why it cannot go on, None where it can.
    """

    segments: int
    spool_bytes: int
    unloaded_bytes: int
    oldest_seconds: float
    loaded: int
    loading: bool
    trouble: str | None


def read_backlog(folder: Path) -> Backlog:
    """What waits in a spool, told from its files and what the loader last said.

    Raises:
        OSError: it cannot be read.
    """
    status = read_status(folder)
    done = {} if status is None else status.bytes
    segments = SpoolFolder(folder).segments()
    total = waiting = 0
    oldest: float | None = None
    for segment in segments:
        size = size_of(segment)
        total += size
        loaded = done.get(segment.id, 0)
        if size > loaded:
            waiting += size - loaded
            if oldest is None:
                oldest = _first_record_at(segment, loaded)
    return Backlog(
        segments=len(segments),
        spool_bytes=total,
        unloaded_bytes=waiting,
        oldest_seconds=0.0 if oldest is None else max(0.0, time.time() - oldest),
        loaded=0 if status is None else status.loaded,
        loading=is_loading(folder),
        trouble=None if status is None else status.trouble,
    )


def _first_record_at(segment: Segment, start: int) -> float | None:
    """When the first record after a place in a segment was made, seconds since 1970."""
    try:
        with segment.path.open("rb") as stream:
            data = os.pread(stream.fileno(), _HEAD_BYTES, start)
    except FileNotFoundError:
        return None
    for piece in scan(data):
        if isinstance(piece, Frame) and piece.position > 0 and seal_of(piece) is None:
            try:
                return read_record(piece.body).made_at.astimezone(dt.UTC).timestamp()
            except ValueError:
                continue
    return None
