"""Numbers of the levels of several categories side by side, looked up for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LevelValues:
    """A number for each level of c categories.

    Attributes:
        values: those of the first category, of the second and so on, then the one of an unseen level, then NaN.
        first: (c,) where each category's numbers begin.
        count: (c,) how many levels each category has.
    """

    values: NDArray[np.float64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, levels: Sequence[NDArray[np.float64]], *, unseen: float) -> Self:
        """Of each category's numbers by code, and the number of a level without one."""
        count = np.array([len(values) for values in levels], dtype=np.int64)
        return cls(np.concatenate((*levels, (unseen, np.nan))), np.cumsum(count) - count, count)

    def of_codes(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The number of each code, shape (n, c) like the codes; NaN for NaN."""
        missing = np.isnan(codes)
        code = np.where(missing, -1.0, codes).astype(np.int64)
        known = (code >= 0) & (code < self.count)
        position = np.where(known, self.first + code, len(self.values) - 2)
        position[missing] = len(self.values) - 1
        return self.values[position]
