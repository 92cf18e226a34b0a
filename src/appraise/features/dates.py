"""Parts of the valuation date: the trend, and the season."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
from appraise.features.state import State

#: Mean length of a Gregorian year in days.
YEAR = 365.2425

#: A season can be told from a trend only where the training rows see it more than once.
_YEARS_FOR_A_SEASON = 2.0


class DateParts(Transformation):
    """Years since 1970, and with two years of training rows the season as a point on the unit circle.

    There are no parts where the dataset has no date.
    """

    kind = "date_parts"

    seasonal_: bool

    def fit(self, table: Table, context: FitContext) -> Self:
        """Take the date column's name, and see how long a time it spans."""
        date = context.sale_date
        self.input_names_ = () if date is None else (date,)
        self.seasonal_ = date is not None and _span(table.column(date)) >= _YEARS_FOR_A_SEASON
        self._name()
        return self

    def _name(self) -> None:
        parts = ("years", "season_sin", "season_cos") if self.seasonal_ else ("years",)
        self.output_names_ = tuple(f"{name}_{part}" for name in self.input_names_ for part in parts)

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Date parts of shape (n, 1 or 3), or (n, 0) without a date."""
        if not self.input_names_:
            return np.empty((len(table), 0))
        years = table.select(self.input_names_) / YEAR
        if not self.seasonal_:
            return years
        angle = 2 * np.pi * years
        return np.concatenate((years, np.sin(angle), np.cos(angle)), axis=1)

    def state(self) -> State:
        """The date column's name, and whether there is a season."""
        return State(data={"input_names": list(self.input_names_), "seasonal": self.seasonal_})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        parts = cls()
        parts.input_names_ = tuple(state.data["input_names"])
        parts.seasonal_ = state.data["seasonal"]
        parts._name()
        return parts


def _span(days: NDArray[np.float64]) -> float:
    known = days[~np.isnan(days)]
    return float(known.max() - known.min()) / YEAR if len(known) else 0.0
