"""Percentile bootstrap over rows, with the work bounded on large data.

Up to `MAX_DRAWS` rows this is the textbook percentile bootstrap (Efron and Tibshirani 1993, chapter 13): n rows drawn
with replacement from n. Above, each resample holds only `MAX_DRAWS` rows of the n, and the deviations from the estimate
are shrunk by sqrt(MAX_DRAWS / n): the m out of n bootstrap (Bickel, Gotze and van Zwet 1997), right for figures whose
error falls with the square root of the rows, as that of all of ours does. A million rows cost what 10,000 do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Rows in one resample, at most.
MAX_DRAWS = 10_000

#: Share of the resamples on which a figure must be defined for its interval to be given.
_MIN_DEFINED = 0.9

Statistics = Callable[[NDArray[np.int64]], list[float]]


def percentile_intervals(
    statistics: Statistics, values: list[float], *, rows: int, seed: int, resamples: int, level: float
) -> list[tuple[float, float]]:
    """Intervals of several figures from the same resamples.

    Args:
        statistics: takes row positions in ascending order, shape (draws,), and gives the k figures on those rows;
            NaN where undefined.
        values: the k figures on all rows.
        rows: how many rows there are.
        seed: of `numpy.random.default_rng`; equal seeds and rows give equal resamples, whatever is measured, so that
            two models measured on the same rows are compared on the same resamples.
        resamples: how many to draw.
        level: share of the resamples between both ends, in (0, 1).

    Returns:
        (low, high) for each figure; NaN where it is undefined, where fewer than two rows can vary, or where it is
        undefined on more than a tenth of the resamples.
    """
    if resamples < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"a bootstrap needs resamples and a level in (0, 1), received {resamples} and {level}")
    if rows < 2:
        return [(math.nan, math.nan)] * len(values)
    draws = min(rows, MAX_DRAWS)
    shrink = math.sqrt(draws / rows)
    generator = np.random.default_rng(seed)
    replicates = np.array([statistics(np.sort(generator.integers(0, rows, draws))) for _ in range(resamples)])
    tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    return [_interval(value, replicates[:, column], shrink, tails) for column, value in enumerate(values)]


def _interval(
    value: float, replicates: NDArray[np.float64], shrink: float, tails: tuple[float, float]
) -> tuple[float, float]:
    defined = replicates[np.isfinite(replicates)]
    if not math.isfinite(value) or defined.size < _MIN_DEFINED * replicates.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, tails)
    if shrink == 1.0:
        return float(low), float(high)
    return value + shrink * (float(low) - value), value + shrink * (float(high) - value)
