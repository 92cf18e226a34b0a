"""`Table`: named numeric columns, the one representation between data and features, free of any frame library."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

EPOCH = dt.date(1970, 1, 1)


def days_since_epoch(date: dt.date) -> float:
    """Days from 1970-01-01 to `date`."""
    return float(date.toordinal() - EPOCH.toordinal())


def date_of(days: float) -> dt.date:
    """The inverse of `days_since_epoch`, to the day."""
    return EPOCH + dt.timedelta(days=int(days))


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of numbers under names.

    Numbers and integers stand as they are, booleans as 0 and 1, dates as days since 1970-01-01, categories as the
    codes of a fitted `Vocabulary` (-1 for a level that it has not seen). NaN is a missing value.

    Attributes:
        names: p column names.
        values: array of shape (n, p), float64, C-contiguous.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise ValueError(f"{len(self.names)} names for values of shape {self.values.shape}")

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def column(self, name: str) -> NDArray[np.float64]:
        """The column of that name, shape (n,); raises KeyError."""
        try:
            return self.values[:, self.names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def select(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The named columns in that order, shape (n, len(names)); NaN for names that the table does not have."""
        wanted = tuple(names)
        if wanted == self.names:
            return self.values
        if not self.names:
            return np.full((len(self), len(wanted)), np.nan)
        positions, absent = _positions(self.names, wanted)
        out = self.values.take(positions, axis=1)
        if absent is not None:
            out[:, absent] = np.nan
        return out

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Table:
        """The rows of that index."""
        return Table(self.names, np.ascontiguousarray(self.values[index]))

    @classmethod
    def stack(cls, tables: Iterable[Table]) -> Table:
        """Tables of equal names, one under the other."""
        parts = list(tables)
        names = parts[0].names
        if any(part.names != names for part in parts):
            raise ValueError("tables of different columns cannot be stacked")
        return cls(names, np.concatenate([part.values for part in parts]))


@lru_cache(maxsize=1024)
def _positions(names: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
    """Where each wanted column stands (anywhere for one that is not there), and which are not there, None for none."""
    place = {name: position for position, name in reversed(list(enumerate(names)))}
    positions = np.array([place.get(name, 0) for name in wanted], np.intp)
    absent = np.array([i for i, name in enumerate(wanted) if name not in place], np.intp)
    return positions, absent if len(absent) else None
