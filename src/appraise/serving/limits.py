"""Which estimates are claimed less of than their intervals say: capped prices, old sales, unheard-of values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import date_of
from appraise.models.support import Support
from appraise.serving.cautions import UNUSABLE, Strained

#: Least forecast standard deviations of what is no `high`, no `medium` and `none`: just beyond the grades' bounds.
NOT_HIGH, NOT_MEDIUM, NOTHING = 0.1501, 0.3001, 1.0

#: Days since the last known sale from which scores are low at best, and from which no estimate is claimed. In the
#: simulated market errors double in the third year after it; 90% intervals hold 90% of prices up to three years after
#: it, 82% up to five, 70% up to seven and 33% up to ten (decision 16).
_LONG_DAYS = 2 * 365.25
_LONGEST_DAYS = 5 * 365.25

#: FSDs above the estimate that are held to reach the cap: some 95% of prices lie below.
_REACH = 2.0

_MONTH_DAYS = 30.4375

_NOTHING = f"errors of homes like this are as large as the estimate: {UNUSABLE}"


@dataclass(slots=True, eq=False)
class Ends:
    """Estimates of n rows and what is said of their errors, each (n,), changed in place."""

    estimate: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    fsd: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What a predictor claims at most.

    Attributes:
        spec: the dataset.
        support: what was measured; None in a bundle that does not know.
        date: where the date of a row is; None in undated data.
        last_sale: day of the newest known sale.
    """

    spec: DatasetSpec
    support: Support | None
    date: int | None
    last_sale: float
    _capped: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Put into words once what is said of many rows."""
        cap = np.inf if self.support is None else self.support.cap
        object.__setattr__(self, "_capped", _capped(self.spec, cap))

    def hold(
        self,
        values: NDArray[np.float64],
        ends: Ends,
        found: NDArray[np.int64],
        strained: Strained | None,
        level: float,
    ) -> dict[int, tuple[str, ...]]:
        """Lower scores of rows of which less is known than their intervals say; returns the reasons by row.

        Args:
            values: (n, p) encoded inputs.
            ends: as the model and its calibration give them.
            found: the rows beyond these limits, as of `estimates_of`.
            strained: rows whose intervals were widened already, with their reasons.
            level: of the intervals.
        """
        _, last_day, cap, _ = self.bounds()
        useless = np.zeros(len(values), np.bool_)
        if strained is not None:
            strange = strained.rows[strained.unheard.any(axis=1)]
            ends.fsd[strange] = np.maximum(ends.fsd[strange], NOT_HIGH)
            useless[strained.rows[strained.unusable]] = True
            self._disown(ends, useless, level)
        told: dict[int, tuple[str, ...]] = {}
        if self.date is not None:
            days = values[found, self.date]
            aged = found[days > last_day]
            old = values[aged, self.date] - self.last_sale
            ends.fsd[aged] = np.maximum(ends.fsd[aged], np.where(old > _LONG_DAYS, NOT_MEDIUM, NOT_HIGH))
            hopeless = np.zeros(len(values), np.bool_)
            hopeless[aged[old > _LONGEST_DAYS]] = True
            self._disown(ends, hopeless, level)
            useless |= hopeless
            for row, day in zip(aged.tolist(), values[aged, self.date].tolist(), strict=True):
                told[row] = (self._age(day, hopeless=bool(hopeless[row])),)
        others = found[~useless[found]]
        nothing = ends.fsd[others] >= NOTHING
        reach = np.maximum(ends.upper[others], ends.estimate[others] * (1.0 + _REACH * ends.fsd[others]))
        capped = others[~nothing & (reach >= cap)]
        ends.fsd[capped] = np.maximum(ends.fsd[capped], NOT_HIGH)
        for rows, reason in ((others[nothing], _NOTHING), (capped, self._capped)):
            for row in rows.tolist():
                told[row] = (*told[row], reason) if row in told else (reason,)
        return told

    def bounds(self) -> tuple[int, float, float, float]:
        """What `estimates_of` asks for: the date's column, the last day that was checked, the cap and its reach."""
        if self.support is None or self.date is None:
            return -1, np.inf, np.inf if self.support is None else self.support.cap, _REACH
        return self.date, self.last_sale + self.support.horizon, self.support.cap, _REACH

    def floor(self) -> float:
        """What no price lies below: 0 unless known ones do."""
        if self.support is None:
            return 0.0 if self.spec.objective == "relative" else -np.inf
        return 0.0 if self.support.market[0] >= 0 else -np.inf

    def _disown(self, ends: Ends, rows: NDArray[np.bool_], level: float) -> None:
        """Of such homes no more is known than what homes cost."""
        if self.support is None or not rows.any():
            return
        low, high = self.support.typical_range(level)
        ends.lower[rows] = np.minimum(ends.lower[rows], low)
        ends.upper[rows] = np.maximum(ends.upper[rows], high)
        ends.fsd[rows] = np.maximum(ends.fsd[rows], NOTHING)

    def _age(self, day: float, *, hopeless: bool) -> str:
        assert self.support is not None  # noqa: S101  without it no day is the last
        checked, age = round(self.support.horizon / _MONTH_DAYS), round((day - self.last_sale) / _MONTH_DAYS)
        end = UNUSABLE if hopeless else "the market may have moved since"
        return (
            f"the newest known sale is of {date_of(self.last_sale)}, {_months(age)} before this date; estimates were "
            f"checked up to {_months(checked)} after the last sale: {end}"
        )


def _capped(spec: DatasetSpec, cap: float) -> str:
    unit = f" {spec.currency}" if spec.currency else ""
    price = f"{cap * spec.price_unit:,.0f}{unit}" if np.isfinite(cap) else ""
    return f"prices above {price} were recorded as that: the true price may be higher than the upper end"


def _months(count: int) -> str:
    return f"{count:,} month{'' if count == 1 else 's'}"
