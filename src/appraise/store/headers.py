"""The first and the last frame of a segment: what a segment of the prediction log says of itself and of others."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from appraise.store.chain import MAGIC, Damage, Frame, scan

_FORMAT = 1


class Seal(msgspec.Struct, frozen=True):
    """What a closed segment holds.

    Attributes:
        segment: its id.
        frames: how many there are, the header among them and the seal not.
        hash: of the last of these, hexadecimal.
    """

    segment: str
    frames: int
    hash: str


class Header(msgspec.Struct, frozen=True):
    """The first frame of a segment.

    Attributes:
        log: the id of the log, which is that of one folder.
        segment: the id of the segment.
        number: how many segments were opened before it, and one.
        previous: hash of the header before, hexadecimal; None in the first.
        seals: the segments that were closed since then.
        opened_at: when, by the clock of the machine.
        host, pid: who writes it.
        format: of the frames and records.
    """

    log: str
    segment: str
    number: int
    previous: str | None
    seals: tuple[Seal, ...]
    opened_at: str
    host: str
    pid: int
    format: int = _FORMAT


class Closed(msgspec.Struct, frozen=True):
    """The last frame of a segment."""

    sealed: Seal


def read_header(path: Path) -> tuple[Header, str] | None:
    """A segment's header and its hash; None where its first frame is no header."""
    with mapped(path) as data:
        first = next(scan(data), None)
    if not isinstance(first, Frame):
        return None
    try:
        return msgspec.json.decode(first.body, type=Header), first.digest.hex()
    except msgspec.DecodeError:
        return None


def read_seal(path: Path) -> Seal | None:
    """The seal at a segment's end; None where it is open."""
    with mapped(path) as data:
        # A seal is short: the last frame begins within the last bytes, or is none.
        start = data.rfind(MAGIC)
        last = next(scan(data, start), None) if start >= 0 else None
    return seal_of(last)


def seal_of(frame: Frame | Damage | None) -> Seal | None:
    """The seal that a frame is; None where it is something else."""
    if not isinstance(frame, Frame) or not frame.body.startswith(b'{"sealed":'):
        return None
    return msgspec.json.decode(frame.body, type=Closed).sealed


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The bytes of a file, read as they are needed."""
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            yield b""
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
