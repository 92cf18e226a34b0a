"""Verification of the database: its rows in the order of the chain, and their columns beside what their records say."""

from __future__ import annotations

import datetime as dt
import heapq
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from appraise.store.chain import ORIGIN, Link, digest_of
from appraise.store.headers import Header, Seal
from appraise.store.rows import COLUMNS, row_of
from appraise.store.walk import Finding, Verification, Walk

if TYPE_CHECKING:
    import psycopg

_ROWS = 5_000
#: Columns that are compared with the record; the record itself has its hash.
_COMPARED = COLUMNS[:-1]


@dataclass(frozen=True, slots=True)
class Kept:
    """What the database knows of a segment."""

    segment: str
    log: str
    number: int
    header: Header | None
    header_hash: str
    link: Link
    seal: Seal | None


def kept_segments(connection: psycopg.Connection[Any]) -> dict[str, Kept]:
    """What the database knows of the segments that were loaded, by their ids."""
    rows = connection.execute(
        "SELECT segment, log, number, header, frames, last_hash, sealed_frames, sealed_hash"
        " FROM log_segments ORDER BY log, number"
    )
    found = {}
    for segment, log, number, text, frames, last_hash, sealed_frames, sealed_hash in rows:
        try:
            header = msgspec.json.decode(text, type=Header) if text else None
        except msgspec.DecodeError:
            header = None
        seal = None if sealed_frames is None else Seal(segment, sealed_frames, bytes(sealed_hash).hex())
        digest = digest_of(0, ORIGIN, text.encode()).hex()
        found[segment] = Kept(segment, log, number, header, digest, Link(frames, bytes(last_hash)), seal)
    return found


def verify_database(
    connection: psycopg.Connection[Any],
    kept: dict[str, Kept],
    seals: dict[str, list[Seal]],
    result: Verification,
    moved: Callable[[int], None],
) -> None:
    """Follow the chain of every segment that was loaded.

    Args:
        connection: in a transaction that sees one moment.
        kept: as of `kept_segments`.
        seals: what is known of closed segments, from wherever.
        result: takes what is found.
        moved: is told how many records were read.
    """
    result.segments["database"] = len(kept)
    result.records["database"] = 0
    unknown = connection.execute(
        "SELECT segment, count(*) FROM predictions p"
        " WHERE NOT EXISTS (SELECT FROM log_segments s WHERE s.segment = p.segment) GROUP BY segment"
    )
    for segment, count in unknown:
        message = f"{count:,} records are of a segment that was never loaded"
        result.findings.append(Finding("database", segment, None, "inserted", message))
    for one in kept.values():
        walk = Walk("database", one.segment, result.findings.append)
        if one.header is not None:
            walk.link = Link(1, bytes.fromhex(one.header_hash))
        aside = connection.execute(
            "SELECT position, previous_hash, record_hash, record FROM log_unlisted WHERE segment = %s"
            " ORDER BY position, unlisted_id",
            (one.segment,),
        ).fetchall()
        rows = heapq.merge(_listed(connection, one.segment), aside, key=lambda row: row[0])
        for count, row in enumerate(rows, 1):
            if one.header is None and count == 1:
                walk.link = Link(row[0], row[1])
            _verify_row(walk, row)
            if count % _ROWS == 0:
                moved(_ROWS)
            result.records["database"] += 1
        result.unlisted += len(aside)
        # What lies beyond where the loader is in a closed segment is on its way.
        known = [
            seal for seal in seals.get(one.segment, []) if one.seal is not None or seal.frames <= one.link.position
        ]
        walk.end([Seal(one.segment, one.link.position, one.link.digest.hex()), *known])


def _listed(connection: psycopg.Connection[Any], segment: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a segment, in the order of their positions."""
    names = ", ".join(("position", "previous_hash", "record_hash", "convert_to(record, 'UTF8')", *_COMPARED))
    with connection.cursor(name="log_verify") as cursor:
        cursor.itersize = _ROWS
        cursor.execute(f"SELECT {names} FROM predictions WHERE segment = %s ORDER BY position", (segment,))  # noqa: S608
        yield from cursor


def _verify_row(walk: Walk, row: Sequence[Any]) -> None:
    position, previous, digest, record, *columns = row
    if digest_of(position, previous, record) != digest:
        walk.find("altered", position, f"record {position} does not have the hash beside it")
        # What follows the true record still does.
        walk.link = Link(position + 1, digest)
        return
    walk.step(position, previous, digest)
    changed = _changed(record, columns) if columns else []
    if changed:
        walk.find("altered", position, f"{', '.join(changed)} of record {position} is not what the record says")


def _changed(record: bytes, columns: Sequence[Any]) -> list[str]:
    """The columns that do not say what their record says."""
    return [
        name
        for name, value, wanted in zip(_COMPARED, columns, row_of(record), strict=False)
        if value != _READ.get(name, _as_it_is)(wanted)
    ]


def _as_it_is(value: Any) -> Any:
    return value


def _moment(value: str) -> dt.datetime:
    return dt.datetime.fromisoformat(value)


def _uuid(value: str | None) -> uuid.UUID | None:
    return None if value is None else uuid.UUID(value)


def _json(value: str | None) -> Any:
    return None if value is None else msgspec.json.decode(value)


#: How what `row_of` gives is what psycopg reads.
_READ: Mapping[str, Callable[[Any], Any]] = {
    "prediction_id": _uuid,
    "created_at": _moment,
    "batch_id": _uuid,
    "input": _json,
    "feature_sources": _json,
}
