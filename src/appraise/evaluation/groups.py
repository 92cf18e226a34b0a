"""Ways to cut rows into groups: by quantile, by the level of a category, by calendar quarter or month."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from appraise.evaluation.vertical_equity import quantile_codes

#: Levels of a category that are shown one by one; the smaller ones are pooled.
MAX_LEVELS = 30

MISSING = "(missing)"

Dates = NDArray[np.datetime64]


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Rows cut into groups.

    Attributes:
        key: a stable name ("estimate_decile", "region", "quarter", or the name of a category column).
        title: the same for people.
        labels: a name for each of the k groups, in the order to show them.
        codes: the group of each row, shape (n,), int64, 0 to k - 1.
        ordered: whether the groups have an order of their own (deciles, quarters) rather than one by size.
    """

    key: str
    title: str
    labels: tuple[str, ...]
    codes: NDArray[np.int64]
    ordered: bool


def by_decile(key: str, title: str, values: ArrayLike) -> Grouping:
    """Ten groups of equal size by rising value, labelled "1" (lowest) to "10"; equal values are never parted."""
    return Grouping(key, title, tuple(map(str, range(1, 11))), quantile_codes(np.asarray(values, np.float64), 10), True)


def by_label(key: str, title: str, labels: Sequence[str | None], *, most: int | None = MAX_LEVELS) -> Grouping:
    """A group for each level, largest first; None is a level of its own.

    Args:
        key: the grouping's stable name.
        title: its name for people.
        labels: the level of each row.
        most: how many groups there may be; the levels beyond are pooled into one. None sets no limit.
    """
    names = np.array([MISSING if label is None else label for label in labels], dtype=np.str_)
    levels, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    rank = np.lexsort((np.arange(levels.size), -counts))
    position = np.empty(levels.size, dtype=np.int64)
    position[rank] = np.arange(levels.size)
    codes = position[inverse]
    shown = [str(levels[index]) for index in rank]
    if most is not None and len(shown) > most:
        pooled = len(shown) - (most - 1)
        codes = np.minimum(codes, most - 1)
        shown = [*shown[: most - 1], f"({pooled:,} smaller levels)"]
    return Grouping(key, title, tuple(shown), codes, False)


def by_quarter(dates: Dates) -> Grouping:
    """A group for each calendar quarter of `dates` (datetime64, NaT allowed), labelled "2017 Q3"."""
    months = dates.astype("datetime64[M]")
    quarters = (months.astype(np.int64) // 3 * 3).astype("datetime64[M]")
    return _by_period("quarter", "Quarter of sale", np.where(np.isnat(months), months, quarters), _quarter_label)


def by_month(dates: Dates) -> Grouping:
    """A group for each calendar month of `dates` (datetime64, NaT allowed), labelled "2017-07"."""
    return _by_period("month", "Month of sale", dates.astype("datetime64[M]"), str)


def _quarter_label(month: np.datetime64) -> str:
    year, number = str(month).split("-")
    return f"{year} Q{(int(number) + 2) // 3}"


def _by_period(key: str, title: str, starts: Dates, label: Callable[[np.datetime64], str]) -> Grouping:
    periods, codes = np.unique(starts, return_inverse=True)
    labels = tuple(MISSING if np.isnat(period) else label(period) for period in periods)
    return Grouping(key, title, labels, codes.astype(np.int64), True)
