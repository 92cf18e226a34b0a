"""Symmetric trees as flat arrays: every level of a tree asks one question, so a leaf's number is a few bits.

Features are binned once a row (by counting the model's borders below the value); after that a thousand trees are byte
comparisons (`models.oblivious`). Leaves are added as whole numbers, of a unit that is 2**-48 of what the largest needs:
as exact as sums in double precision, and the same to the bit in any order, for one row or many, on any processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from appraise.features.state import State
from appraise.models.oblivious import BLOCK, predict_blocks, predict_rows
from appraise.models.permutes import DIGIT_BITS, DIGITS, LEVELS, TOGETHER, digits_of

#: Levels a tree may have: a leaf's number fits a byte.
MAX_DEPTH = 8

#: Fewer rows than this are quicker one by one.
_LEAST_BLOCK = 4

#: A bin above every border of a feature's at most 254: the question that nobody answers with yes.
_NEVER = 255


@dataclass(frozen=True, slots=True)
class _Leaves:
    """Leaves as whole numbers.

    Attributes:
        unit: what one is worth.
        least: the sum of the least leaves of all trees.
        whole: (T, 2**D) how far each leaf is above the least one of its tree.
        line, bound, tables: the trees in groups, as `permutes.add_group` takes them; empty where they are too deep.
    """

    unit: float
    least: int
    whole: NDArray[np.int64]
    line: NDArray[np.int32]
    bound: NDArray[np.uint8]
    tables: NDArray[np.uint8]

    @classmethod
    def of(cls, feature: NDArray[np.int32], bound: NDArray[np.uint8], leaf: NDArray[np.float64]) -> Self:
        """From the questions and leaves of `SymmetricTrees`."""
        unit = _unit(leaf)
        whole = np.rint(leaf / unit).astype(np.int64) if np.isfinite(unit) else np.zeros(leaf.shape, np.int64)
        least = whole.min(axis=1, initial=0)
        whole -= least[:, None]
        trees, depth = feature.shape
        if depth > LEVELS:
            nothing = np.empty(0, np.uint8)
            return cls(unit, int(least.sum()), whole, nothing.view(np.int32), nothing, nothing.reshape(0, 0, 0, 0))
        filled = -(-trees // TOGETHER) * TOGETHER
        line, above = np.zeros((filled, LEVELS), np.int32), np.full((filled, LEVELS), _NEVER, np.uint8)
        line[:trees, :depth], above[:trees, :depth] = feature * BLOCK, bound
        return cls(unit, int(least.sum()), whole, line.ravel(), above.ravel(), digits_of(whole))


def _unit(leaf: NDArray[np.float64]) -> float:
    """The least power of two by which no leaf, and no two of a tree apart, needs more digits than there are."""
    largest = float(np.abs(leaf).max(initial=0.0))
    if not math.isfinite(largest):
        return math.nan
    # Fewer bits where so many trees could add up to more than 64.
    bits = min(DIGITS * DIGIT_BITS, 63 - len(leaf).bit_length())
    # With room for what rounding adds.
    _, exponent = math.frexp(1.0001 * largest)
    return math.ldexp(1.0, max(exponent + 1 - bits, -1022)) if largest else 1.0


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
    _leaves: _Leaves = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make whole numbers of the leaves."""
        object.__setattr__(self, "_leaves", _Leaves.of(self.question_feature, self.question_bin, self.leaf))

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the trees for each row of X (n, p), shape (n,)."""
        leaves, out = self._leaves, np.empty(len(X))
        trees = self.column, self.border, self.first_border, self.question_feature, self.question_bin, leaves.whole
        worth = leaves.least, leaves.unit, self.base
        if len(X) < _LEAST_BLOCK:
            predict_rows(*trees, *worth, np.ascontiguousarray(X), out)
        else:
            predict_blocks(*trees, leaves.line, leaves.bound, leaves.tables, *worth, np.ascontiguousarray(X), out)
        return out

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
