"""Whether prediction intervals hold what they promise: observed coverage beside nominal, and the width it costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, bdtrik

from appraise.errors import DataError
from appraise.evaluation.metrics import Standing

#: A group of fewer rows is shown and not judged: chance alone moves its coverage too far.
MIN_JUDGED_ROWS = 200

#: Level of the band that says how far chance alone moves an observed coverage.
CHANCE_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Coverage:
    """Coverage of one set of intervals on some rows.

    Attributes:
        level: the nominal coverage, in (0, 1).
        rows: how many sales.
        observed: share of the sales whose price lies within its interval, ends included.
        mean_width: mean of upper - lower, in the target's unit; infinite where an interval is.
        chance_low, chance_high: the binomial band: if the true coverage were `level`, the observed one would fall
            between these in 95 of 100 samples of that many independent sales.
    """

    level: float
    rows: int
    observed: float
    mean_width: float
    chance_low: float
    chance_high: float

    @property
    def judged(self) -> bool:
        """Whether there are rows enough to judge."""
        return self.rows >= MIN_JUDGED_ROWS

    @property
    def within_chance(self) -> bool:
        """Whether the observed coverage is what chance allows at the nominal level."""
        return self.chance_low <= self.observed <= self.chance_high

    @property
    def standing(self) -> Standing:
        """Where the observed coverage stands against what chance allows."""
        return "within" if self.within_chance else "outside"


def coverage(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, level: float) -> Coverage:
    """Observed coverage and mean width.

    Args:
        actual: sale prices, shape (n,), n at least 1.
        lower: lower ends of the intervals, shape (n,), in the target's unit; they may be infinite.
        upper: upper ends, likewise.
        level: nominal coverage, in (0, 1).

    Raises:
        ValueError: the shapes differ, the level is outside (0, 1), or some interval ends below its start.
        DataError: there are no rows, or a price or an end is missing.
    """
    prices, low, high = (np.asarray(values, dtype=np.float64) for values in (actual, lower, upper))
    if prices.ndim != 1 or not prices.shape == low.shape == high.shape:
        raise ValueError(f"prices of shape {prices.shape} with intervals of shapes {low.shape} and {high.shape}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"a coverage level lies between 0 and 1, received {level}")
    if prices.size == 0:
        raise DataError("there are no rows to measure.", hint="Evaluate on a split that holds at least one sale.")
    if missing := int((np.isnan(prices) | np.isnan(low) | np.isnan(high)).sum()):
        raise DataError(
            f"{missing} of {prices.size} rows lack a price or an end of their interval.",
            hint="Measure coverage only on rows that have both.",
        )
    if crossed := int((low > high).sum()):
        raise ValueError(f"{crossed} of {prices.size} intervals end below their start")
    chance_low, chance_high = _chance_band(prices.size, level)
    return Coverage(
        level=level,
        rows=int(prices.size),
        observed=float(((low <= prices) & (prices <= high)).mean()),
        mean_width=float((high - low).mean()),
        chance_low=chance_low,
        chance_high=chance_high,
    )


@lru_cache(maxsize=4096)
def _chance_band(rows: int, level: float) -> tuple[float, float]:
    """Quantiles of the binomial share of `rows` sales at `level`: the smallest shares that reach each probability."""
    # scipy.stats.binom says the same and takes a second to import.
    probabilities = np.array([(1.0 - CHANCE_LEVEL) / 2.0, (1.0 + CHANCE_LEVEL) / 2.0])
    counts = np.ceil(bdtrik(probabilities, rows, level))
    below = np.maximum(counts - 1.0, 0.0)
    low, high = np.where(bdtr(below, rows, level) >= probabilities, below, counts) / rows
    return float(low), float(high)


def level_key(level: float) -> str:
    """A level as the JSON spells it: 0.9 is "0.90", 0.995 is "0.995"."""
    text = f"{level:.2f}"
    return text if abs(float(text) - level) < 1e-9 else repr(level)
