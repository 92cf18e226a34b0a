"""What is asked of a value, as the phrases that people are shown: the same for rows of files and for requests."""

from __future__ import annotations

from appraise.datasets.spec import Column, Kind

PRESENT = "must not be missing"
FINITE = "must be a finite number"
ABOVE_ZERO = "must be above 0, for errors are measured in percent"
NOT_IN_FUTURE = "must not be in the future"

_KINDS: dict[Kind, str] = {
    "number": "must be a number",
    "integer": "must be a whole number",
    "boolean": "must be true or false",
    "category": "must be a text",
    "identifier": "must be a text",
    "text": "must be a text",
    "date": "must be a date",
}
_MOST_LEVELS_SHOWN = 12
_LONGEST_SHOWN = 60


def of_kind(column: Column) -> str:
    """What a cell must look like."""
    if column.kind == "date":
        return f"must be a date written {column.date_format or 'YYYY-MM-DD'}"
    if column.kind == "boolean" and column.true_values and column.false_values:
        return f"must be {' or '.join(map(repr, (*column.true_values, *column.false_values)))}"
    return _KINDS[column.kind]


def at_least(column: Column) -> str:
    """The lower bound."""
    return f"must be at least {_bound(column.minimum)}{_unit(column)}"


def at_most(column: Column) -> str:
    """The upper bound."""
    return f"must be at most {_bound(column.maximum)}{_unit(column)}"


def one_of(column: Column) -> str:
    """The levels."""
    levels = column.levels or ()
    more = len(levels) - _MOST_LEVELS_SHOWN
    shown = ", ".join(levels[:_MOST_LEVELS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"must be one of {shown}"


def shown(value: object) -> str:
    """A received value, shortened for display; what JSON has words for as in JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > _LONGEST_SHOWN * 4:
        return f"a whole number of {value.bit_length():,} bits"  # Python refuses to write the longest ones.
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _bound(bound: float | None) -> str:
    return "any number" if bound is None else f"{bound:.15g}"


def _unit(column: Column) -> str:
    if not column.unit:
        return ""
    # After the bound a unit such as "10,000 USD" would read as one number more.
    return f" (in {column.unit})" if column.unit[0].isdigit() else f" {column.unit}"
