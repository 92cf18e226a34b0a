"""Named streams of random numbers from one seed.

Each quantity draws from a stream of its own, so that a shock, or a new column, leaves every other draw as it was.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from appraise.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one seed.

    Raises:
        SettingsError: the seed is negative.
    """

    seed: int

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise SettingsError(f"the seed is {self.seed}", hint="give a seed of 0 or more")

    def rng(self, name: str) -> np.random.Generator:
        """A generator that is the same for the same seed and name, on every machine and run."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, zlib.crc32(name.encode())])))
