"""Symmetric trees as flat arrays: every level of a tree asks one question, so a leaf's number is a few bits.

Features are binned once a row (by counting the model's borders below the value); after that a thousand trees are byte
comparisons. The compiler does both for a block of rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from appraise.features.state import State

#: Levels a tree may have: a leaf's number fits a byte.
MAX_DEPTH = 8

#: Rows evaluated together, and where there are many.
_BLOCK, _WIDE_BLOCK = 64, 256

#: Trees whose leaves are added in one pass over the rows of a wide block: each sum is read and written once for them.
_TOGETHER = 4

#: Fewer rows than this are quicker one by one.
_LEAST_BLOCK = 4

#: Bytes of a cache line. What is evaluated together lies in one, or each step would wait for two.
_LINE = 64

#: A bin above every border of a feature's at most 254: the question that nobody answers with yes.
_NEVER = 255


@dataclass(frozen=True, slots=True)
class SymmetricTrees:
    """T trees of depth D on F used features.

    Attributes:
        column: (F,) which column of the matrix each used feature is.
        border: borders of all used features, ascending within each, single precision.
        first_border: (F + 1,) where each feature's borders begin.
        question_feature: (T, D) the used feature that a level asks for.
        question_bin: (T, D) the level's bit is set when the bin is above this.
        leaf: (T, 2**D) what a leaf adds; the first level's bit is the lowest.
        cover: (T, 2**D) training weight of each leaf.
        base: added to the sum over trees.
    """

    column: NDArray[np.int32]
    border: NDArray[np.float32]
    first_border: NDArray[np.int32]
    question_feature: NDArray[np.int32]
    question_bin: NDArray[np.uint8]
    leaf: NDArray[np.float64]
    cover: NDArray[np.float64]
    base: float

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the trees for each row of X (n, p), shape (n,)."""
        out = np.zeros(len(X))
        _evaluate(
            self.column, self.border, self.first_border, self.question_feature, self.question_bin, self.leaf,
            np.ascontiguousarray(X), out,
        )  # fmt: skip
        return out + self.base

    def state(self) -> State:
        """The arrays."""
        names = ("column", "border", "first_border", "question_feature", "question_bin", "leaf", "cover")
        return State(data={"base": self.base}, arrays={name: getattr(self, name) for name in names})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        return cls(**state.arrays, base=state.data["base"])

    @classmethod
    def from_catboost(cls, model: dict[str, Any]) -> Self:
        """From CatBoost's JSON model of numeric features, missing values read as the lowest."""
        trees = model["oblivious_trees"]
        borders = {
            feature["flat_feature_index"]: sorted(feature["borders"] or ())
            for feature in model["features_info"]["float_features"]
        }
        asked = sorted({split["float_feature_index"] for tree in trees for split in tree["splits"] or ()})
        position = {feature: i for i, feature in enumerate(asked)}
        depth = max((len(tree["splits"] or ()) for tree in trees), default=0)
        if depth > MAX_DEPTH:
            raise ValueError(f"trees of depth {depth}; at most {MAX_DEPTH} can be evaluated")
        depth = max(depth, 1)
        question_feature = np.zeros((len(trees), depth), np.int32)
        question_bin = np.full((len(trees), depth), _NEVER, np.uint8)
        leaf = np.zeros((len(trees), 2**depth))
        cover = np.zeros((len(trees), 2**depth))
        single = {feature: np.array(borders[feature], np.float32) for feature in asked}
        for t, tree in enumerate(trees):
            for level, split in enumerate(tree["splits"] or ()):
                feature = split["float_feature_index"]
                question_feature[t, level] = position[feature]
                question_bin[t, level] = np.searchsorted(single[feature], np.float32(split["border"]))
            leaf[t, : len(tree["leaf_values"])] = tree["leaf_values"]
            cover[t, : len(tree["leaf_weights"])] = tree["leaf_weights"]
        scale, bias = model["scale_and_bias"]
        return cls(
            column=np.array(asked, np.int32),
            border=np.concatenate([single[feature] for feature in asked] or [np.empty(0, np.float32)]),
            first_border=np.cumsum([0, *(len(single[feature]) for feature in asked)]).astype(np.int32),
            question_feature=question_feature,
            question_bin=question_bin,
            leaf=leaf * scale,
            cover=cover,
            base=float(bias[0]),
        )


