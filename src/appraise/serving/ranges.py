"""What was seen of each column in training, and which rows lie beyond it."""

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


def far_ranges(vocabulary: Vocabulary, ranges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Beyond which a value is nothing like those seen, shape (p, 2): each range with as much again on either side.

    Dates are NaN: how old what is known has become is told by the sales.
    """
    far = ranges.copy()
    for position, (name, kind) in enumerate(zip(vocabulary.names_, vocabulary.kinds_, strict=True)):
        if kind == "date":
            far[position] = np.nan
        elif name not in vocabulary.levels_:
            width = far[position, 1] - far[position, 0]
            far[position] += -width, width
    return far


def is_outside(values: NDArray[np.float64], ranges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values (n, p) lie outside their column's range, shape (n, p)."""
    outside: NDArray[np.bool_] = (values < ranges[:, 0]) | (values > ranges[:, 1])
    return outside


def range_warnings(values: NDArray[np.float64], ranges: NDArray[np.float64], vocabulary: Vocabulary) -> tuple[str, ...]:
    """What a reader should know of one row's values, shape (p,)."""
    return tuple(
        _warning(position, float(values[position]), ranges, vocabulary)
        for position in np.flatnonzero(is_outside(values, ranges)).tolist()
    )


@njit(cache=True, nogil=True)
def unusual_rows(values, ranges, far, usual, most_missing, features, near, farthest, least_gap):  # type: ignore[no-untyped-def]
    """The rows with a value outside its range, and the rows that may be no ordinary ones for what is known of them.

    Args:
        values: (n, p) encoded inputs.
        ranges: (p, 2) of `training_ranges`.
        far: (p, 2) of `far_ranges`.
        usual: (p,) whether it is ordinary that the input is missing.
        most_missing: how many of these are missing in an ordinary row at most.
        features: (n, q) what the model sees.
        near, farthest, least_gap: as of `Support`.
    """
    outside = np.empty(values.shape[0], np.int64)
    unusual = np.empty(values.shape[0], np.int64)
    told = asked = 0
    for row in range(values.shape[0]):
        beyond = strange = False
        missing = 0
        for column in range(values.shape[1]):
            value = values[row, column]
            if (value < ranges[column, 0]) | (value > ranges[column, 1]):
                beyond = True
                strange |= (value < far[column, 0]) | (value > far[column, 1])
            elif value != value:
                missing += usual[column]
                strange |= not usual[column]
        strange |= missing > most_missing
        if near.shape[0]:
            eighth, thirtieth = features[row, near[0]], features[row, near[1]]
            # Written so that the distances of a row without any known sale, which are NaN, are told of too.
            strange |= not ((eighth <= farthest) & (thirtieth - eighth >= least_gap))
        outside[told] = unusual[asked] = row
        told += beyond
        asked += strange
    return outside[:told], unusual[:asked]


def _warning(position: int, value: float, ranges: NDArray[np.float64], vocabulary: Vocabulary) -> str:
    name = vocabulary.names_[position]
    if vocabulary.kinds_[position] == "date":
        first, last = (str(date_of(end)) for end in ranges[position])
        end = f"first of which is of {first}" if value < ranges[position, 0] else f"last of which is of {last}"
        return f"{name} {date_of(value)} lies outside the sales seen in training, the {end}"
    if name in vocabulary.levels_:
        return f"this {name} was not among the sales that the model learned from"
    low, high = ranges[position]
    return f"{name} {_plain(value)} lies outside the values seen in training, {_plain(low)} to {_plain(high)}"


def _plain(value: float) -> str:
    """A number as a person writes it, which 1e+06 is not."""
    return f"{value:,.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:g}"
