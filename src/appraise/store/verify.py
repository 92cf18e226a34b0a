"""Verification: whether the log holds what was written to it, from the spool, from the database and from an export.

Chains prove that nothing was changed by whoever could not make them anew. Who can write the spool and the database can
make both anew; what they cannot do is meet a hash that was noted elsewhere: `Verification.newest` is there to be noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from appraise.errors import StoreError
from appraise.store.chain import Damage, Link, digest_of, scan
from appraise.store.database import Database
from appraise.store.faults import store_errors
from appraise.store.files import writer_lives
from appraise.store.headers import Header, Seal, mapped, read_header, seal_of
from appraise.store.segments import Segment, SpoolFolder
from appraise.store.verify_rows import Kept, kept_segments, verify_database
from appraise.store.walk import Finding, Verification, Walk, numbered

if TYPE_CHECKING:
    import psycopg


def verify(folder: Path, database: Database | None, *, advance: Callable[[int], None] | None = None) -> Verification:
    """Walk every chain of a log.

    Args:
        folder: the spool.
        database: where it is loaded to; the spool alone where None.
        advance: is told how many records were read.

    Raises:
        OSError: the spool cannot be read.
    """
    result = Verification()
    moved = advance or (lambda _: None)
    if database is None:
        _verify(folder, None, result, moved)
        return result
    try:
        with store_errors(database.address), database.dedicated() as connection:
            # One moment of the database, whatever is loaded meanwhile.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute("SET LOCAL statement_timeout = 0")
            _verify(folder, connection, result, moved)
    except StoreError as error:
        result = Verification(database_trouble=error.message)
        _verify(folder, None, result, moved)
    return result


def verify_export(rows: Iterable[Sequence[tuple[Any, ...]]], *, advance: Callable[[int], None]) -> Verification:
    """Walk the chains of an export, which may begin and end in the middle of them.

    Args:
        rows: as `predictions.stream` yields them.
        advance: is told how many records were read.
    """
    result = Verification(segments={"export": 0}, records={"export": 0})
    walk: Walk | None = None
    current = ""
    for some in rows:
        for _, segment, position, previous, digest, record in some:
            if walk is None or segment != current:
                current = segment
                walk = Walk("export", segment, result.findings.append, Link(position, bytes(previous)))
                result.segments["export"] += 1
            if digest_of(position, bytes(previous), record.encode()) != bytes(digest):
                walk.find("altered", position, f"record {position} does not have the hash beside it")
            # Second copies and what is no record are not exported: a gap says nothing here, a wrong hash does.
            if position > walk.link.position:
                walk.link = Link(position, bytes(previous))
            walk.step(position, bytes(previous), bytes(digest))
        result.records["export"] += len(some)
        advance(len(some))
    return result


def _verify(
    folder: Path, connection: psycopg.Connection[Any] | None, result: Verification, moved: Callable[[int], None]
) -> None:
    kept = {} if connection is None else kept_segments(connection)
    spool = SpoolFolder(folder)
    headers: dict[str, tuple[Header, str] | None] = {}
    segments = spool.segments()
    for segment in segments:
        # One that is loaded may be removed meanwhile, because it was kept for long enough.
        with suppress(FileNotFoundError):
            headers[segment.id] = read_header(segment.path)
    segments = tuple(segment for segment in segments if segment.id in headers)
    seals: dict[str, list[Seal]] = {}
    known = [one[0] for one in headers.values() if one] + [one.header for one in kept.values() if one.header]
    named = [*spool.seals(), *(seal for header in known for seal in header.seals)]
    for seal in [*named, *(one.seal for one in kept.values() if one.seal is not None)]:
        seals.setdefault(seal.segment, []).append(seal)
    for segment in segments:
        with suppress(FileNotFoundError):
            _verify_segment(segment, seals.get(segment.id, []), kept.get(segment.id), result, moved)
    _verify_links(segments, headers, kept, result)
    if connection is not None:
        verify_database(connection, kept, seals, result, moved)


def _verify_segment(
    segment: Segment, seals: list[Seal], kept: Kept | None, result: Verification, moved: Callable[[int], None]
) -> None:
    walk = Walk("spool", segment.path.name, result.findings.append)
    sealed: Seal | None = None
    count = 0
    with mapped(segment.path) as data:
        lives = writer_lives(segment.path)
        for piece in scan(data):
            if isinstance(piece, Damage):
                # The end of a segment that is being written, or whose process was killed, is cut when it is closed.
                if not piece.last or sealed is not None:
                    walk.damage(piece.end - piece.offset)
                continue
            if sealed is not None:
                walk.find("inserted", piece.position, f"record {piece.position} lies behind the segment's seal")
                continue
            sealed = seal_of(piece)
            if sealed is None:
                walk.step(piece.position, piece.previous, piece.digest)
                count += piece.position > 0
            elif (piece.position, piece.previous) != walk.link:
                walk.end([sealed])
            if kept is not None and piece.position == kept.link.position - 1 and piece.digest != kept.link.digest:
                walk.find("altered", piece.position, f"record {piece.position} is not the one that was loaded")
    if sealed is None and seals and not lives:
        walk.find("removed", None, "the segment was closed, and its seal is gone")
    walk.end(seals)
    result.newest = Seal(segment.id, walk.link.position, walk.link.digest.hex())
    result.segments["spool"] = result.segments.get("spool", 0) + 1
    result.records["spool"] = result.records.get("spool", 0) + count
    moved(count)


class _Linked(NamedTuple):
    """A segment's header in the chain of headers."""

    name: str
    header: Header
    hash: str


