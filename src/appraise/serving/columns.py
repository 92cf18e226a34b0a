"""Many rows checked together, column by column: a tenth of the time of row by row, where nothing is wrong with them.

`RowChecker` says what is wrong with a row. Here it is only found out that nothing is; whatever cannot be accepted at a
glance is left to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from appraise.datasets.spec import Column, DatasetSpec
from appraise.features.vocabulary import Values
from appraise.serving.rows import OPERATORS, is_date

_NUMBERS = frozenset((float, int))
_NONE = type(None)


class ColumnChecker:
    """Accepts rows by a spec: no row that `RowChecker` would refuse, and most that it would not.

    Args:
        spec: the dataset.
    """

    def __init__(self, spec: DatasetSpec) -> None:
        self._columns = spec.inputs
        self._names = frozenset(column.name for column in spec.inputs)
        numbers = {column.name for column in spec.inputs if column.kind in ("number", "integer")}
        # The price is not read; rules that are not about numbers alone are left to the checker of rows.
        self._rules = tuple(rule for rule in spec.rules if {rule.left, rule.right} & self._names)
        self._simple = all(rule.left in numbers and _is_number(rule.right, numbers) for rule in self._rules)

    def accepted(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Values] | None:
        """The rows as columns, as `Vocabulary.encode` takes them; None where any of them needs a closer look."""
        if not self._simple:
            return None
        width = len(self._columns)
        for row in rows:
            if type(row) is not dict or (len(row) != width and not row.keys() <= self._names):
                return None
        columns: dict[str, Values] = {}
        try:
            for column in self._columns:
                values = _values(column, rows)
                if values is None:
                    return None
                columns[column.name] = values
        except (KeyError, OverflowError):
            return None
        return columns if self._rules_hold(columns) else None

    def _rules_hold(self, columns: Mapping[str, Values]) -> bool:
        for rule in self._rules:
            left = np.asarray(columns[rule.left])
            right = np.asarray(columns[rule.right] if isinstance(rule.right, str) else rule.right, np.float64)
            if not (OPERATORS[rule.operator](left, right) | np.isnan(left) | np.isnan(right)).all():
                return False
        return True


def _is_number(operand: str | float, numbers: set[str]) -> bool:
    return operand in numbers if isinstance(operand, str) else True


def _values(column: Column, rows: Sequence[Mapping[str, Any]]) -> Values | None:
    """One column, None where a value needs a closer look; raises KeyError where a required one is missing."""
    name = column.name
    missing = column.optional or column.role == "sale_date"
    values = [row.get(name) for row in rows] if missing else [row[name] for row in rows]
    kinds = set(map(type, values))
    if missing:
        kinds.discard(_NONE)
    match column.kind:
        case "number" | "integer":
            return _numbers(column, values) if kinds <= _NUMBERS else None
        case "boolean":
            return values if kinds <= {bool} else None
        case "date":
            dates = kinds <= {str} and all(value is None or is_date(value) for value in set(values))
            return values if dates else None
        case _:
            known = kinds <= {str} and (column.levels is None or set(values) <= {None, *column.levels})
            return values if known else None


def _numbers(column: Column, values: list[Any]) -> Values | None:
    array = np.array(values, np.float64)
    low = -math.inf if column.minimum is None else column.minimum
    high = math.inf if column.maximum is None else column.maximum
    with np.errstate(invalid="ignore"):
        if ((array < low) | (array > high) | np.isinf(array)).any():
            return None
        if column.kind == "integer" and (array != np.floor(array))[~np.isnan(array)].any():
            return None
    # None became NaN; a NaN that was sent is not a missing value.
    return array if np.count_nonzero(np.isnan(array)) == values.count(None) else None
