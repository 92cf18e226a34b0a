"""Which estimates are claimed less of than their intervals say: capped prices, old sales, unheard-of values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import date_of
from appraise.models.intervals import estimates_of
from appraise.models.support import Support
from appraise.serving.cautions import UNUSABLE, Strained
from appraise.serving.estimates import HIGH_FSD, MEDIUM_FSD, NO_FSD

#: Least forecast standard deviations of what is no `high` and no `medium`: just beyond the grades' bounds.
_NOT_HIGH, _NOT_MEDIUM = round(HIGH_FSD + 1e-4, 4), round(MEDIUM_FSD + 1e-4, 4)

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
        last_day: up to which day estimates were checked; infinite where no day is the last.
        cap: the price that greater ones were recorded as; infinite where they were not.
        floor: what no price lies below: 0 unless known ones do.
    """

    spec: DatasetSpec
    support: Support | None
    date: int | None
    last_sale: float
    last_day: float = field(init=False)
    cap: float = field(init=False)
    floor: float = field(init=False)
    _capped: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Find once what every row is held against, and put into words what is said of many."""
        support = self.support
        last_day, cap, positive = np.inf, np.inf, self.spec.objective == "relative"
        if support is not None:
            cap, positive = support.cap, bool(support.market[0] >= 0)
            last_day = np.inf if self.date is None else self.last_sale + support.horizon
        object.__setattr__(self, "last_day", last_day)
        object.__setattr__(self, "cap", cap)
        object.__setattr__(self, "floor", 0.0 if positive else -np.inf)
        object.__setattr__(self, "_capped", _capped(self.spec, cap))

    def ends(
        self,
        centre: NDArray[np.float64],
        half: NDArray[np.float64],
        half_fsd: NDArray[np.float64],
        values: NDArray[np.float64],
        *,
        logarithmic: bool,
    ) -> tuple[Ends, NDArray[np.int64]]:
        """Estimates of n rows in the target's unit, and the rows of which less may be claimed.

        Args:
            centre, half, half_fsd: (n,) estimates and half widths on the model's scale.
            values: (n, p) encoded inputs.
            logarithmic: whether the scale is that of logarithms.
        """
        date = -1 if self.date is None else self.date
        ends, found = estimates_of(
            centre, half, half_fsd, logarithmic, self.floor, values, date, self.last_day, self.cap, _REACH
        )
        return Ends(*ends), found

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
            found: the rows beyond these limits, as of `ends`.
            strained: rows whose intervals were widened already, with their reasons.
            level: of the intervals.
        """
        useless = np.zeros(len(values), np.bool_)
        if strained is not None:
            strange = strained.rows[strained.unheard.any(axis=1)]
            ends.fsd[strange] = np.maximum(ends.fsd[strange], _NOT_HIGH)
            useless[strained.rows[strained.unusable]] = True
            self._disown(ends, useless, level)
        told: dict[int, tuple[str, ...]] = {}
        if self.date is not None:
            days = values[found, self.date]
            aged = found[days > self.last_day]
            old = values[aged, self.date] - self.last_sale
            ends.fsd[aged] = np.maximum(ends.fsd[aged], np.where(old > _LONG_DAYS, _NOT_MEDIUM, _NOT_HIGH))
            hopeless = np.zeros(len(values), np.bool_)
            hopeless[aged[old > _LONGEST_DAYS]] = True
            self._disown(ends, hopeless, level)
            useless |= hopeless
            for row, day in zip(aged.tolist(), values[aged, self.date].tolist(), strict=True):
                told[row] = (self._age(day, hopeless=bool(hopeless[row])),)
        others = found[~useless[found]]
        nothing = ends.fsd[others] >= NO_FSD
        reach = np.maximum(ends.upper[others], ends.estimate[others] * (1.0 + _REACH * ends.fsd[others]))
        capped = others[~nothing & (reach >= self.cap)]
        ends.fsd[capped] = np.maximum(ends.fsd[capped], _NOT_HIGH)
        for rows, reason in ((others[nothing], _NOTHING), (capped, self._capped)):
            for row in rows.tolist():
                told[row] = (*told[row], reason) if row in told else (reason,)
        return told

    def _disown(self, ends: Ends, rows: NDArray[np.bool_], level: float) -> None:
        """Of such homes no more is known than what homes cost."""
        if self.support is None or not rows.any():
            return
        low, high = self.support.typical_range(level)
        ends.lower[rows] = np.minimum(ends.lower[rows], low)
        ends.upper[rows] = np.maximum(ends.upper[rows], high)
        ends.fsd[rows] = np.maximum(ends.fsd[rows], NO_FSD)

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
