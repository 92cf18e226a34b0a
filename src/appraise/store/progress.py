"""How far a segment is in the database, which the database remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from appraise.store.chain import ORIGIN, Frame, Link
from appraise.store.headers import Header, Seal
from appraise.store.segments import Segment

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a segment is in the database."""

    bytes: int = 0
    link: Link = field(default_factory=Link)
    sealed: Seal | None = None


def remembered(connection: psycopg.Connection[Any], segment: str) -> Progress:
    """How far a segment is in the database."""
    row = connection.execute(
        "SELECT loaded_bytes, frames, last_hash, sealed_frames, sealed_hash FROM log_segments WHERE segment = %s",
        (segment,),
    ).fetchone()
    if row is None:
        return Progress()
    size, frames, last_hash, sealed_frames, sealed_hash = row
    sealed = None if sealed_frames is None else Seal(segment, sealed_frames, bytes(sealed_hash).hex())
    return Progress(size, Link(frames, bytes(last_hash)), sealed)


def still_at(connection: psycopg.Connection[Any], segment: str, progress: Progress) -> bool:
    """Whether a segment is as far as that still; it stays so until the transaction ends."""
    row = connection.execute(
        "SELECT loaded_bytes FROM log_segments WHERE segment = %s FOR UPDATE", (segment,)
    ).fetchone()
    return row is not None and row[0] == progress.bytes


def begin(connection: psycopg.Connection[Any], segment: Segment, header: Frame | None) -> None:
    """Make the row of a segment that is loaded for the first time."""
    text, log = "", ""
    if header is not None:
        text = header.body.decode()
        log = msgspec.json.decode(text, type=Header).log
    connection.execute(
        "INSERT INTO log_segments (segment, log, number, header, loaded_bytes, frames, last_hash)"
        " VALUES (%s, %s, %s, %s, 0, 0, %s) ON CONFLICT (segment) DO NOTHING",
        (segment.id, log or segment.id, segment.number, text, ORIGIN),
    )


def advance(connection: psycopg.Connection[Any], segment: str, progress: Progress, damaged: int) -> None:
    """Note how far a segment is now, and how many more bytes of it were damaged."""
    seal = progress.sealed
    connection.execute(
        "UPDATE log_segments SET loaded_bytes = %s, frames = %s, last_hash = %s, sealed_frames = %s,"
        " sealed_hash = %s, damaged_bytes = damaged_bytes + %s, loaded_at = now() WHERE segment = %s",
        (
            progress.bytes,
            progress.link.position,
            progress.link.digest,
            None if seal is None else seal.frames,
            None if seal is None else bytes.fromhex(seal.hash),
            damaged,
            segment,
        ),
    )
