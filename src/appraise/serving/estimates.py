"""`Estimates`: what valuing rows gives, for every way in which rows come."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: What a confidence score comes to for a person who decides.
Grade = Literal["none", "low", "medium", "high"]
GRADES: tuple[Grade, ...] = ("none", "low", "medium", "high")

#: The largest forecast standard deviations of `high` and `medium`. They are the bounds that a vendor of valuations
#: publishes for scores of 1 - FSD (HouseCanary, "When generating an automated valuation for a property, how are
#: Confidence Scores and forecast standard deviation values related?"). From the last on nothing is claimed.
HIGH_FSD, MEDIUM_FSD, NO_FSD = 0.15, 0.30, 1.0

#: The least scores of all grades but the first.
_LEAST_SCORES = (math.ulp(1.0 - NO_FSD), 1.0 - MEDIUM_FSD, 1.0 - HIGH_FSD)

#: Nominal level of the intervals of a request that asks for none.
DEFAULT_LEVEL = 0.90


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimates of n rows, in the target's unit.

    Attributes:
        estimate: (n,) prices.
        lower, upper: (n,) ends of the prediction intervals.
        level: nominal level of the intervals.
        fsd: (n,) forecast standard deviation as a share of the estimate: about 68% of sales lie within
            estimate x (1 +- FSD).
        warnings: for each row what a reader should know of it, such as a value outside anything seen in training.
    """

    estimate: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    level: float
    fsd: NDArray[np.float64]
    warnings: tuple[tuple[str, ...], ...]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The confidence score of vendors of valuation models, (n,): 1 - FSD, not below zero."""
        return np.maximum(1.0 - self.fsd, 0.0)

    @property
    def grade_codes(self) -> NDArray[np.int64]:
        """Positions in `GRADES` of what the scores come to, (n,)."""
        return np.searchsorted(_LEAST_SCORES, self.confidence, side="right")

    @property
    def grades(self) -> tuple[Grade, ...]:
        """What the scores come to, of each row."""
        return tuple(GRADES[code] for code in self.grade_codes.tolist())

    def __len__(self) -> int:
        return len(self.estimate)

    def take(self, rows: NDArray[np.int64]) -> Estimates:
        """The estimates of these rows, in this order."""
        return Estimates(
            estimate=self.estimate[rows],
            lower=self.lower[rows],
            upper=self.upper[rows],
            level=self.level,
            fsd=self.fsd[rows],
            warnings=tuple(map(self.warnings.__getitem__, rows.tolist())),
        )


def grade_of(confidence: float) -> Grade:
    """What one confidence score comes to."""
    return GRADES[bisect_right(_LEAST_SCORES, confidence)]


def joined(parts: Sequence[Estimates]) -> Estimates:
    """Estimates of equal level, one part after another."""
    return Estimates(
        estimate=np.concatenate([part.estimate for part in parts]),
        lower=np.concatenate([part.lower for part in parts]),
        upper=np.concatenate([part.upper for part in parts]),
        level=parts[0].level,
        fsd=np.concatenate([part.fsd for part in parts]),
        warnings=tuple(chain.from_iterable(part.warnings for part in parts)),
    )