def _verify_links(
    segments: tuple[Segment, ...],
    headers: Mapping[str, tuple[Header, str] | None],
    kept: Mapping[str, Kept],
    result: Verification,
) -> None:
    """Each header names the one before; a segment that is gone must be in the database whole."""
    unreadable = {segment.number for segment in segments if headers[segment.id] is None}
    for chain in _chains(segments, headers, kept, result).values():
        for before, number in pairwise(sorted(chain)):
            name, header, _ = chain[number]
            gone = [one for one in range(before + 1, number) if one not in unreadable]
            if gone:
                missing = numbered(gone[0], gone[-1], "segment")
                message = f"{missing} missing before this one, and not in the database"
                result.findings.append(Finding("spool", name, None, "removed", message))
            elif number == before + 1 and header.previous != chain[before].hash:
                message = f"the header of segment {before} is not the one that this one follows"
                result.findings.append(Finding("spool", name, 0, "unlinked", message))
    there, logs = {segment.id for segment in segments}, {found[0].log for found in headers.values() if found}
    for one in kept.values():
        if one.segment not in there and one.seal is None and one.log in logs:
            message = "the segment's file is gone before all of it was loaded"
            result.findings.append(Finding("spool", one.segment, None, "removed", message))


def _chains(
    segments: tuple[Segment, ...],
    headers: Mapping[str, tuple[Header, str] | None],
    kept: Mapping[str, Kept],
    result: Verification,
) -> dict[str, dict[int, _Linked]]:
    """The headers of each log by their numbers, those of the spool before those of the database."""
    chains: dict[str, dict[int, _Linked]] = {}
    for one in kept.values():
        if one.header is not None:
            chains.setdefault(one.log, {})[one.number] = _Linked(one.segment, one.header, one.header_hash)
    for segment in segments:
        found = headers[segment.id]
        if found is None:
            message = "the segment has no header that can be read"
            result.findings.append(Finding("spool", segment.path.name, 0, "damaged", message))
            continue
        chain = chains.setdefault(found[0].log, {})
        if segment.number in chain and chain[segment.number].hash != found[1]:
            message = "the header is not the one that was loaded"
            result.findings.append(Finding("spool", segment.path.name, 0, "altered", message))
        chain[segment.number] = _Linked(segment.path.name, *found)
    return chains
