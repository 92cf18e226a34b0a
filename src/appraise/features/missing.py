"""Missing values: a filled copy for what cannot take them, and flags that say where they were."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
from appraise.features.state import State


class MissingFlags(Transformation):
    """One flag for each numeric column that had missing values in training: 1 where the value is missing."""

    kind = "missing_flags"

    def fit(self, table: Table, context: FitContext) -> Self:
        """Find the columns with missing values."""
        numeric = [name for name in table.names if name not in context.categories and name != context.sale_date]
        self.input_names_ = tuple(name for name in numeric if np.isnan(table.column(name)).any())
        self.output_names_ = tuple(f"{name}_missing" for name in self.input_names_)
        return self

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Flags of shape (n, columns with missing values)."""
        return np.isnan(table.select(self.input_names_)).astype(np.float64)

    def state(self) -> State:
        """The columns' names."""
        return State(data={"input_names": list(self.input_names_)})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        flags = cls()
        flags.input_names_ = tuple(state.data["input_names"])
        flags.output_names_ = tuple(f"{name}_missing" for name in flags.input_names_)
        return flags
