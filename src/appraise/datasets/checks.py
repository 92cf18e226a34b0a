"""What a spec asks of every row, as polars expressions (`docs/decisions/0002-checks.md` says why not pandera)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

import polars as pl

from appraise.datasets import constraints
from appraise.datasets.rejects import FOUND, nothing_found
from appraise.datasets.spec import OPERATORS, Column, DatasetSpec, Rule, TimeSplit

#: Where most homes are: this share of the coordinates, widened on each side by its own width.
_MOST = (0.01, 0.99)

#: The least and the greatest value that are usual.
Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Check:
    """One thing that is asked of a row.

    Attributes:
        rule: what is asked, naming the column.
        broken: true where it is not so; a null counts as false.
        received: names of the columns whose values are shown.
    """

    rule: str
    broken: pl.Expr
    received: tuple[str, ...] = ()


def check(
    spec: DatasetSpec,
    frame: pl.DataFrame,
    *,
    today: dt.date | None = None,
    target_needed: bool = True,
    most: Mapping[str, Bounds] | None = None,
) -> pl.DataFrame:
    """What is wrong with the rows of a canonical frame: missing, infinite and impossible values, and broken rules.

    Only columns that reach the model, and the target, are looked at.

    Args:
        spec: what is asked.
        frame: its canonical rows.
        today: no sale may be later; None lets any date pass.
        target_needed: whether a price must be there.
        most: by the names of latitude and longitude, bounds that hold most homes; by them swapped coordinates are
            told. None takes them from the frame, which must then be more than a few rows.

    Returns:
        a frame of the schema `rejects.FOUND`, several entries for a row with several faults, by row.
    """
    checks = list(_checks(spec, frame, today, target_needed=target_needed, most=most))
    if not checks or frame.is_empty():
        return nothing_found()
    broken = frame.select(each.broken.fill_null(value=False).alias(str(place)) for place, each in enumerate(checks))
    found = [_entries(each, frame, broken[str(place)]) for place, each in enumerate(checks) if broken[str(place)].any()]
    return pl.concat(found).sort("row", maintain_order=True) if found else nothing_found()


def _entries(check: _Check, frame: pl.DataFrame, broken: pl.Series) -> pl.DataFrame:
    rows = broken.arg_true()
    reasons = [check.rule] * len(rows)
    if check.received:
        received = (_shown(check.received, row) for row in frame.select(check.received)[rows].rows())
        reasons = [f"{check.rule}, received {each}" for each in received]
    return pl.DataFrame({"row": rows.cast(pl.Int64), "rule": [check.rule] * len(rows), "reason": reasons}, schema=FOUND)


def _shown(names: tuple[str, ...], values: tuple[object, ...]) -> str:
    """The values, with their names where there are several."""
    if len(values) == 1:
        return constraints.shown(values[0])
    return ", ".join(f"{name} {constraints.shown(value)}" for name, value in zip(names, values, strict=True))


def _checks(
    spec: DatasetSpec,
    frame: pl.DataFrame,
    today: dt.date | None,
    *,
    target_needed: bool,
    most: Mapping[str, Bounds] | None,
) -> Iterator[_Check]:
    yield from _place_checks(spec, frame, most)
    for column in spec.columns:
        if not column.is_input and not (column.role == "target" and target_needed):
            continue
        must_be_present = _must_be_present(column, spec)
        if not _is_sound(column, frame[column.name], must_be_present):
            yield from _column_checks(column, must_be_present)
    if target_needed and spec.objective == "relative":
        price = spec.target.name
        yield _Check(f"{price} {constraints.ABOVE_ZERO}", pl.col(price) <= 0, (price,))
    if spec.sale_date is not None and today is not None:
        date = spec.sale_date.name
        yield _Check(f"{date} {constraints.NOT_IN_FUTURE}", pl.col(date) > today, (date,))
    for rule in spec.rules:
        yield _rule_check(rule, frame)


def _must_be_present(column: Column, spec: DatasetSpec) -> bool:
    if column.role == "target" or (column.role == "sale_date" and isinstance(spec.split, TimeSplit)):
        return True
    return not column.optional


def _is_sound(column: Column, values: pl.Series, must_be_present: bool) -> bool:  # noqa: FBT001
    """Whether a look at the whole column says already that each value of it is as asked: most are, and it is quick."""
    if (
        column.kind not in ("number", "integer")
        or column.levels is not None
        or (must_be_present and values.has_nulls())
    ):
        return False
    least, greatest = values.min(), values.max()
    if not isinstance(least, float | int) or not isinstance(greatest, float | int) or not isfinite(values.sum()):
        return False
    return (column.minimum is None or least >= column.minimum) and (
        column.maximum is None or greatest <= column.maximum
    )


def _column_checks(column: Column, must_be_present: bool) -> Iterator[_Check]:  # noqa: FBT001
    name = column.name
    value = pl.col(name)
    if must_be_present:
        yield _Check(f"{name} {constraints.PRESENT}", value.is_null() | _is_nan(column))
    if column.kind == "number":
        yield _Check(f"{name} {constraints.FINITE}", value.is_infinite(), (name,))
    finite = value.is_finite() if column.kind == "number" else pl.lit(value=True)
    if column.minimum is not None:
        yield _Check(f"{name} {constraints.at_least(column)}", finite & (value < column.minimum), (name,))
    if column.maximum is not None:
        yield _Check(f"{name} {constraints.at_most(column)}", finite & (value > column.maximum), (name,))
    if column.levels is not None:
        yield _Check(f"{name} {constraints.one_of(column)}", ~value.is_in(column.levels), (name,))


def _is_nan(column: Column) -> pl.Expr:
    return pl.col(column.name).is_nan() if column.kind == "number" else pl.lit(value=False)


def _rule_check(rule: Rule, frame: pl.DataFrame) -> _Check:
    left = pl.col(rule.left)
    right = pl.col(rule.right) if isinstance(rule.right, str) else pl.lit(rule.right)
    names = [name for name in (rule.left, rule.right) if isinstance(name, str)]
    measured = pl.all_horizontal(
        pl.col(name).is_not_nan() if frame.schema[name].is_float() else pl.col(name).is_not_null() for name in names
    )
    sentence = f"{rule.message.rstrip('.')} ({rule.left} {rule.operator} {rule.right})"
    return _Check(sentence, measured & ~OPERATORS[rule.operator](left, right), tuple(names))


def _place_checks(spec: DatasetSpec, frame: pl.DataFrame, most: Mapping[str, Bounds] | None) -> Iterator[_Check]:
    """Coordinates that mean "unknown", and those that stand in each other's column."""
    if spec.latitude is None or spec.longitude is None:
        return
    names = (spec.latitude.name, spec.longitude.name)
    latitude, longitude = pl.col(names[0]), pl.col(names[1])
    unknown = f"{names[0]} and {names[1]} must not both be 0, which stands for an unknown place"
    yield _Check(unknown, (latitude == 0) & (longitude == 0), names)
    boxes = [_box(frame[name]) if most is None else most.get(name) for name in names]
    swapped = (latitude.abs() > 90) & (longitude.abs() <= 90)
    if boxes[0] is not None and boxes[1] is not None:
        elsewhere = ~latitude.is_between(*boxes[0]) & ~longitude.is_between(*boxes[1])
        swapped = swapped | (elsewhere & longitude.is_between(*boxes[0]) & latitude.is_between(*boxes[1]))
    yield _Check(f"{names[0]} and {names[1]} must not be swapped", swapped, names)


def _box(values: pl.Series) -> Bounds | None:
    """Bounds that hold most values with room to spare."""
    finite = values.filter(values.is_finite().fill_null(value=False))
    low, high = (finite.quantile(share) for share in _MOST)
    if low is None or high is None:
        return None
    return widened(low, high)


def widened(low: float, high: float) -> Bounds:
    """Bounds with room of their own width on each side."""
    width = max(high - low, 0.1)
    return low - width, high + width
