"""Target encoding: a category as the shrunken mean price of its level, out of fold on training rows.

The shrinkage is that of Micci-Barreca (2001), "A preprocessing scheme for high-cardinality categorical attributes",
with the number of pseudo-observations as its strength.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
from appraise.features.levels import LevelValues
from appraise.features.state import State

#: A level's own mean counts as much as the overall mean once it has this many sales.
STRENGTH = 10.0


class TargetEncoding(Transformation):
    """Mean target of each level, drawn towards the overall mean; the overall mean for an unseen level."""

    kind = "target_encoding"

    overall_: float
    means_: tuple[NDArray[np.float64], ...]

    def fit(self, table: Table, context: FitContext) -> Self:
        """Average the target by level."""
        self.input_names_ = context.target_encoded
        self.output_names_ = tuple(f"{name}_target" for name in self.input_names_)
        self.overall_ = float(np.mean(context.target))
        self.means_ = tuple(
            _shrunken_means(table.column(name), context.target, self.overall_, _levels(table.column(name)))
            for name in self.input_names_
        )
        self._prepare()
        return self

    def _prepare(self) -> None:
        self._values = LevelValues.of(self.means_, unseen=self.overall_)

    def fit_transform(self, table: Table, context: FitContext) -> NDArray[np.float64]:
        """Fit on all rows; encode each row by the folds that it is not in."""
        self.fit(table, context)
        fold = np.random.RandomState(context.seed).randint(0, context.folds, len(table))
        codes = table.select(self.input_names_)
        out = np.empty((len(table), len(self.input_names_)))
        for held in range(context.folds):
            inside, outside = fold == held, fold != held
            if not inside.any():
                continue
            target = context.target[outside]
            overall = float(np.mean(target)) if len(target) else self.overall_
            means = [_shrunken_means(column[outside], target, overall, _levels(column)) for column in codes.T]
            out[inside] = LevelValues.of(means, unseen=overall).of_codes(codes[inside])
        return out

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Encodings of shape (n, categories)."""
        return self._values.of_codes(table.select(self.input_names_))

    def state(self) -> State:
        """Names, overall mean, and the mean of each level."""
        return State(
            data={"input_names": list(self.input_names_), "overall": self.overall_},
            arrays={f"means_{i}": means for i, means in enumerate(self.means_)},
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        encoding = cls()
        encoding.input_names_ = tuple(state.data["input_names"])
        encoding.output_names_ = tuple(f"{name}_target" for name in encoding.input_names_)
        encoding.overall_ = state.data["overall"]
        encoding.means_ = tuple(state.arrays[f"means_{i}"] for i in range(len(encoding.input_names_)))
        encoding._prepare()
        return encoding


def _levels(codes: NDArray[np.float64]) -> int:
    return int(np.nanmax(codes)) + 1 if (codes >= 0).any() else 0


def _shrunken_means(
    codes: NDArray[np.float64], target: NDArray[np.float64], overall: float, levels: int
) -> NDArray[np.float64]:
    known = codes >= 0
    position = codes[known].astype(np.int64)
    count = np.bincount(position, minlength=levels)
    total = np.bincount(position, weights=target[known], minlength=levels)
    return (total + STRENGTH * overall) / (count + STRENGTH)