@njit(cache=True, nogil=True)
def _evaluate(  # type: ignore[no-untyped-def]
    column, border, first_border, question_feature, question_bin, leaf, X, out
):
    if X.shape[0] < _LEAST_BLOCK:
        for row in range(X.shape[0]):
            out[row] += _one_row(column, border, first_border, question_feature, question_bin, leaf, X[row])
        return
    if X.shape[0] > _BLOCK:
        _evaluate_many(column, border, first_border, question_feature, question_bin, leaf, X, out)
        return
    trees, depth = question_feature.shape
    bins = _aligned(column.shape[0] * _BLOCK).reshape(-1, _BLOCK)
    values = _aligned(4 * _BLOCK).view(np.float32)
    above = _aligned(4 * _BLOCK).view(np.int32)
    number = _aligned(_BLOCK)
    for start in range(0, X.shape[0], _BLOCK):
        size = min(_BLOCK, X.shape[0] - start)
        _count(column, border, first_border, X[start : start + size], values, above, bins)
        for tree in range(trees):
            for row in range(_BLOCK):
                number[row] = 0
            for level in range(depth):
                line = bins[question_feature[tree, level]]
                limit_bin = question_bin[tree, level]
                bit = np.uint8(1 << level)
                for row in range(_BLOCK):
                    number[row] |= bit if line[row] > limit_bin else np.uint8(0)
            leaves = leaf[tree]
            for row in range(size):
                out[start + row] += leaves[number[row]]


@njit(cache=True, nogil=True)
def _evaluate_many(  # type: ignore[no-untyped-def]
    column, border, first_border, question_feature, question_bin, leaf, X, out
):
    trees, depth = question_feature.shape
    bins = _aligned(column.shape[0] * _WIDE_BLOCK).reshape(-1, _WIDE_BLOCK)
    values = _aligned(4 * _WIDE_BLOCK).view(np.float32)
    above = _aligned(4 * _WIDE_BLOCK).view(np.int32)
    numbers = _aligned(_TOGETHER * _WIDE_BLOCK).reshape(-1, _WIDE_BLOCK)
    for start in range(0, X.shape[0], _WIDE_BLOCK):
        size = min(_WIDE_BLOCK, X.shape[0] - start)
        # Whole lines: rows beyond the last are whatever was there, and nobody reads what comes of them.
        width = (size + _LINE - 1) // _LINE * _LINE
        _count(column, border, first_border, X[start : start + size], values, above, bins)
        sums = out[start : start + size]
        for first in range(0, trees, _TOGETHER):
            count = min(_TOGETHER, trees - first)
            for place in range(count):
                number = numbers[place]
                for row in range(width):
                    number[row] = 0
                for level in range(depth):
                    line = bins[question_feature[first + place, level]]
                    limit_bin = question_bin[first + place, level]
                    bit = np.uint8(1 << level)
                    for row in range(width):
                        number[row] |= bit if line[row] > limit_bin else np.uint8(0)
            if count == _TOGETHER:
                a, b, c, d = leaf[first], leaf[first + 1], leaf[first + 2], leaf[first + 3]
                of_a, of_b, of_c, of_d = numbers[0], numbers[1], numbers[2], numbers[3]
                for row in range(size):
                    sums[row] = sums[row] + a[of_a[row]] + b[of_b[row]] + c[of_c[row]] + d[of_d[row]]
            else:
                for place in range(count):
                    for row in range(size):
                        sums[row] += leaf[first + place, numbers[place, row]]


@njit(cache=True, nogil=True)
def _aligned(size):  # type: ignore[no-untyped-def]
    """Zeros, shape (size,), uint8, from the beginning of a cache line."""
    room = np.zeros(size + _LINE, np.uint8)
    first = -room.ctypes.data % _LINE
    return room[first : first + size]


@njit(cache=True, nogil=True)
def _count(column, border, first_border, X, values, above, bins):  # type: ignore[no-untyped-def]
    """The bins of rows: how many borders lie below each value; a missing one is above none.

    Counting all borders beats a search by halving: that guesses wrong wherever one row differs from the one before.
    """
    width = bins.shape[1]
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
def _one_row(column, border, first_border, question_feature, question_bin, leaf, x):  # type: ignore[no-untyped-def]
    """What the trees add up to for one row; the sum is in the same order as that of a block."""
    features = column.shape[0]
    trees, depth = question_feature.shape
    bins = np.empty(features, np.uint8)
    for feature in range(features):
        value = np.float32(x[column[feature]])
        above = 0
        for i in range(first_border[feature], first_border[feature + 1]):
            above += value > border[i]
        bins[feature] = above
    total = 0.0
    for tree in range(trees):
        position = 0
        for level in range(depth):
            position |= (bins[question_feature[tree, level]] > question_bin[tree, level]) << level
        total += leaf[tree, position]
    return total
