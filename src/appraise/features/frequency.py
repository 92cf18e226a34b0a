"""Frequency encoding: a category as the logarithm of how often its level was seen in training."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
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
        return self

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Encodings of shape (n, categories)."""
        codes = table.select(self.input_names_)
        out = np.empty_like(codes)
        for position, counts in enumerate(self.counts_):
            out[:, position] = look_up(codes[:, position], counts, unseen=0.0)
        return out

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
        return encoding


def _counts(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    known = codes[codes >= 0].astype(np.int64)
    return np.log1p(np.bincount(known).astype(np.float64))


def look_up(codes: NDArray[np.float64], values: NDArray[np.float64], *, unseen: float) -> NDArray[np.float64]:
    """The value of each code, shape (n,): `unseen` for codes without one, NaN for NaN."""
    missing = np.isnan(codes)
    position = np.where(missing, -1.0, codes).astype(np.int64)
    known = (position >= 0) & (position < len(values))
    if not len(values):
        return np.where(missing, np.nan, unseen)
    return np.where(missing, np.nan, np.where(known, values[np.where(known, position, 0)], unseen))
