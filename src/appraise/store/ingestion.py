"""Features from streams: events, and how far the stream they came from has been read, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, LiteralString

from appraise.errors import StoreError
from appraise.store.features import FeatureRows, insert_rows

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection

_BEGIN: LiteralString = """
INSERT INTO stream_offsets (group_id, topic, partition, next_offset) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
"""

_ADVANCE: LiteralString = """
UPDATE stream_offsets SET next_offset = %s
WHERE group_id = %s AND topic = %s AND partition = %s AND next_offset = %s
"""


def next_offsets(connection: Connection, group: str, topic: str) -> dict[int, int]:
    """The offset at which a group of stream workers goes on, by partition; absent where it has not begun."""
    from sqlalchemy import select

    from appraise.store.schema import stream_offsets as table

    query = select(table.c.partition, table.c.next_offset).where(table.c.group_id == group, table.c.topic == topic)
    return {row.partition: row.next_offset for row in connection.execute(query)}


def ingest_features(
    connection: Connection,
    rows: FeatureRows,
    group: str,
    topic: str,
    *,
    expected: Mapping[int, int | None],
    following: Mapping[int, int],
) -> None:
    """Write rows, and move on in the partitions that they came from.

    Args:
        connection: of `Database.connect`.
        rows: what was read.
        group, topic: who read what.
        expected: where this worker believes the group to be in each partition; None where it has not begun.
        following: the next offset to read, of each partition that was read.

    Raises:
        StoreError: another worker has moved on meanwhile; what this transaction wrote must not stand.
    """
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    if rows.count:
        insert_rows(driver, rows)
    # All partitions with one answer to wait for, and in one order, so that two workers cannot wait for each other.
    with driver.pipeline():
        moved = [
            (number, _advance(driver, group, topic, number, expected.get(number), following[number]))
            for number in sorted(following)
        ]
    for number, done in moved:
        if done.rowcount != 1:
            raise StoreError(
                f"another worker of {group} has moved on in partition {number} of {topic}",
                hint="this one starts again from where the database says",
            )


def _advance(
    driver: psycopg.Connection[Any], group: str, topic: str, partition: int, expected: int | None, following: int
) -> psycopg.Cursor[Any]:
    if expected is None:
        return driver.execute(_BEGIN, (group, topic, partition, following))
    return driver.execute(_ADVANCE, (following, group, topic, partition, expected))
