"""What an evaluated model was made from, and what it must not be used for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

#: A share of prices equal to the greatest that says that the target is cut off there.
_CAPPED = 0.005


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the manifest of the model says.

    Attributes:
        trained_at: when it was made (ISO 8601).
        rows: training, validation and holdout rows.
        split: how they were told apart, one sentence.
        digest: SHA-256 of the bundle's manifest, which names this model and no other.
        data_hash, spec_hash: hashes of the data and of the meaning of the spec, or None.
        git_commit: of the folder in which it was trained, or None.
        libraries: versions of what made it.
        ranges: least and greatest value of each number that was seen in training, by column.
    """

    trained_at: str
    rows: Mapping[str, int]
    split: str
    digest: str
    data_hash: str | None
    spec_hash: str
    git_commit: str | None
    libraries: Mapping[str, str]
    ranges: Mapping[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON; a range is `[low, high]`."""
        return asdict(self) | {"ranges": {name: list(ends) for name, ends in self.ranges.items()}}


def capped_share(prices: ArrayLike) -> float:
    """Share of the prices that equal the greatest, where so many do that the target is cut off there; else 0."""
    values = np.asarray(prices, dtype=np.float64)
    share = float((values == values.max()).mean())
    return share if share >= _CAPPED and int((values == values.max()).sum()) > 1 else 0.0


def moment(text: str) -> str:
    """A time for people, "21 November 2026, 18:57 UTC"; text that is no time stays as it is."""
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        return text
    if when.tzinfo is not None:
        when = when.astimezone(dt.UTC)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"
