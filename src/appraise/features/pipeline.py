"""All transformations of a dataset in one: from a `Table` to the matrix that models take."""

from __future__ import annotations

from copy import copy
from itertools import accumulate, pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.errors import BundleError
from appraise.features.base import FitContext, Transformation
from appraise.features.comparables import Comparables, NearSale
from appraise.features.dates import DateParts
from appraise.features.frequency import FrequencyEncoding
from appraise.features.geometry import RotatedCoordinates
from appraise.features.missing import MissingFlags
from appraise.features.numbers import Numbers
from appraise.features.ratios import Ratios
from appraise.features.state import State
from appraise.features.target_encoding import TargetEncoding

_ROW_WISE: tuple[type[Transformation], ...] = (
    Numbers,
    MissingFlags,
    DateParts,
    RotatedCoordinates,
    Ratios,
    FrequencyEncoding,
    TargetEncoding,
)
_BY_KIND = {part.kind: part for part in _ROW_WISE}


class FeaturePipeline:
    """The row-wise transformations side by side, then comparables that see encoded categories too.

    Args:
        metrics: which set of comparable-sales metrics (`fast` or `best`); None leaves comparables out.
    """

    def __init__(self, metrics: str | None = "fast") -> None:
        self.metrics = metrics

    def fit_transform(self, table: Table, prices: NDArray[np.float64], context: FitContext) -> NDArray[np.float64]:
        """Fit on n training rows, which become the pool; their features, shape (n, p).

        Args:
            table: the training rows.
            prices: (n,) in money.
            context: with the target on the model's scale.
        """
        self.input_names_ = table.names
        parts = [part() for part in _ROW_WISE]
        made = [part.fit_transform(table, context) for part in parts]
        kept = [(part, values) for part, values in zip(parts, made, strict=True) if values.shape[1]]
        self.parts_ = tuple(part for part, _ in kept)
        self.comparables_ = None
        columns = [values for _, values in kept]
        if self.metrics is not None:
            wide = self._widened(table, columns)
            self.comparables_ = Comparables(self.metrics).fit(wide, context).with_prices(prices)
            columns.append(self.comparables_.leave_one_out())
        self._name()
        return np.concatenate(columns, axis=1)

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Features of shape (n, p), the comparables from the pool as it is known at each row's date."""
        out = np.empty((len(table), len(self.output_names_)))
        columns = [out[:, part] for part in self._places]
        for part, own in zip(self.parts_, columns, strict=True):
            part.write(table, own)
        if self.comparables_ is not None:
            self.comparables_.write(self._widened(table, columns), out[:, self._first_comparable :])
        return out

    def with_sales(self, table: Table, prices: NDArray[np.float64], target: NDArray[np.float64]) -> Self:
        """A copy whose pool knows these sales as well; everything else is shared."""
        if self.comparables_ is None:
            return self
        columns = [part.transform(table) for part in self.parts_]
        other = copy(self)
        other.comparables_ = self.comparables_.with_sales(self._widened(table, columns), prices, target)
        return other

    def with_pool(self, table: Table, prices: NDArray[np.float64], target: NDArray[np.float64]) -> Self:
        """A copy whose pool is these sales and no others; everything else is shared."""
        if self.comparables_ is None:
            return self
        columns = [part.transform(table) for part in self.parts_]
        other = copy(self)
        other.comparables_ = self.comparables_.with_pool(self._widened(table, columns), prices, target)
        return other

    def nearest_sales(self, table: Table, count: int) -> list[NearSale]:
        """The pool's sales nearest to the table's first row in place and likeness; none without comparables."""
        if self.comparables_ is None:
            return []
        columns = [part.transform(table) for part in self.parts_]
        return self.comparables_.nearest_sales(self._widened(table, columns), count)

    def _widened(self, table: Table, columns: list[NDArray[np.float64]]) -> Table:
        """The table with its encoded categories, which are attributes of a comparable like any other."""
        added: list[NDArray[np.float64]] = []
        names: list[str] = []
        for part, values in zip(self.parts_, columns, strict=True):
            if isinstance(part, TargetEncoding):
                added.append(values)
                names += part.output_names_
        if not added:
            return table
        return Table((*table.names, *names), np.concatenate([table.values, *added], axis=1))

    def _name(self) -> None:
        names = [name for part in self.parts_ for name in part.output_names_]
        if self.comparables_ is not None:
            names += self.comparables_.output_names_
        self.output_names_ = tuple(names)
        ends = list(accumulate((len(part.output_names_) for part in self.parts_), initial=0))
        self._first_comparable = ends[-1]
        self._places = tuple(slice(start, stop) for start, stop in pairwise(ends))

    def state(self) -> State:
        """Every part but the pool."""
        parts = {part.kind: part.state() for part in self.parts_}
        if self.comparables_ is not None:
            parts[Comparables.kind] = self.comparables_.state()
        joined = State.join(parts)
        return State(
            data={
                "metrics": self.metrics,
                "input_names": list(self.input_names_),
                "order": [part.kind for part in self.parts_],
                "parts": joined.data,
            },
            arrays=joined.arrays,
        )

    def pool_state(self) -> State | None:
        """The pool, a part of its own; None without comparables."""
        return None if self.comparables_ is None else self.comparables_.pool_state()

    @classmethod
    def from_state(cls, state: State, pool: State | None) -> Self:
        """The inverse of `state` and `pool_state`.

        Raises:
            BundleError: when the pool of a pipeline with comparables is missing.
        """
        self = cls(state.data["metrics"])
        joined = State(data=state.data["parts"], arrays=state.arrays)
        self.input_names_ = tuple(state.data["input_names"])
        self.parts_ = tuple(_BY_KIND[kind].from_state(joined.part(kind)) for kind in state.data["order"])
        self.comparables_ = None
        if self.metrics is not None:
            if pool is None:
                raise BundleError(
                    "the model compares with known sales, and its pool of sales is missing",
                    hint="restore the bundle's pool, or train the model again",
                )
            self.comparables_ = Comparables.from_state(joined.part(Comparables.kind)).with_pool_state(pool)
        self._name()
        return self
