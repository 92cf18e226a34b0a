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
    _steps: NDArray[np.float64]
    _levels: NDArray[np.float64]

    @classmethod
    def of(cls, days: NDArray[np.float64], residuals: NDArray[np.float64], *, window: int, lag: int) -> MarketLevel:
        """The level of these sales, in any order; a sale without a day (NaN) never becomes known."""
        dated = ~np.isnan(days)
        days, residuals = days[dated], residuals[dated]
        order = np.argsort(days, kind="stable")
        days, residuals = days[order], residuals[order]
        steps = np.unique(days)
        start = np.searchsorted(days, steps - window, side="right")
        stop = np.searchsorted(days, steps, side="right")
        levels = np.array([_shrunken_median(residuals[i:j]) for i, j in zip(start, stop, strict=True)])
        return cls(days, residuals, window, lag, steps, levels)

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

        It is made of the sales of the `window` days that end with the newest sale known on that day, so it stands until
        a newer sale becomes known. Zero before the first; a row without a day (NaN) is valued with all sales.
        """
        if not len(self._levels):
            return np.zeros(len(days))
        # NaN sorts after every day.
        newest = np.searchsorted(self._steps, days - self.lag, side="right") - 1
        return np.where(newest < 0, 0.0, self._levels[newest])

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


def _shrunken_median(residuals: NDArray[np.float64]) -> float:
    return float(np.median(residuals)) * len(residuals) / (len(residuals) + _SHRINKAGE)
