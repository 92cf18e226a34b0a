"""Columns of the output from NumPy's arrays, without a copy.

`pyarrow.array` and `pyarrow.scalar` ask pandas whether what they were given is its own. Where pandas is installed that
loads it: a fifth of the start of a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbers(values: NDArray[np.float64], known: NDArray[np.bool_] | None = None) -> pa.Array[Any]:
    """Values (n,) as they lie in memory, null where they are not known."""
    buffers = [_bits(known), pa.py_buffer(np.ascontiguousarray(values).data)]
    return pa.Array.from_buffers(pa.float64(), len(values), buffers)


def repeated(text: str, count: int, known: NDArray[np.bool_] | None) -> pa.Array[Any]:
    """The same text in `count` rows, null where they are not known."""
    data = text.encode()
    ends = np.arange(count + 1, dtype=np.int32) * np.int32(len(data))
    buffers = [_bits(known), pa.py_buffer(ends.data), pa.py_buffer(data * count)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def picked(places: NDArray[Any], codes: NDArray[np.int64], names: Sequence[str], count: int) -> pa.Array[Any]:
    """A column of `count` rows with the text of its code in each of these places, null elsewhere."""
    known = None
    if len(places) < count:
        known = np.zeros(count, np.bool_)
        known[places] = True
    wide = np.zeros(count, np.int64)
    wide[places] = codes
    indices = pa.Array.from_buffers(pa.int64(), count, [_bits(known), pa.py_buffer(wide.data)])
    return texts(np.arange(len(names)), names, len(names)).take(indices)


def texts(places: NDArray[Any], values: Sequence[str], count: int) -> pa.Array[Any]:
    """A column of `count` rows with these texts in these places, null elsewhere."""
    if not len(places):
        return pa.nulls(count, pa.string())
    order = np.argsort(places)
    data = [values[place].encode() for place in order.tolist()]
    sizes, known = np.zeros(count, np.int32), np.zeros(count, np.bool_)
    sizes[places[order]], known[places] = [len(each) for each in data], True
    ends = np.concatenate((np.zeros(1, np.int32), np.cumsum(sizes, dtype=np.int32)))
    return pa.Array.from_buffers(
        pa.string(), count, [_bits(known), pa.py_buffer(ends.data), pa.py_buffer(b"".join(data))]
    )


def _bits(values: NDArray[np.bool_] | None) -> pa.Buffer | None:
    return None if values is None else pa.py_buffer(np.packbits(values, bitorder="little").data)
