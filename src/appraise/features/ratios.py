"""Ratios of size columns: rooms a person, land a home, income a room."""

from __future__ import annotations

from itertools import combinations
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import LARGEST, FitContext, Transformation
from appraise.features.state import State

#: At most so many size columns take part, the ones whose ranks follow the price most closely.
MAX_COLUMNS = 6


class Ratios(Transformation):
    """The ratio of each pair of size columns: those that are positive, or zero at times, and take many values."""

    kind = "ratios"

    def fit(self, table: Table, context: FitContext) -> Self:
        """Choose the size columns."""
        out = {context.latitude, context.longitude, context.sale_date, *context.categories, *context.booleans}
        sizes = [name for name in table.names if name not in out and _is_size(table.column(name))]
        strength = {name: abs(rank_correlation(table.column(name), context.target)) for name in sizes}
        # Sorted by name first, so that the order of the columns never decides between equals.
        chosen = sorted(sorted(sizes), key=lambda name: -strength[name])[:MAX_COLUMNS]
        self.input_names_ = tuple(sorted(chosen))
        self._prepare()
        return self

    def _prepare(self) -> None:
        pairs = list(combinations(range(len(self.input_names_)), 2))
        self._upper = np.array([a for a, _ in pairs], dtype=np.int64)
        self._lower = np.array([b for _, b in pairs], dtype=np.int64)
        self.output_names_ = tuple(f"{self.input_names_[a]}_per_{self.input_names_[b]}" for a, b in pairs)

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Ratios of shape (n, pairs); NaN where the divisor is zero, or next to it."""
        out = np.empty((len(table), len(self.output_names_)))
        self.write(table, out)
        return out

    def write(self, table: Table, out: NDArray[np.float64]) -> None:
        """The same, into a matrix that is there."""
        _divide(table.select(self.input_names_), self._upper, self._lower, out)

    def state(self) -> State:
        """The columns' names."""
        return State(data={"input_names": list(self.input_names_)})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        ratios = cls()
        ratios.input_names_ = tuple(state.data["input_names"])
        ratios._prepare()
        return ratios


@njit(cache=True, nogil=True, error_model="numpy")
def _divide(sizes, upper, lower, out):  # type: ignore[no-untyped-def]
    for row in range(sizes.shape[0]):
        for pair in range(upper.shape[0]):
            ratio = sizes[row, upper[pair]] / sizes[row, lower[pair]]
            out[row, pair] = ratio if abs(ratio) <= LARGEST else np.nan


def _is_size(values: NDArray[np.float64]) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 0 and bool((known >= 0).all()) and bool((known > 0).mean() > 0.5) and len(np.unique(known)) > 2


def rank_correlation(values: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Spearman's rank correlation over the rows where `values` is known; 0 where it is undefined."""
    known = ~np.isnan(values)
    if known.sum() < 3:
        return 0.0
    a, b = _ranks(values[known]), _ranks(target[known])
    a -= a.mean()
    b -= b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing their mean rank."""
    # scipy.stats says the same and takes 60 MB of every process that imports it.
    _, position, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[position]
