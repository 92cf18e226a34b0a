"""The prediction log as its readers see it: one estimate, the latest, and all of a span of time."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from appraise.errors import LogError
from appraise.store.chain import MAGIC, Frame, scan
from appraise.store.database import Database
from appraise.store.faults import store_errors
from appraise.store.headers import mapped
from appraise.store.leadership import read_status
from appraise.store.records import Served, read_record
from appraise.store.segments import SpoolFolder

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Bytes of the spool that one question may go through; what the loader has done is not gone through again.
_MOST_SEARCHED = 512 * 2**20
_EXPORT_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class LoggedPrediction:
    """One estimate of the log.

    Attributes:
        record: what was logged, as JSON.
        place: `database` or `spool`.
        segment, position: its place in the chain.
        record_hash: its hash there.
    """

    record: bytes
    place: str
    segment: str
    position: int
    record_hash: bytes

    @property
    def served(self) -> Served:
        """What it says."""
        return read_record(self.record)

    def to_dict(self) -> dict[str, Any]:
        """The record's own fields, and its place in the log."""
        return {
            **msgspec.json.decode(self.record),
            "log": {
                "place": self.place,
                "segment": self.segment,
                "position": self.position,
                "hash": self.record_hash.hex(),
            },
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the latest predictions, newest first.

    Attributes:
        predictions: these.
        next: the cursor of the page that follows, None where this is the last.
    """

    predictions: tuple[LoggedPrediction, ...]
    next: str | None


def find_in_database(database: Database, prediction_id: uuid.UUID) -> LoggedPrediction | None:
    """One estimate; None where the database has none of that id.

    Raises:
        StoreError: it cannot be asked.
    """
    from sqlalchemy import text

    query = "SELECT record, segment, position, record_hash FROM predictions WHERE prediction_id = :id"
    with database.connect() as connection:
        row = connection.execute(text(query), {"id": prediction_id}).one_or_none()
    return None if row is None else _logged(*row)


def find_in_spool(folder: Path, prediction_id: uuid.UUID) -> LoggedPrediction | None:
    """One estimate that the loader has not brought into the database yet; None where there is none of that id.

    Raises:
        LogError: more than can be gone through is not loaded.
    """
    status = read_status(folder)
    loaded = {} if status is None else status.bytes
    wanted, searched = f'"{prediction_id}"'.encode(), 0
    for segment in reversed(SpoolFolder(folder).segments()):
        start = loaded.get(segment.id, 0)
        try:
            with mapped(segment.path) as data:
                searched += max(0, len(data) - start)
                if searched > _MOST_SEARCHED:
                    raise LogError(
                        "more of the prediction log waits to be loaded than can be searched",
                        hint="ask again when it is loaded: appraise log status",
                    )
                place = data.find(wanted, start)
                while place >= 0:
                    frame = next(scan(data, data.rfind(MAGIC, 0, place)), None)
                    if isinstance(frame, Frame) and _is(frame.body, prediction_id):
                        return LoggedPrediction(frame.body, "spool", segment.id, frame.position, frame.digest)
                    place = data.find(wanted, place + 1)
        except FileNotFoundError:
            # Loaded, kept for as long as it should be, and removed since.
            continue
    return None


def latest(
    database: Database, *, limit: int, cursor: str | None = None, model: str | None = None, user_id: str | None = None
) -> Page:
    """The latest predictions that are in the database, a page at a time.

    Args:
        database: where they are.
        limit: most of them.
        cursor: where the page before ended; the newest where None.
        model: of that model alone.
        user_id: about that user or home alone.

    Raises:
        ValueError: the cursor is not one that a page gave.
        StoreError: the database cannot be asked.
    """
    from sqlalchemy import select, tuple_

    from appraise.store.schema import predictions as table

    columns = (table.c.record, table.c.segment, table.c.position, table.c.record_hash)
    query = select(*columns, table.c.created_at, table.c.prediction_id)
    query = query.order_by(table.c.created_at.desc(), table.c.prediction_id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(table.c.created_at, table.c.prediction_id) < tuple_(*_opened(cursor)))
    if model is not None:
        query = query.where(table.c.model_name == model)
    if user_id is not None:
        query = query.where(table.c.user_id == user_id)
    with database.connect() as connection:
        rows = connection.execute(query).all()
    following = _cursor(rows[limit - 1][4], rows[limit - 1][5]) if len(rows) > limit else None
    return Page(tuple(_logged(*row[:4]) for row in rows[:limit]), following)


def count_since(connection: Connection, since: dt.datetime | None) -> int:
    """How many predictions an export would hold."""
    from sqlalchemy import text

    query = "SELECT count(*) FROM predictions WHERE created_at >= :since"
    return int(connection.execute(text(query), {"since": since or dt.datetime.min.replace(tzinfo=dt.UTC)}).scalar_one())


def stream(
    database: Database, *, since: dt.datetime | None = None, until: dt.datetime | None = None
) -> Iterator[list[tuple[Any, ...]]]:
    """Records and their place in the chain, in the order of the chain, some thousands at a time.

    Yields:
        Rows of created_at, segment, position, previous_hash, record_hash, record.

    Raises:
        StoreError: the database cannot be asked.
    """
    query = (
        "SELECT p.created_at, p.segment, p.position, p.previous_hash, p.record_hash, p.record"
        " FROM predictions p LEFT JOIN log_segments s ON s.segment = p.segment"
        " WHERE (%(since)s::timestamptz IS NULL OR p.created_at >= %(since)s)"
        " AND (%(until)s::timestamptz IS NULL OR p.created_at < %(until)s)"
        " ORDER BY s.log, s.number, p.segment, p.position"
    )
    with store_errors(database.address), database.dedicated() as connection:
        connection.execute("SET LOCAL statement_timeout = 0")
        with connection.cursor(name="log_export") as cursor:
            cursor.itersize = _EXPORT_ROWS
            cursor.execute(query, {"since": since, "until": until})
            while rows := cursor.fetchmany(_EXPORT_ROWS):
                yield rows


def _logged(record: str, segment: str, position: int, record_hash: bytes) -> LoggedPrediction:
    return LoggedPrediction(record.encode(), "database", segment, position, bytes(record_hash))


def _is(body: bytes, prediction_id: uuid.UUID) -> bool:
    try:
        return read_record(body).prediction_id == str(prediction_id)
    except ValueError:
        return False


def _cursor(created_at: dt.datetime, prediction_id: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {prediction_id}".encode()).decode().rstrip("=")


def _opened(cursor: str) -> tuple[dt.datetime, uuid.UUID]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, _, name = text.partition(" ")
        opened = dt.datetime.fromisoformat(moment), uuid.UUID(name)
    except (ValueError, binascii.Error) as error:
        raise ValueError("the cursor is not one that a page gave") from error
    if opened[0].tzinfo is None:
        raise ValueError("the cursor is not one that a page gave")
    return opened
