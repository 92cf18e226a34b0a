"""Columns of many rows as arrays in PostgreSQL's binary format: each is one parameter of one statement.

psycopg takes a list apart an element at a time, for several times what it costs to join the bytes here. The format is
that of `array_recv`, and of each type's own `recv` function; none of the elements may be NULL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import Cursor
from psycopg.adapt import Dumper
from psycopg.pq import Format

#: Types by the numbers that `pg_type.dat` gives them, the same in every server.
_TEXT, _TIMESTAMPTZ, _UUID, _JSONB = 25, 1184, 2950, 3802
#: Dimensions, whether there are NULLs, the type of the elements, how many there are, the number of the first.
_HEADER = struct.Struct("!iiIii")
#: PostgreSQL counts microseconds from 2000, in seconds since 1970.
_EPOCH_SECONDS = 946_684_800
_JSONB_VERSION = b"\1"


@dataclass(frozen=True, slots=True)
class Array:
    """A one-dimensional array; the statement says of which type: `%s::text[]`.

    Attributes:
        data: what `array_recv` reads.
    """

    data: bytes


def texts(values: Iterable[str]) -> Array:
    """A `text[]`."""
    return _of_bytes(_TEXT, [value.encode() for value in values])


def documents(values: Iterable[bytes]) -> Array:
    """A `jsonb[]` of JSON texts."""
    return _of_bytes(_JSONB, [_JSONB_VERSION + value for value in values])


def moments(microseconds: Sequence[int]) -> Array:
    """A `timestamptz[]` of microseconds since 1970."""
    elements = np.empty(len(microseconds), [("length", ">i4"), ("value", ">i8")])
    elements["length"] = 8
    elements["value"] = np.asarray(microseconds, np.int64) - _EPOCH_SECONDS * 1_000_000
    return _array(_TIMESTAMPTZ, len(elements), elements.tobytes())


def uuids(first: int, count: int) -> Array:
    """A `uuid[]` of as many as are wanted, each one more than that before it; the lower half does not overflow."""
    elements = np.empty(count, [("length", ">i4"), ("upper", ">u8"), ("lower", ">u8")])
    elements["length"] = 16
    elements["upper"] = first >> 64
    elements["lower"] = np.uint64(first & (1 << 64) - 1) + np.arange(count, dtype=np.uint64)
    return _array(_UUID, count, elements.tobytes())


def accept_arrays(cursor: Cursor[Any]) -> None:
    """Let a cursor take arrays as parameters."""
    cursor.adapters.register_dumper(Array, _ArrayDumper)


class _ArrayDumper(Dumper):
    """Hands an array on as it is."""

    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.data


def _of_bytes(oid: int, elements: Sequence[bytes]) -> Array:
    parts = [part for element in elements for part in (len(element).to_bytes(4, "big"), element)]
    return _array(oid, len(elements), b"".join(parts))


def _array(oid: int, count: int, elements: bytes) -> Array:
    return Array(_HEADER.pack(1, 0, oid, count, 1) + elements)
