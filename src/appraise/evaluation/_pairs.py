"""The one gate through which actual prices and estimates enter a metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from appraise.errors import DataError

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def pair(actual: ArrayLike, estimate: ArrayLike) -> Pair:
    """Both as float64 arrays of shape (n,), n at least 1 and every value finite.

    Raises:
        ValueError: the shapes differ or are not one-dimensional.
        DataError: there are no rows, or some values are not finite.
    """
    prices = np.asarray(actual, dtype=np.float64)
    estimates = np.asarray(estimate, dtype=np.float64)
    if prices.ndim != 1 or prices.shape != estimates.shape:
        raise ValueError(f"actual of shape {prices.shape} and estimate of shape {estimates.shape} are not paired rows")
    if prices.size == 0:
        raise DataError("there are no rows to measure.", hint="Evaluate on a split that holds at least one sale.")
    for name, values in (("actual prices", prices), ("estimates", estimates)):
        finite = np.isfinite(values)
        if not finite.all():
            missing = int(values.size - finite.sum())
            raise DataError(
                f"{missing} of {values.size} {name} are missing or infinite.",
                hint="Measure only rows that have both a sale price and an estimate.",
            )
    return prices, estimates


def priced_pair(actual: ArrayLike, estimate: ArrayLike) -> Pair:
    """As `pair`, and every actual price is positive, as whatever divides by the price needs it.

    Raises:
        ValueError, DataError: as `pair`; DataError also where a price is zero or negative.
    """
    prices, estimates = pair(actual, estimate)
    if prices.min() <= 0.0:
        refused = int((prices <= 0.0).sum())
        raise DataError(
            f"{refused} of {prices.size} sale prices are zero or negative, and a ratio study divides by the price.",
            hint="Drop sales without a real price, or ask only for rmse, mae and r2.",
        )
    return prices, estimates


def ratios(actual: ArrayLike, estimate: ArrayLike) -> NDArray[np.float64]:
    """Estimate over price, shape (n,)."""
    prices, estimates = priced_pair(actual, estimate)
    return estimates / prices


def relative_errors(actual: ArrayLike, estimate: ArrayLike) -> NDArray[np.float64]:
    """(estimate - price) / price, shape (n,)."""
    prices, estimates = priced_pair(actual, estimate)
    return (estimates - prices) / prices
