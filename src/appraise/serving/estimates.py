"""`Estimates`: what valuing rows gives, for every way in which rows come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: What a confidence score comes to for a person who decides, with the least score of each but the last.
Grade = Literal["high", "medium", "low", "none"]
_GRADES: tuple[tuple[float, Grade], ...] = ((0.85, "high"), (0.70, "medium"))

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
    def grades(self) -> list[Grade]:
        """The grade of each row."""
        return [grade_of(score) for score in self.confidence.tolist()]

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
    """The grade of a confidence score.

    `high` from 0.85 and `medium` from 0.70 on, the bounds that a vendor of valuations publishes for scores of 1 - FSD
    (HouseCanary, "When generating an automated valuation for a property, how are Confidence Scores and forecast
    standard deviation values related?"); `low` below; `none` where the score is 0: no estimate is claimed.
    """
    for least, grade in _GRADES:
        if confidence >= least:
            return grade
    return "low" if confidence > 0.0 else "none"


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
