"""Vertical equity beyond PRD and PRB: are dear homes valued at the same share of their price as cheap ones?

MKI is the modified Kakwani index of the IAAO Standard on Ratio Studies. VEI and its significance come from the exposure
draft of that standard of May 2026, which has not been adopted yet: the formula and the limit may still change.

Arguments, results and errors are those of `ratio_study`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from appraise.evaluation._pairs import priced_pair
from appraise.evaluation.ratio_study import value_proxy

#: Fewer sales than this are too few for VEI, by the draft.
VEI_MIN_ROWS = 20

#: Normal quantile of the draft's 90% rank intervals.
_Z90 = 1.645


def mki(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Modified Kakwani index: G(A in order of S) / G(S), G(x) = 2 sum(i x_i) / (n sum x) - (n + 1) / n.

    Accepted from 0.95 to 1.05; below 1 is regressive. Sales of equal price are taken in the order of their estimates,
    so that the order of the rows never matters; where many prices are tied this lifts the index a little.
    NaN where all prices are equal or where the estimates do not sum to more than zero.
    """
    prices, estimates = priced_pair(actual, estimate)
    if prices.min() == prices.max() or estimates.sum() <= 0.0:
        return math.nan
    order = np.lexsort((estimates, prices))
    return _gini(estimates[order]) / _gini(prices[order])


def _gini(ordered: NDArray[np.float64]) -> float:
    """Gini coefficient of values taken in the given order, as the standard writes it."""
    rows = ordered.size
    ranks = np.arange(1, rows + 1, dtype=np.float64)
    return 2.0 * float(ranks @ ordered) / (rows * float(ordered.sum())) - (rows + 1) / rows


def vei(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Vertical equity indicator: 100 (median ratio of the top group - of the bottom group) / m, in percent.

    The homes are cut into 2, 4 or 10 groups of equal size (20-50, 51-500, over 500 sales) by the value proxy
    S / 2 + A / (2 m). Accepted from -10 to 10; negative is regressive. NaN below 20 sales, where the median ratio is
    not positive, or where ties leave the top or the bottom group empty.
    """
    groups = _value_groups(actual, estimate)
    if groups is None or groups.ratios[0].size == 0 or groups.ratios[-1].size == 0:
        return math.nan
    return 100.0 * (float(np.median(groups.ratios[-1])) - float(np.median(groups.ratios[0]))) / groups.level


def vei_significance(actual: ArrayLike, estimate: ArrayLike) -> float:
    """How far apart the groups of VEI are beyond chance, in percent; accepted up to 10.

    100 (lower end of the 90% rank interval of the group with the highest median - upper end of that of the group with
    the lowest) / m: negative where the two intervals overlap. NaN as in `vei`.
    """
    groups = _value_groups(actual, estimate)
    if groups is None:
        return math.nan
    filled = [np.sort(group) for group in groups.ratios if group.size]
    medians = [float(np.median(group)) for group in filled]
    lower, _ = median_interval(filled[int(np.argmax(medians))], z=_Z90)
    _, upper = median_interval(filled[int(np.argmin(medians))], z=_Z90)
    return 100.0 * (lower - upper) / groups.level


def median_interval(ordered: NDArray[np.float64], *, z: float) -> tuple[float, float]:
    """Interval of a median by ranks: from rank ceil(n/2 - z sqrt(n)/2) to rank floor(1 + n/2 + z sqrt(n)/2).

    Args:
        ordered: values in ascending order, shape (n,).
        z: normal quantile of the level: 1.645 for 90%, 1.96 for 95%.

    Returns:
        Both ends, NaN where there are too few values for the level.
    """
    half, reach = ordered.size / 2, z * math.sqrt(ordered.size) / 2
    low, high = math.ceil(half - reach), math.floor(1 + half + reach)
    if low < 1 or high > ordered.size:
        return math.nan, math.nan
    return float(ordered[low - 1]), float(ordered[high - 1])


@dataclass(frozen=True, slots=True)
class _ValueGroups:
    level: float
    ratios: tuple[NDArray[np.float64], ...]


def _value_groups(actual: ArrayLike, estimate: ArrayLike) -> _ValueGroups | None:
    """The ratios by group of rising value, or None where the draft does not define them."""
    prices, estimates = priced_pair(actual, estimate)
    ratio = estimates / prices
    level = float(np.median(ratio))
    if prices.size < VEI_MIN_ROWS or level <= 0.0:
        return None
    number = 2 if prices.size <= 50 else 4 if prices.size <= 500 else 10
    proxy = value_proxy(prices, estimates, level)
    codes = quantile_codes(proxy, number)
    return _ValueGroups(level, tuple(ratio[codes == code] for code in range(number)))


def quantile_codes(values: NDArray[np.float64], groups: int) -> NDArray[np.int64]:
    """The group of each value, 0 to groups - 1, between linear quantiles; a value on an edge goes to the group below.

    Equal values are never parted, so that ties make groups uneven and may leave some empty.
    """
    edges = np.quantile(values, np.arange(1, groups) / groups)
    return np.searchsorted(edges, values, side="left")
