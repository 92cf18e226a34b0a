"""What was seen of each column in training, and warnings of values beyond it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from appraise.datasets.table import Table, date_of
from appraise.features.vocabulary import UNSEEN, Vocabulary


def training_ranges(vocabulary: Vocabulary, table: Table) -> NDArray[np.float64]:
    """Least and greatest value of each column, shape (p, 2).

    A category's range is that of its known codes, so that an unseen level lies outside. A column without values is
    NaN, which nothing lies outside of.
    """
    ranges = np.full((len(table.names), 2), np.nan)
    for position, name in enumerate(vocabulary.names_):
        values = table.column(name)
        if name in vocabulary.levels_:
            ranges[position] = UNSEEN + 0.5, np.inf
        elif not np.isnan(values).all():
            ranges[position] = np.nanmin(values), np.nanmax(values)
    return ranges


def find_warnings(table: Table, ranges: NDArray[np.float64], vocabulary: Vocabulary) -> tuple[tuple[str, ...], ...]:
    """What a reader should know of each of n rows.

    Args:
        table: the rows.
        ranges: (p, 2) of `training_ranges`.
        vocabulary: of the columns.
    """
    values = table.values
    rows = _outside(values, ranges)
    if not len(rows):
        return ((),) * len(table)
    found: list[tuple[str, ...]] = [()] * len(table)
    for row in rows.tolist():
        positions = np.flatnonzero((values[row] < ranges[:, 0]) | (values[row] > ranges[:, 1])).tolist()
        found[row] = tuple(
            _warning(position, float(values[row, position]), ranges, vocabulary) for position in positions
        )
    return tuple(found)


@njit(cache=True, nogil=True)
def _outside(values, ranges):  # type: ignore[no-untyped-def]
    """The rows with a value outside its range."""
    rows = np.empty(values.shape[0], np.int64)
    count = 0
    for row in range(values.shape[0]):
        outside = False
        for column in range(values.shape[1]):
            value = values[row, column]
            outside |= (value < ranges[column, 0]) | (value > ranges[column, 1])
        rows[count] = row
        count += outside
    return rows[:count]


def _warning(position: int, value: float, ranges: NDArray[np.float64], vocabulary: Vocabulary) -> str:
    name = vocabulary.names_[position]
    if vocabulary.kinds_[position] == "date":
        last = date_of(ranges[position, 1])
        return f"{name} {date_of(value)} lies outside the sales seen in training, the last of which is of {last}"
    if name in vocabulary.levels_:
        return f"{name} has a level that was not seen in training"
    low, high = ranges[position]
    return f"{name} {_plain(value)} lies outside the values seen in training, {_plain(low)} to {_plain(high)}"


def _plain(value: float) -> str:
    """A number as a person writes it, which 1e+06 is not."""
    return f"{value:,.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:g}"
