"""Many rows read from JSON and checked column by column: a fraction of the time of row by row.

`RowChecker` says what is wrong with a row. Here a decoder that is compiled from the spec takes the rows that are as
most are; whatever it does not take, for good or ill, is left to a closer look.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import compress
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from appraise.datasets.spec import OPERATORS, Column, DatasetSpec
from appraise.features.vocabulary import Values
from appraise.serving.rowcodec import TEXTS, Row, may_be_missing, row_type
from appraise.serving.rows import is_date


class ColumnReader:
    """Reads rows by a spec: none that `RowChecker` would refuse, and most that it would not.

    Args:
        spec: the dataset.
    """

    def __init__(self, spec: DatasetSpec) -> None:
        self._columns = spec.inputs
        names = {column.name for column in spec.inputs}
        numbers = {column.name for column in spec.inputs if column.kind in ("number", "integer")}
        # The price is not read; rules that are not about numbers alone are left to the checker of rows.
        self._rules = tuple(rule for rule in spec.rules if {rule.left, rule.right} & names)
        self._simple = all(
            rule.left in numbers and (rule.right in numbers or not isinstance(rule.right, str)) for rule in self._rules
        )
        # Two around each name, two around each text.
        self._quotes = sum(4 if column.kind in TEXTS else 2 for column in self._columns)
        row = row_type(spec)
        self._row = msgspec.json.Decoder(row)
        self._rows = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]

    def read(self, rows: Sequence[msgspec.Raw]) -> tuple[list[int], dict[str, Values]]:
        """Read rows, and see that nothing is wrong with them.

        Args:
            rows: JSON values without escapes, each of them whole: they were read as such.

        Returns:
            The positions of the rows that were accepted, in their order, and these rows as columns, as
            `Vocabulary.encode` takes them.
        """
        if not self._simple or not rows:
            return [], {}
        text = b",".join(rows)
        try:
            found = self._rows.decode(b"[" + text + b"]")
            places = list(range(len(rows)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            places, found = self._one_by_one(rows)
            if not found:
                return [], {}
            text = b",".join([rows[place] for place in places])
        absent = np.zeros(len(found), np.int64)
        good = np.ones(len(found), np.bool_)
        values = zip(*map(msgspec.structs.astuple, found), strict=True)
        columns = {
            column.name: _checked(column, each, absent, good)
            for column, each in zip(self._columns, values, strict=True)
        }
        # A key that is there twice has more quotation marks than belong to what came out, and none can have fewer.
        if text.count(b'"') != len(found) * self._quotes - absent.sum():
            quotes = np.array([bytes(rows[place]).count(b'"') for place in places])
            good &= quotes == self._quotes - absent
        self._see_rules(columns, good)
        if good.all():
            return places, columns
        return list(compress(places, good)), {name: _chosen(values, good) for name, values in columns.items()}

    def _one_by_one(self, rows: Sequence[msgspec.Raw]) -> tuple[list[int], list[Row]]:
        """The rows that can be read, and their positions."""
        places, found = [], []
        for place, row in enumerate(rows):
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found.append(self._row.decode(row))
                places.append(place)
        return places, found

    def _see_rules(self, columns: dict[str, Values], good: NDArray[np.bool_]) -> None:
        for rule in self._rules:
            left = np.asarray(columns[rule.left])
            right = np.asarray(columns[rule.right] if isinstance(rule.right, str) else rule.right, np.float64)
            good &= OPERATORS[rule.operator](left, right) | np.isnan(left) | np.isnan(right)


def _checked(column: Column, values: Sequence[Any], absent: NDArray[np.int64], good: NDArray[np.bool_]) -> Values:
    """The values of a column; takes note of quotation marks that are not there, and of rows that need a closer look."""
    if may_be_missing(column):
        unset = np.array([value is UNSET for value in values])
        values = [None if value is UNSET else value for value in values]
        absent += 2 * unset
        if column.kind in TEXTS:
            absent += 2 * np.array([value is None for value in values])
    if column.kind == "date":
        known = {value: value is None or is_date(value) for value in set(values)}
        good &= np.array([known[value] for value in values])
    if column.kind not in ("number", "integer"):
        return values
    numbers = np.array(values, np.float64)
    if column.kind == "integer":
        good &= (numbers == np.floor(numbers)) | np.isnan(numbers)
    return numbers


def _chosen(values: Values, good: NDArray[np.bool_]) -> Values:
    return values[good] if isinstance(values, np.ndarray) else list(compress(values, good))
