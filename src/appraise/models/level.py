"""The market level: how far recent sales lie above what the model said of them.

Trees cannot rise with a market that they have not seen. The median log residual of the sales of the last weeks, as far
as they are known, says by how much; adding it costs a table look-up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appraise.features.state import State

#: A window of so few sales counts half.
_SHRINKAGE = 10.0


@dataclass(frozen=True, slots=True)
class MarketLevel:
    """Log residuals of dated sales, and the level that they make for each day.

    Attributes:
        days: (n,) sale days since 1970-01-01, ascending.
        residuals: (n,) log of price over estimate; the estimate knew the sales before, and no level.
        window: days of sales that count.
        lag: days until a sale is known.
    """

    days: NDArray[np.float64]
    residuals: NDArray[np.float64]
    window: int
    lag: int
    _first: float
    _levels: NDArray[np.float64]

    @classmethod
    def of(cls, days: NDArray[np.float64], residuals: NDArray[np.float64], *, window: int, lag: int) -> MarketLevel:
        """The level of these sales, in any order."""
        order = np.argsort(days, kind="stable")
        days, residuals = days[order], residuals[order]
        first = days[0] + lag if len(days) else 0.0
        last = days[-1] + lag if len(days) else -1.0
        levels = np.zeros(max(int(last - first) + 1, 0))
        for i in range(len(levels)):
            known = first + i - lag
            start, stop = np.searchsorted(days, [known - window, known], side="right")
            count = stop - start
            if count:
                levels[i] = np.median(residuals[start:stop]) * count / (count + _SHRINKAGE)
            elif i:
                levels[i] = levels[i - 1]
        return cls(days, residuals, window, lag, float(first), levels)

    @classmethod
    def empty(cls, *, window: int, lag: int) -> MarketLevel:
        """No sales: a level of zero."""
        return cls.of(np.empty(0), np.empty(0), window=window, lag=lag)

    def with_sales(self, days: NDArray[np.float64], residuals: NDArray[np.float64]) -> MarketLevel:
        """The level that knows these sales as well."""
        return MarketLevel.of(
            np.concatenate((self.days, days)),
            np.concatenate((self.residuals, residuals)),
            window=self.window,
            lag=self.lag,
        )

    def at(self, days: NDArray[np.float64]) -> NDArray[np.float64]:
        """The level on each valuation day, shape (n,), in logarithms.

        It is made of the sales from `lag` to `lag + window - 1` days before. Zero before the first known sale; the last
        level stands where the window has no sale.
        """
        if not len(self._levels):
            return np.zeros(len(days))
        position = np.floor(np.nan_to_num(days, nan=self._first + len(self._levels)) - self._first)
        inside = np.clip(position, 0, len(self._levels) - 1).astype(np.int64)
        return np.where(position < 0, 0.0, self._levels[inside])

    def state(self) -> State:
        """The sales' days and residuals."""
        return State(
            data={"window": self.window, "lag": self.lag}, arrays={"days": self.days, "residuals": self.residuals}
        )

    @classmethod
    def from_state(cls, state: State) -> MarketLevel:
        """The inverse of `state`."""
        return cls.of(
            state.arrays["days"], state.arrays["residuals"], window=state.data["window"], lag=state.data["lag"]
        )
