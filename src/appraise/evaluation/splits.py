"""`evaluate_split`: from the arrays of one split to everything that is reported about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from appraise.evaluation._pairs import priced_pair
from appraise.evaluation.evaluation import CalibrationBin, Predictions, SplitResult
from appraise.evaluation.groups import Dates, Grouping, by_decile, by_label, by_month, by_quarter
from appraise.evaluation.intervals import coverage
from appraise.evaluation.metrics import measure
from appraise.evaluation.slices import slice_by
from appraise.evaluation.vertical_equity import quantile_codes

#: Level of the intervals that are kept row by row for plots.
PLOT_LEVEL = 0.90

_CALIBRATION_BINS = 20

#: Dates that span at most this many months are cut by month too.
_MAX_MONTHS = 36

#: Keys that slices make themselves and a category may not take.
_OWN_KEYS = frozenset({"estimate_decile", "price_decile", "region", "quarter", "month"})


def evaluate_split(
    actual: ArrayLike,
    estimate: ArrayLike,
    *,
    bounds: Mapping[float, tuple[ArrayLike, ArrayLike]] | None = None,
    region: Sequence[str] | None = None,
    date: Dates | None = None,
    latitude: ArrayLike | None = None,
    longitude: ArrayLike | None = None,
    categories: Mapping[str, Sequence[str | None]] | None = None,
    note: str = "",
    seed: int = 0,
    resamples: int = 500,
) -> SplitResult:
    """Metrics, coverage, slices and calibration of one split.

    Args:
        actual: sale prices, shape (n,), in the target's unit.
        estimate: estimates, likewise.
        bounds: lower and upper ends of the prediction intervals by nominal level, shape (n,) each.
        region: the region of each row.
        date: the date of each sale, datetime64, NaT where unknown.
        latitude: degrees north, NaN where missing.
        longitude: degrees east, NaN where missing.
        categories: the levels of each row by column name, for more slices.
        note: how the rows were held out, one sentence for people.
        seed: of the bootstrap.
        resamples: of the bootstrap; 0 leaves the intervals of the metrics out.

    Raises:
        DataError: no rows, values missing or infinite, or prices that are not positive.
        ValueError: arrays of different lengths.
    """
    prices, estimates = priced_pair(actual, estimate)
    ends = {
        level: (_column("lower", lower, prices.size), _column("upper", upper, prices.size))
        for level, (lower, upper) in sorted((bounds or {}).items())
    }
    groupings = _groupings(prices, estimates, region, date, categories or {})
    lower, upper = ends.get(PLOT_LEVEL, (None, None))
    return SplitResult(
        rows=int(prices.size),
        metrics=measure(prices, estimates, seed=seed, resamples=resamples),
        intervals={level: coverage(prices, low, high, level=level) for level, (low, high) in ends.items()},
        slices=tuple(slice_by(grouping, prices, estimates, ends) for grouping in groupings),
        calibration=calibration_bins(prices, estimates),
        predictions=Predictions(
            actual=prices,
            estimate=estimates,
            lower=lower,
            upper=upper,
            latitude=None if latitude is None else _column("latitude", latitude, prices.size),
            longitude=None if longitude is None else _column("longitude", longitude, prices.size),
            region=None if region is None else tuple(region),
            date=date,
        ),
        note=note,
    )


def calibration_bins(actual: NDArray[np.float64], estimate: NDArray[np.float64]) -> tuple[CalibrationBin, ...]:
    """Twenty bins of equal size by rising estimate; ties make fewer."""
    codes = quantile_codes(estimate, _CALIBRATION_BINS)
    bins = []
    for code in np.unique(codes):
        rows = codes == code
        prices = actual[rows]
        mean = float(prices.mean())
        reach = 1.96 * float(prices.std(ddof=1)) / math.sqrt(prices.size) if prices.size > 1 else math.nan
        bins.append(CalibrationBin(int(prices.size), float(estimate[rows].mean()), mean, mean - reach, mean + reach))
    return tuple(bins)


def _column(name: str, values: ArrayLike, rows: int) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (rows,):
        raise ValueError(f"{name} of shape {column.shape} for {rows} sales")
    return column


def _groupings(
    prices: NDArray[np.float64],
    estimates: NDArray[np.float64],
    region: Sequence[str] | None,
    date: Dates | None,
    categories: Mapping[str, Sequence[str | None]],
) -> list[Grouping]:
    groupings = [
        by_decile("estimate_decile", "Decile of the estimate", estimates),
        by_decile("price_decile", "Decile of the price", prices),
    ]
    if region is not None:
        groupings.append(by_label("region", "Region", region, most=None))
    if date is not None:
        groupings.append(by_quarter(date))
        known = date[~np.isnat(date)].astype("datetime64[M]")
        if known.size and (known.max() - known.min()).astype(int) < _MAX_MONTHS:
            groupings.append(by_month(date))
    groupings += [
        by_label(f"category_{name}" if name in _OWN_KEYS else name, name, levels) for name, levels in categories.items()
    ]
    return groupings
