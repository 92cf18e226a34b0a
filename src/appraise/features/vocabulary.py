"""From named columns of values, as people and files write them, to a `Table` of numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.cities import normalise_city
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import Table, days_since_epoch
from appraise.features.state import State

#: The code of a level that was not there in training.
UNSEEN = -1.0

Values = Sequence[Any] | NDArray[Any]


class Vocabulary:
    """The input columns of a dataset and the levels of its categories, in order of first appearance.

    Attributes:
        names_: input columns, in the spec's order.
        kinds_: the kind of each.
        levels_: the levels of each category column; a level's position is its code.
        cities_: category columns whose names are normalised.
    """

    names_: tuple[str, ...]
    kinds_: tuple[str, ...]
    levels_: dict[str, tuple[str, ...]]
    cities_: tuple[str, ...]

    def fit(self, spec: DatasetSpec, columns: Mapping[str, Values]) -> Self:
        """Learn the levels from training rows."""
        self.names_ = tuple(column.name for column in spec.inputs)
        self.kinds_ = tuple(column.kind for column in spec.inputs)
        self.levels_ = {
            name: tuple(dict.fromkeys(value for value in columns[name] if value is not None))
            for name, kind in zip(self.names_, self.kinds_, strict=True)
            if kind in ("category", "identifier", "text")
        }
        self.cities_ = spec.cleaning.city_columns
        self._index()
        return self

    def _index(self) -> None:
        self._codes = {
            name: {level: float(code) for code, level in enumerate(levels)} for name, levels in self.levels_.items()
        }
        self._cities = frozenset(self.cities_)
        # Numbers need no translation: their positions are filled in one pass.
        self._numeric = tuple(
            (position, name)
            for position, (name, kind) in enumerate(zip(self.names_, self.kinds_, strict=True))
            if kind in ("number", "integer", "boolean")
        )
        self._other = tuple(
            (position, name, kind)
            for position, (name, kind) in enumerate(zip(self.names_, self.kinds_, strict=True))
            if kind not in ("number", "integer", "boolean")
        )

    def encode_rows(self, rows: Sequence[Mapping[str, Any]]) -> Table:
        """Rows of checked values to a table; absent keys and None are missing values."""
        values = np.full((len(rows), len(self.names_)), np.nan)
        for row, source in zip(values, rows, strict=True):
            for position, name in self._numeric:
                value = source.get(name)
                if value is not None:
                    row[position] = value
            for position, name, kind in self._other:
                value = source.get(name)
                if value is not None:
                    row[position] = _day(value) if kind == "date" else self._code(name, value)
        return Table(self.names_, values)

    def encode(self, columns: Mapping[str, Values]) -> Table:
        """Columns of checked values, of equal length, to a table; absent columns are missing values."""
        size = len(next(iter(columns.values()))) if columns else 0
        values = np.full((size, len(self.names_)), np.nan)
        for position, name in self._numeric:
            if name in columns:
                values[:, position] = np.asarray(columns[name], dtype=np.float64)
        for position, name, kind in self._other:
            if name not in columns:
                continue
            column = columns[name]
            if kind == "date":
                values[:, position] = _days(column)
            else:
                values[:, position] = [np.nan if value is None else self._code(name, value) for value in column]
        return Table(self.names_, values)

    def _code(self, name: str, value: str) -> float:
        """The code of a level. A city may be written in any of the ways that cleaning takes for one."""
        codes = self._codes[name]
        code = codes.get(value)
        if code is None and name in self._cities:
            code = codes.get(normalise_city(value))
        return UNSEEN if code is None else code

    def level(self, name: str, code: float) -> str | None:
        """The level of that code; None for a missing or unseen one."""
        if np.isnan(code) or code < 0:
            return None
        return self.levels_[name][int(code)]

    def nothing(self) -> NDArray[np.float64]:
        """What stands for an unknown value of each column, shape (p,): a level never seen, or a missing number."""
        return np.array([UNSEEN if name in self.levels_ else np.nan for name in self.names_])

    def state(self) -> State:
        """Names, kinds and levels."""
        return State(
            data={
                "names": list(self.names_),
                "kinds": list(self.kinds_),
                "levels": {name: list(levels) for name, levels in self.levels_.items()},
                "cities": list(self.cities_),
            }
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        vocabulary = cls()
        vocabulary.names_ = tuple(state.data["names"])
        vocabulary.kinds_ = tuple(state.data["kinds"])
        vocabulary.levels_ = {name: tuple(levels) for name, levels in state.data["levels"].items()}
        vocabulary.cities_ = tuple(state.data["cities"])
        vocabulary._index()
        return vocabulary


def _day(value: dt.date | str | float) -> float:
    if isinstance(value, dt.date):
        return days_since_epoch(value)
    if isinstance(value, str):
        return days_since_epoch(dt.date.fromisoformat(value[:10]))
    return float(value)


def _days(column: Values) -> NDArray[np.float64]:
    array = np.asarray(column)
    if np.issubdtype(array.dtype, np.datetime64):
        days = array.astype("datetime64[D]")
        return np.where(np.isnat(days), np.nan, days.astype(np.int64).astype(np.float64))
    return np.array([np.nan if value is None else _day(value) for value in column])
