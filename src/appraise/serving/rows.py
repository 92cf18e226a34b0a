"""Rows of a request checked against the dataset's spec: every refused field is named, and why."""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from appraise.datasets.constraints import FINITE, PRESENT, at_least, at_most, of_kind, one_of, shown
from appraise.datasets.spec import OPERATORS, Column, DatasetSpec
from appraise.errors import Problem

#: A day, and a time of day, which is not read.
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ][\d:.,]+(?:Z|[+-][\d:]+)?)?", re.ASCII)
_DATE_WANTED = "must be a date such as 2024-05-31"

_LARGEST = sys.float_info.max

_Check = Callable[[Any], str | None]


class RowChecker:
    """Checks rows by a spec: known names, types, required values, hard bounds, levels, rules across columns.

    Columns of the spec that do not reach the model (the price, identifiers) may be there and are not read.
    """

    def __init__(self, spec: DatasetSpec) -> None:
        self._checks: dict[str, _Check] = {column.name: _check_of(column) for column in spec.inputs}
        self._required = tuple(
            column.name for column in spec.inputs if not column.optional and column.role != "sale_date"
        )
        self._names = frozenset(column.name for column in spec.columns)
        # Rules about the price, which is not read and was not checked, are left out.
        self._rules = tuple(
            (rule, OPERATORS[rule.operator])
            for rule in spec.rules
            if all(not isinstance(name, str) or name in self._checks for name in (rule.left, rule.right))
        )

    def problems(self, rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
        """Everything that is wrong with the rows, in their order; empty where all can be valued."""
        found: list[Problem] = []
        for position, row in enumerate(rows):
            before = len(found)
            if not isinstance(row, Mapping):
                found.append(Problem(position, None, "must be an object of values by field", shown(row)))
                continue
            for name, value in row.items():
                check = self._checks.get(name)
                if check is None:
                    if name not in self._names:
                        found.append(Problem(position, name, self._unknown(name), shown(value)))
                elif value is not None:
                    refused = check(value)
                    if refused is not None:
                        found.append(Problem(position, name, refused, shown(value)))
            found += [
                Problem(position, name, PRESENT, "null" if name in row else "nothing")
                for name in self._required
                if row.get(name) is None
            ]
            if self._rules and len(found) == before:
                found += self._broken_rules(position, row)
        return found

    def problem_of(self, name: str, value: Any) -> str | None:
        """What is wrong with one value of one column; None where nothing is. A name that is no column is at fault."""
        check = self._checks.get(name)
        return self._unknown(name) if check is None else check(value)

    def _unknown(self, name: str) -> str:
        fields = {field.casefold(): field for field in self._checks}
        close = difflib.get_close_matches(str(name).casefold(), fields, n=1)
        return f"is not a field of this dataset; did you mean {fields[close[0]]}?" if close else (
            f"is not a field of this dataset; its fields are {', '.join(self._checks)}"
        )  # fmt: skip

    def _broken_rules(self, position: int, row: Mapping[str, Any]) -> Iterable[Problem]:
        for rule, holds in self._rules:
            left = row.get(rule.left)
            right = row.get(rule.right) if isinstance(rule.right, str) else rule.right
            if left is None or right is None:
                continue
            numbers = type(left) is float and type(right) is float
            if not (holds(left, right) if numbers else holds(_comparable(left), _comparable(right))):
                yield Problem(position, rule.left, rule.message, f"{shown(left)} against {shown(right)}")


def _comparable(value: Any) -> Any:
    """A checked value; dates, which may come as text, as dates."""
    if isinstance(value, str):
        return dt.date.fromisoformat(value[:10])
    return value.date() if isinstance(value, dt.datetime) else value


def _check_of(column: Column) -> _Check:
    """A function that says what is wrong with a value of this column, or None."""
    match column.kind:
        case "number" | "integer":
            return _number_check(column)
        case "boolean":
            return _check_boolean
        case "date":
            return _check_date
        case _:
            return _text_check(column)


def _number_check(column: Column) -> _Check:
    low = -math.inf if column.minimum is None else column.minimum
    high = math.inf if column.maximum is None else column.maximum
    whole = column.kind == "integer"
    kind, floor, ceiling = of_kind(column), at_least(column), at_most(column)

    def check(value: Any) -> str | None:
        # NumPy's scalars are numbers too; a bool is not meant as one.
        if type(value) is not float and type(value) is not int:
            if isinstance(value, bool) or not hasattr(value, "__float__"):
                return kind
            try:
                value = float(value)
            except (TypeError, ValueError):
                return kind
        # A whole number beyond floating point is as good as infinite.
        if not -_LARGEST <= value <= _LARGEST:
            return FINITE
        if value < low:
            return floor
        if value > high:
            return ceiling
        return kind if whole and value != int(value) else None

    return check


def _check_boolean(value: Any) -> str | None:
    flag = type(value).__name__ == "bool" or (isinstance(value, Real) and value in (0, 1))
    return None if flag else "must be true or false"


def _check_date(value: Any) -> str | None:
    if isinstance(value, dt.date):
        return None
    return None if isinstance(value, str) and is_date(value) else _DATE_WANTED


def is_date(text: str) -> bool:
    """Whether a text is a date as requests write them."""
    if _DATE.fullmatch(text) is None:
        return False
    try:
        dt.date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


def _text_check(column: Column) -> _Check:
    levels = None if column.levels is None else frozenset(column.levels)
    kind, listing = of_kind(column), one_of(column)

    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return kind
        return listing if levels is not None and value not in levels else None

    return check


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Columns of equal length as rows."""
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
