"""Many rows read from JSON and checked column by column: a fraction of the time of row by row.

`RowChecker` says what is wrong with a row. Here a decoder that is compiled from the spec takes the rows that are as
most are; whatever it does not take, for good or ill, is left to a closer look.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from appraise.datasets.spec import Column, DatasetSpec
from appraise.features.vocabulary import Values
from appraise.serving.rowcodec import TEXTS, may_be_missing, row_type
from appraise.serving.rows import OPERATORS, is_date


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
        self._decoder = msgspec.json.Decoder(row_type(spec))

    def read(self, rows: Sequence[msgspec.Raw], quotes: Sequence[int]) -> tuple[list[int], dict[str, Values]]:
        """Read rows, and see that nothing is wrong with them.

        Args:
            rows: JSON objects without escapes.
            quotes: how many quotation marks each has: a key that is there twice has more than belong to what came out.

        Returns:
            The positions of the rows that were accepted, in their order, and these rows as columns, as
            `Vocabulary.encode` takes them.
        """
        decode, values_of = self._decoder.decode, msgspec.structs.astuple
        places: list[int] = []
        found: list[tuple[Any, ...]] = []
        for place, row in enumerate(rows if self._simple else ()):
            try:
                found.append(values_of(decode(row)))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            places.append(place)
        if not found:
            return [], {}
        left = np.array(quotes)[places] - self._quotes
        good = np.ones(len(found), np.bool_)
        columns = {
            column.name: _checked(column, values, left, good)
            for column, values in zip(self._columns, zip(*found, strict=True), strict=True)
        }
        good &= left == 0
        self._see_rules(columns, good)
        if good.all():
            return places, columns
        return list(compress(places, good)), {name: _chosen(values, good) for name, values in columns.items()}

    def _see_rules(self, columns: dict[str, Values], good: NDArray[np.bool_]) -> None:
        for rule in self._rules:
            left = np.asarray(columns[rule.left])
            right = np.asarray(columns[rule.right] if isinstance(rule.right, str) else rule.right, np.float64)
            good &= OPERATORS[rule.operator](left, right) | np.isnan(left) | np.isnan(right)


def _checked(column: Column, values: Sequence[Any], left: NDArray[np.int64], good: NDArray[np.bool_]) -> Values:
    """The values of a column; takes note of quotation marks that are not there, and of rows that need a closer look."""
    if may_be_missing(column):
        unset = np.array([value is UNSET for value in values])
        values = [None if value is UNSET else value for value in values]
        left += 2 * unset
        if column.kind in TEXTS:
            left += 2 * np.array([value is None for value in values])
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
