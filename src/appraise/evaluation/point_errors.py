"""How far estimates lie from prices.

Every function takes `actual` (sale prices) and `estimate`, array-likes of shape (n,) in the target's unit, and returns
a float, NaN where the figure is not defined for those rows. Relative errors are (estimate - actual) / actual and come
as fractions: 0.092 is 9.2%. All raise DataError for no rows, for values that are missing or infinite and, where the
price divides, for prices that are not positive; ValueError for shapes that do not match.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from appraise.evaluation._pairs import pair, relative_errors


def rmse(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Root mean squared error, in the target's unit."""
    prices, estimates = pair(actual, estimate)
    errors = estimates - prices
    return math.sqrt(float(errors @ errors) / errors.size)


def mae(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Mean absolute error, in the target's unit."""
    prices, estimates = pair(actual, estimate)
    return float(np.abs(estimates - prices).mean())


def r2(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Coefficient of determination: 1 - squared error / squared deviation of the prices from their mean.

    NaN where all prices are equal, one row included: there is nothing to explain.
    """
    prices, estimates = pair(actual, estimate)
    if prices.min() == prices.max():
        return math.nan
    errors = estimates - prices
    deviations = prices - prices.mean()
    return 1.0 - float(errors @ errors) / float(deviations @ deviations)


def mape(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Mean absolute relative error, as a fraction."""
    return float(np.abs(relative_errors(actual, estimate)).mean())


def mdape(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Median absolute relative error, as a fraction: half of the estimates are closer than this."""
    return float(np.median(np.abs(relative_errors(actual, estimate))))


def _share_within(actual: ArrayLike, estimate: ArrayLike, tolerance: float) -> float:
    return float((np.abs(relative_errors(actual, estimate)) <= tolerance).mean())


def ppe10(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Percentage predicted error within 10%: the share of estimates at most 10% from the price, as a fraction."""
    return _share_within(actual, estimate, 0.10)


def ppe20(actual: ArrayLike, estimate: ArrayLike) -> float:
    """As `ppe10`, at most 20% from the price."""
    return _share_within(actual, estimate, 0.20)


def bias(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Mean relative error, as a fraction: above 0 the estimates are too high."""
    return float(relative_errors(actual, estimate).mean())


def fsd(actual: ArrayLike, estimate: ArrayLike) -> float:
    """Forecast standard deviation: the standard deviation (n - 1) of the relative errors, as a fraction.

    The vendors of automated valuation models read it so: about 68.3% of the sales fall within estimate x (1 +- FSD),
    and 1 - FSD is the confidence score. `share_within_fsd` says whether that holds. NaN for one row.
    """
    errors = relative_errors(actual, estimate)
    return float(errors.std(ddof=1)) if errors.size > 1 else math.nan


def share_within_fsd(actual: ArrayLike, estimate: ArrayLike, forecast_deviation: ArrayLike) -> float:
    """Share of the sales within estimate x (1 +- FSD); about 0.683 where the FSD is calibrated.

    Args:
        actual: sale prices, shape (n,).
        estimate: estimates, shape (n,).
        forecast_deviation: the FSD, one for all or one for each row.
    """
    prices, estimates = pair(actual, estimate)
    return float((np.abs(prices - estimates) <= np.abs(estimates) * np.asarray(forecast_deviation)).mean())


def hit_rate(valued: int, asked: int) -> float:
    """Homes valued over homes asked for; NaN where none was asked for."""
    if not 0 <= valued <= asked:
        raise ValueError(f"{valued} homes valued of {asked} asked for")
    return valued / asked if asked else math.nan
