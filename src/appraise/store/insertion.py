"""Records of the prediction log as rows of the database, in the transaction of whoever loads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from appraise.logs import get_logger
from appraise.store.chain import Frame
from appraise.store.rows import COLUMNS, row_of

if TYPE_CHECKING:
    import psycopg

_log = get_logger(__name__)

_NAMES = ", ".join(("segment", "position", "previous_hash", "record_hash", *COLUMNS))


def insert(connection: psycopg.Connection[Any], segment: str, frames: Sequence[Frame]) -> None:
    """Write records; those that the database has already, or refuses, are set aside."""
    import psycopg

    rows, strange = [], []
    for frame in frames:
        try:
            rows.append((frame, (segment, frame.position, frame.previous, frame.digest, *row_of(frame.body))))
        except ValueError as error:
            strange.append((frame, f"it is not a record: {error}"))
    _set_aside(connection, segment, strange)
    if not rows:
        return
    try:
        with connection.transaction(), connection.cursor() as cursor:
            _copy(cursor, "predictions", [row for _, row in rows])
    except (psycopg.DataError, psycopg.IntegrityError):
        # Seldom: a copy of a record that is there, or what no column takes. Half the work goes without looking for it.
        _insert_apart(connection, segment, rows)


def _insert_apart(connection: psycopg.Connection[Any], segment: str, rows: list[tuple[Frame, tuple[Any, ...]]]) -> None:
    """Write what is new; what the database refuses is found by halving."""
    import psycopg

    todo = [rows]
    while todo:
        some = todo.pop()
        try:
            with connection.transaction():
                _copy_new(connection, segment, [row for _, row in some])
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(some) == 1:
                reason = str(error).strip().splitlines()[0]
                _set_aside(connection, segment, [(some[0][0], f"the database refuses it: {reason}")])
            else:
                todo += [some[len(some) // 2 :], some[: len(some) // 2]]


def _copy(cursor: psycopg.Cursor[Any], table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    with cursor.copy(f"COPY {table} ({_NAMES}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _copy_new(connection: psycopg.Connection[Any], segment: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write the rows whose `prediction_id` the database has not, and set the others aside."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE IF NOT EXISTS loading (LIKE predictions INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
        )
        cursor.execute("TRUNCATE loading")
        _copy(cursor, "loading", rows)
        cursor.execute(
            f"INSERT INTO predictions ({_NAMES}) SELECT {_NAMES} FROM loading ORDER BY position"  # noqa: S608
            " ON CONFLICT (prediction_id) DO NOTHING"
        )
        if cursor.rowcount < len(rows):
            cursor.execute(
                "INSERT INTO log_unlisted"
                " (segment, position, prediction_id, reason, previous_hash, record_hash, record)"
                " SELECT segment, position, prediction_id, 'its prediction_id is in the log already',"
                " previous_hash, record_hash, convert_to(record, 'UTF8') FROM loading l"
                " WHERE NOT EXISTS (SELECT FROM predictions p WHERE p.segment = l.segment AND p.position = l.position)"
                " ON CONFLICT DO NOTHING"
            )
            _log.info("records with a prediction_id that the log has already", count=cursor.rowcount, segment=segment)


def _set_aside(connection: psycopg.Connection[Any], segment: str, found: Sequence[tuple[Frame, str]]) -> None:
    for frame, reason in found:
        _log.error("a record of the prediction log is set aside", position=frame.position, reason=reason)
        connection.execute(
            "INSERT INTO log_unlisted (segment, position, reason, previous_hash, record_hash, record)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (segment, frame.position, reason, frame.previous, frame.digest, frame.body),
        )
