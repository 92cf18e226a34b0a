"""Stored features: what is known of a user, as events with a time, of which the latest as of a moment counts.

An event's time is its own, not that of its arrival: what comes late becomes history, and what lies in the future counts
from then on. Of two events of one user, feature and time the one written last counts.
"""

from __future__ import annotations

import datetime as dt
import math
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, LiteralString

import msgspec

from appraise.datasets.constraints import shown
from appraise.errors import DataError

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection

    from appraise.store.arrays import Array

#: What a feature may be.
Value = float | int | bool | str

_LONGEST_NAME = 200
_LONGEST_TEXT = 10_000

#: In one order, so that two writers cannot wait for each other.
_WRITE: LiteralString = """
INSERT INTO user_features (feature_id, user_id, event_type, feature_value, ingestion_timestamp)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::jsonb[], %s::timestamptz[]) ORDER BY 2, 3, 5
ON CONFLICT (user_id, event_type, ingestion_timestamp) DO UPDATE SET feature_value = excluded.feature_value
WHERE user_features.feature_value IS DISTINCT FROM excluded.feature_value
"""

#: One descent of the unique index for each feature, however long its history is.
_LATEST: LiteralString = """
SELECT wanted.number, wanted.event_type, found.feature_value, found.ingestion_timestamp
FROM unnest(%s::int[], %s::text[], %s::text[]) AS wanted (number, user_id, event_type)
CROSS JOIN LATERAL (
    SELECT feature_value, ingestion_timestamp FROM user_features AS one
    WHERE one.user_id = wanted.user_id AND one.event_type = wanted.event_type AND one.ingestion_timestamp <= %s
    ORDER BY one.ingestion_timestamp DESC LIMIT 1
) AS found
"""

_KNOWN: LiteralString = """
SELECT wanted.user_id FROM unnest(%s::text[]) AS wanted (user_id)
WHERE EXISTS (SELECT FROM user_features AS one WHERE one.user_id = wanted.user_id)
"""

#: The names that a user has, each found by one descent of the index.
_ALL: LiteralString = """
WITH RECURSIVE names AS (
    (SELECT event_type FROM user_features WHERE user_id = %(user)s ORDER BY event_type LIMIT 1)
    UNION ALL
    SELECT (SELECT one.event_type FROM user_features AS one
            WHERE one.user_id = %(user)s AND one.event_type > names.event_type ORDER BY one.event_type LIMIT 1)
    FROM names WHERE names.event_type IS NOT NULL
)
SELECT event_type FROM names WHERE event_type IS NOT NULL
"""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)

_encode = msgspec.json.Encoder().encode


class FeatureEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A feature of a user had a value at a time.

    Decoded from JSON it has names and texts that can be stored, but for NUL and halves of surrogate pairs.

    Attributes:
        user_id: whose it is.
        event_type: the feature, a column of the dataset.
        value: a number, a truth or a text.
        timestamp: since when, with its time zone.
    """

    user_id: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_NAME)]
    event_type: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_NAME)]
    value: float | int | bool | Annotated[str, msgspec.Meta(max_length=_LONGEST_TEXT)]
    timestamp: dt.datetime


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Events as the database takes them.

    Attributes:
        columns: of `user_features`.
        count: how many rows.
    """

    columns: tuple[Array, ...]
    count: int


@dataclass(frozen=True, slots=True)
class StoredValue:
    """The latest value of a feature.

    Attributes:
        value: the value.
        timestamp: since when, UTC.
    """

    value: Value
    timestamp: dt.datetime


@dataclass(frozen=True, slots=True)
class Found:
    """What is stored of the features of a user.

    Attributes:
        user_id: whose.
        as_of: the moment that was asked about.
        values: the latest value of each feature that had one by then.
        known: whether anything at all is stored of the user, at whatever time.
    """

    user_id: str
    as_of: dt.datetime
    values: Mapping[str, StoredValue]
    known: bool


def check_event(event: FeatureEvent) -> FeatureEvent:
    """The event itself, where it can be stored.

    Raises:
        DataError: it says of which field, and why not.
    """
    for name, text in (("user_id", event.user_id), ("event_type", event.event_type)):
        problem = name_problem(text)
        if problem is not None:
            raise DataError(f"{name} {problem}, received {shown(text)}")
    value = event.value
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT or not _storable(value):
            raise DataError(
                f"value must be a text of at most {_LONGEST_TEXT:,} characters without NUL, received {shown(value)}"
            )
    elif not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"value must be a finite number, true, false or a text, received {shown(value)}")
    if event.timestamp.tzinfo is None:
        raise DataError(f"timestamp must have a time zone, received {event.timestamp.isoformat()}")
    return event


