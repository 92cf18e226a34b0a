"""Frequency encoding: a category as the logarithm of how often its level was seen in training."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
from appraise.features.levels import LevelValues
from appraise.features.state import State


class FrequencyEncoding(Transformation):
    """log(1 + count) of each category's level; 0 for an unseen level, NaN for a missing value."""

    kind = "frequency"

    counts_: tuple[NDArray[np.float64], ...]

    def fit(self, table: Table, context: FitContext) -> Self:
        """Count the levels."""
        self.input_names_ = context.frequency_encoded
        self.output_names_ = tuple(f"{name}_frequency" for name in self.input_names_)
        self.counts_ = tuple(_counts(table.column(name)) for name in self.input_names_)
        self._prepare()
        return self

    def _prepare(self) -> None:
        self._values = LevelValues.of(self.counts_, unseen=0.0)

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Encodings of shape (n, categories)."""
        return self._values.of_codes(table.select(self.input_names_))

    def state(self) -> State:
        """Names, and the log count of each level."""
        return State(
            data={"input_names": list(self.input_names_)},
            arrays={f"counts_{i}": counts for i, counts in enumerate(self.counts_)},
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        encoding = cls()
        encoding.input_names_ = tuple(state.data["input_names"])
        encoding.output_names_ = tuple(f"{name}_frequency" for name in encoding.input_names_)
        encoding.counts_ = tuple(state.arrays[f"counts_{i}"] for i in range(len(encoding.input_names_)))
        encoding._prepare()
        return encoding


def _counts(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    known = codes[codes >= 0].astype(np.int64)
    return np.log1p(np.bincount(known).astype(np.float64))
