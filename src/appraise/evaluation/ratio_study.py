"""The ratio study: level and uniformity of estimates against sale prices.

Formulas from the IAAO Standard on Ratio Studies (International Association of Assessing Officers), with A the estimate,
S the sale price, r = A / S and m = median(r). `actual` (S) and `estimate` (A) are array-likes of shape (n,); results
are floats, NaN where the figure is not defined for those rows. All raise DataError for no rows, for values that are
missing or infinite and for prices that are not positive; ValueError for shapes that do not match.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from appraise.evaluation._pairs import priced_pair, ratios


def median_ratio(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Level: m. The standard accepts 0.90 to 1.10."""
    return float(np.median(ratios(actual, estimate)))


def cod(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Coefficient of dispersion: 100 / m x mean |r - m|, in percent.

    The standard accepts 5 to 15 for homes; below 5 it suspects estimates that were made to follow the sales.
    NaN where the median ratio is not positive.
    """
    ratio = ratios(actual, estimate)
    level = float(np.median(ratio))
    return 100.0 / level * float(np.abs(ratio - level).mean()) if level > 0.0 else math.nan


def prd(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Price-related differential: mean(r) / (sum A / sum S).

    The standard accepts 0.98 to 1.03; above it dear homes are valued low for their price (regressive).
    NaN where the estimates do not sum to more than zero.
    """
    prices, estimates = priced_pair(actual, estimate)
    total = float(estimates.sum())
    return float((estimates / prices).mean()) * float(prices.sum()) / total if total > 0.0 else math.nan


def prb(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Coefficient of price-related bias: the slope of (r - m) / m on log2((A / m + S) / 2), by least squares.

    The regression has an intercept. The slope says by which fraction the ratio changes when the value doubles. The
    standard accepts -0.05 to 0.05 and refuses a value whose 95% interval lies outside +-0.10; below 0 is regressive.
    NaN where the median ratio or any value proxy is not positive, or where all value proxies are equal.
    """
    prices, estimates = priced_pair(actual, estimate)
    ratio = estimates / prices
    level = float(np.median(ratio))
    if level <= 0.0:
        return math.nan
    proxy = value_proxy(prices, estimates, level)
    if proxy.min() <= 0.0 or proxy.min() == proxy.max():
        return math.nan
    doublings = np.log2(proxy)
    doublings -= doublings.mean()
    return float(doublings @ (ratio / level - 1.0)) / float(doublings @ doublings)


def value_proxy(prices: NDArray[np.float64], estimates: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """The standard's stand-in for market value, S / 2 + A / (2 m), shape (n,): neither side's errors sort the homes."""
    return 0.5 * prices + 0.5 / level * estimates