def name_problem(text: object) -> str | None:
    """What is wrong with the name of a user or a feature, as a phrase; None where nothing is."""
    if not isinstance(text, str) or not 1 <= len(text) <= _LONGEST_NAME or not _storable(text):
        return f"must be a text of 1 to {_LONGEST_NAME} characters"
    return None


def write_features(connection: Connection, events: Iterable[FeatureEvent]) -> int:
    """Store events in the connection's transaction; storing one again changes nothing.

    Args:
        connection: of `Database.connect`.
        events: in the order in which they came; of those with equal user, feature and time the last counts.

    Returns:
        How many values are new or changed.

    Raises:
        DataError: an event that cannot be stored; nothing of the rest is stored either.
    """
    rows = pack_features([check_event(event) for event in events])
    if not rows.count:
        return 0
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    return insert_rows(driver, rows).rowcount


def pack_features(events: Iterable[FeatureEvent]) -> FeatureRows:
    """Make rows of events that were checked already.

    Args:
        events: each of which `check_event` would return, in the order in which they came; of those with equal user,
            feature and time the last counts.
    """
    from appraise.store.arrays import documents, moments, texts, uuids

    last = {(one.user_id, one.event_type, (one.timestamp - _EPOCH) // _MICROSECOND): one.value for one in events}
    users, kinds, times = zip(*last, strict=True) if last else ((), (), ())
    values = documents(map(_encode, last.values()))
    return FeatureRows((uuids(_first_id(), len(last)), texts(users), texts(kinds), values, moments(times)), len(last))


def insert_rows(driver: psycopg.Connection[Any], rows: FeatureRows) -> psycopg.Cursor[Any]:
    """Store rows in the connection's transaction; storing one again changes nothing.

    Returns:
        A cursor whose `rowcount` is how many values are new or changed.
    """
    from appraise.store.arrays import accept_arrays

    cursor = driver.cursor()
    accept_arrays(cursor)
    return cursor.execute(_WRITE, rows.columns)


def _first_id() -> int:
    """The first of as many ids as are wanted, each one more: UUIDs of version 7 (RFC 9562), random at the end.

    Those that the table makes by itself are random from their first bit: each goes to another page of the primary
    key, which takes the database a third of an event's time.
    """
    milliseconds = time.time_ns() // 1_000_000
    return milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(61)


def latest_features(
    connection: psycopg.Connection[Any], wanted: Sequence[tuple[str, Sequence[str]]], *, as_of: dt.datetime
) -> list[Found]:
    """The latest values of features as of a moment, in one query for all users.

    Args:
        connection: of `Database.dedicated`; the query is prepared on it once.
        wanted: users, each with the features that are wanted of it.
        as_of: the moment; what is stored of later times does not count.

    Returns:
        What was found for each entry of `wanted`.
    """
    pairs = [(number, user, name) for number, (user, names) in enumerate(wanted) for name in names]
    numbers, users, names = (list(column) for column in zip(*pairs, strict=True)) if pairs else ([], [], [])
    values: list[dict[str, StoredValue]] = [{} for _ in wanted]
    for number, name, value, timestamp in connection.execute(_LATEST, (numbers, users, names, as_of), prepare=True):
        values[number][name] = StoredValue(_restored(value), timestamp)
    empty = list({user for (user, _), found in zip(wanted, values, strict=True) if not found})
    known = {user for (user,) in connection.execute(_KNOWN, (empty,))} if empty else set()
    return [
        Found(user, as_of, found, bool(found) or user in known) for (user, _), found in zip(wanted, values, strict=True)
    ]


def all_features(connection: psycopg.Connection[Any], user_id: str, *, as_of: dt.datetime) -> Found:
    """Everything that is stored of one user, as of a moment."""
    names = [name for (name,) in connection.execute(_ALL, {"user": user_id})]
    (found,) = latest_features(connection, [(user_id, names)], as_of=as_of)
    return found


def _restored(value: Value) -> Value:
    """The value as it was written: JSONB writes a float such as 1e300 out in digits."""
    return float(value) if type(value) is int and abs(value) > 2**63 else value


def _storable(text: str) -> bool:
    """Whether PostgreSQL can hold a text: no NUL, no half of a surrogate pair."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
