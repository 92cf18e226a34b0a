"""Columns that a model takes as they are: numbers, integers, booleans and coordinates."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import LARGEST, FitContext, Transformation
from appraise.features.state import State


class Numbers(Transformation):
    """The numeric columns themselves, missing values left missing."""

    kind = "numbers"

    def fit(self, table: Table, context: FitContext) -> Self:
        """Find the numeric columns."""
        self.input_names_ = tuple(
            name for name in table.names if name not in context.categories and name != context.sale_date
        )
        self.output_names_ = self.input_names_
        return self

    def transform(self, table: Table) -> NDArray[np.float64]:
        """The columns, shape (n, columns)."""
        return np.minimum(np.maximum(table.select(self.input_names_), -LARGEST), LARGEST)

    def write(self, table: Table, out: NDArray[np.float64]) -> None:
        """The same, into a matrix that is there."""
        np.minimum(np.maximum(table.select(self.input_names_), -LARGEST), LARGEST, out=out)

    def state(self) -> State:
        """The columns' names."""
        return State(data={"input_names": list(self.input_names_)})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        numbers = cls()
        numbers.input_names_ = numbers.output_names_ = tuple(state.data["input_names"])
        return numbers
