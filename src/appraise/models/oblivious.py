"""Compiled loops over symmetric trees: bins of a block of rows, then a thousand trees of byte comparisons.

Leaves are whole numbers (`models.symmetric`), so a sum is the same whatever the order in which it is made.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from appraise.models.permutes import (
    DIGIT_BITS,
    DIGITS,
    LINE,
    MOST_GROUPS,
    TOGETHER,
    add_group,
    can_permute,
)

#: Rows evaluated together.
BLOCK = 256


@njit(cache=True, nogil=True)
def predict_rows(  # type: ignore[no-untyped-def]
    column, border, first_border, feature, bound, leaf, least, unit, base, X, out
):
    """Predictions for a few rows, one by one.

    Args:
        column: (F,) which column of X each used feature is.
        border: borders of all used features, single precision.
        first_border: (F + 1,) where each feature's borders begin.
        feature: (T, D) the used feature that a level asks for.
        bound: (T, D) the level's bit is set when the bin is above this.
        leaf: (T, 2**D) whole numbers.
        least, unit, base: a prediction is the sum of leaves and `least`, times `unit`, and `base`.
        X: (n, p) rows.
        out: (n,) where the predictions are written.
    """
    for row in range(X.shape[0]):
        total = least + _one_row(column, border, first_border, feature, bound, leaf, X[row])
        out[row] = total * unit + base


@njit(cache=True, nogil=True)
def predict_blocks(  # type: ignore[no-untyped-def]
    column, border, first_border, feature, bound, leaf, group_line, group_bound, tables, least, unit, base, X, out
):
    """The same for more rows, in blocks of 256.

    Args:
        column, border, first_border, feature, bound, leaf, least, unit, base, X, out: as for `predict_rows`.
        group_line, group_bound, tables: as for `permutes.add_group`; none where a tree has more than 64 leaves.
    """
    width = column.shape[0]
    bins = _zeros(width * BLOCK)
    values = _zeros(4 * BLOCK).view(np.float32)
    above = _zeros(4 * BLOCK).view(np.int32)
    numbers = _zeros(TOGETHER * BLOCK).reshape(-1, BLOCK)
    digits = _zeros(2 * DIGITS * BLOCK).view(np.uint16)
    totals = np.empty(BLOCK, np.int64)
    for start in range(0, X.shape[0], BLOCK):
        size = min(BLOCK, X.shape[0] - start)
        # Whole lines: rows beyond the last are whatever was there, and nobody reads what comes of them.
        wide = (size + LINE - 1) // LINE * LINE
        _count(column, border, first_border, X[start : start + size], wide, values, above, bins.reshape(-1, BLOCK))
        totals[:] = least
        if can_permute() and tables.shape[0]:
            for first in range(0, tables.shape[0], MOST_GROUPS):
                digits[:] = 0
                for group in range(first, min(first + MOST_GROUPS, tables.shape[0])):
                    for row in range(0, wide, LINE):
                        add_group(bins, group_line, group_bound, tables, digits, row, group)
                _carry(digits, totals[:size])
        else:
            _add_block(feature, bound, leaf, bins.reshape(-1, BLOCK), wide, numbers, totals[:size])
        for row in range(size):
            out[start + row] = totals[row] * unit + base


@njit(cache=True, nogil=True)
def _carry(digits, out):  # type: ignore[no-untyped-def]
    """Add the numbers that sums of digits stand for."""
    for row in range(out.shape[0]):
        line, place = divmod(row, LINE)
        at = line * LINE * DIGITS + place % 2 * (LINE // 2) + place // 2
        total = np.int64(0)
        for digit in range(DIGITS):
            total += np.int64(digits[at + digit * LINE]) << (digit * DIGIT_BITS)
        out[row] += total


@njit(cache=True, nogil=True)
def _add_block(feature, bound, leaf, bins, width, numbers, out):  # type: ignore[no-untyped-def]
    """One block where the processor cannot look leaves up in registers, four trees in one pass over the rows."""
    trees, depth = feature.shape
    for first in range(0, trees, TOGETHER):
        count = min(TOGETHER, trees - first)
        for place in range(count):
            number = numbers[place]
            for row in range(width):
                number[row] = 0
            for level in range(depth):
                line = bins[feature[first + place, level]]
                limit = bound[first + place, level]
                bit = np.uint8(1 << level)
                for row in range(width):
                    number[row] |= bit if line[row] > limit else np.uint8(0)
        if count == TOGETHER:
            a, b, c, d = leaf[first], leaf[first + 1], leaf[first + 2], leaf[first + 3]
            of_a, of_b, of_c, of_d = numbers[0], numbers[1], numbers[2], numbers[3]
            for row in range(out.shape[0]):
                out[row] += a[of_a[row]] + b[of_b[row]] + c[of_c[row]] + d[of_d[row]]
        else:
            for place in range(count):
                for row in range(out.shape[0]):
                    out[row] += leaf[first + place, numbers[place, row]]


@njit(cache=True, nogil=True)
def _zeros(size):  # type: ignore[no-untyped-def]
    """Zeros, shape (size,), uint8, from the beginning of a cache line: what is evaluated together lies in one."""
    room = np.zeros(size + LINE, np.uint8)
    first = -room.ctypes.data % LINE
    return room[first : first + size]


@njit(cache=True, nogil=True)
def _count(column, border, first_border, X, width, values, above, bins):  # type: ignore[no-untyped-def]
    """The bins of rows: how many borders lie below each value; a missing one is above none.

    Counting all borders beats a search by halving: that guesses wrong wherever one row differs from the one before.
    """
    for feature in range(column.shape[0]):
        for row in range(X.shape[0]):
            values[row] = X[row, column[feature]]
        above[:] = 0
        first, stop = first_border[feature], first_border[feature + 1]
        fours = first + (stop - first) // 4 * 4
        for i in range(first, fours, 4):
            a, b, c, d = border[i], border[i + 1], border[i + 2], border[i + 3]
            for row in range(width):
                value = values[row]
                above[row] += (value > a) + (value > b) + (value > c) + (value > d)
        for i in range(fours, stop):
            limit = border[i]
            for row in range(width):
                above[row] += values[row] > limit
        for row in range(width):
            bins[feature, row] = above[row]


@njit(cache=True, nogil=True)
def _one_row(column, border, first_border, feature, bound, leaf, x):  # type: ignore[no-untyped-def]
    """The sum of the leaves of one row."""
    features = column.shape[0]
    trees, depth = feature.shape
    bins = np.empty(features, np.uint8)
    for used in range(features):
        value = np.float32(x[column[used]])
        above = 0
        for i in range(first_border[used], first_border[used + 1]):
            above += value > border[i]
        bins[used] = above
    positions = np.empty(trees, np.uint8)
    for tree in range(trees):
        position = 0
        for level in range(depth):
            position |= (bins[feature[tree, level]] > bound[tree, level]) << level
        positions[tree] = position
    # On their own, so that the processor waits for many leaves at a time: hardly one of them is in its caches.
    total = np.int64(0)
    for tree in range(trees):
        total += leaf[tree, positions[tree]]
    return total
