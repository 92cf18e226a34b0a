"""How a column writes its dates, decided by what all of its cells allow."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from appraise.datasets.cells import parse_column
from appraise.datasets.spec import Column, CsvFormat

_DAY_FIRST = tuple(f"%d{mark}%m{mark}%{year}" for mark in "/-." for year in "Yy")
_MONTH_FIRST = tuple(form.replace("%d", "%D").replace("%m", "%d").replace("%D", "%m") for form in _DAY_FIRST)
_TIMES = (" %H:%M", " %H:%M:%S", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_OTHERS = (
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y%m%d",
    "%Y%m%dT%H%M%S",
    *(
        form.replace("%b", month)
        for form in (
            "%d %b %Y",
            "%d-%b-%Y",
            "%d-%b-%y",
            "%d %b %y",
            "%d%b%Y",
            "%b %d, %Y",
            "%b %d %Y",
            "%b-%d-%Y",
            "%a %d %b %Y",
            "%A, %d %b %Y",
            "%b %Y",
            "%b-%Y",
            "%b-%y",
        )
        for month in ("%b", "%B")
    ),
    "%Y-%m",
    "%Y/%m",
    "%m/%Y",
)
_SHAPE = (
    r"(?i)^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:\D|$)|^\d{8}(?:T\d{6}Z?)?$|^\d{4}[-/]\d{1,2}$|^\d{1,2}/\d{4}$"
    r"|^[a-z,]{0,11} ?\d{0,2}[ -]?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
)
_ENOUGH = 0.95
_SAMPLE = 300
_PLAIN = CsvFormat()


@dataclass(frozen=True, slots=True)
class DateReading:
    """How a column's dates are to be read.

    Attributes:
        date_format: strptime format; None is ISO 8601.
        reason: the evidence.
        check: whether the cells allow another reading.
    """

    date_format: str | None
    reason: str
    check: bool = False


def looks_like_dates(sample: pl.Series) -> bool:
    """Whether nearly all cells have the shape of a date."""
    return bool(sample.str.contains(_SHAPE).sum() >= _ENOUGH * sample.len())


def read_dates(cells: pl.Series, today: dt.date) -> DateReading | None:
    """The reading of a column whose cells (distinct, present) are dates; None for one whose cells are not."""
    sample = cells.gather_every(max(1, cells.len() // _SAMPLE))
    if _share(cells, None) >= _ENOUGH:
        return DateReading(None, f"as in {cells[0]!r} (ISO 8601)")
    for form in _OTHERS:
        if _share(sample, form) >= _ENOUGH and _share(cells, form) >= _ENOUGH and _plausible(cells, form):
            return DateReading(form, f"as in {cells[0]!r}")
    for tail in ("", *_TIMES):
        for day_first, month_first in zip(_DAY_FIRST, _MONTH_FIRST, strict=True):
            pair = (day_first + tail, month_first + tail)
            if max(_share(sample, form) for form in pair) >= _ENOUGH / 2:
                reading = _day_or_month(cells, pair, today)
                if reading is not None:
                    return reading
    return None


def _day_or_month(cells: pl.Series, pair: tuple[str, str], today: dt.date) -> DateReading | None:
    day, month = (_parsed(cells, form) for form in pair)
    day_fails, month_fails = int(day.null_count()), int(month.null_count())
    if min(day_fails, month_fails) > (1 - _ENOUGH) * cells.len():
        return None
    if day_fails != month_fails:
        form, order, refuted = (pair[0], "day", month) if day_fails < month_fails else (pair[1], "month", day)
        proof = cells.filter(refuted.is_null())[0]
        return DateReading(form, f"the {order} comes first: {proof!r} cannot be read otherwise")
    limit = pl.lit(today)
    future = [int(pl.select((pl.lit(parsed) > limit).sum()).item() or 0) for parsed in (day, month)]
    if future[0] != future[1]:
        chosen = 0 if future[0] < future[1] else 1
        return DateReading(
            pair[chosen], f"the {('day', 'month')[chosen]} comes first: otherwise dates would lie in the future"
        )
    return DateReading(
        pair[0],
        f"no day is above 12, so day and month cannot be told apart; the day is taken to come first "
        f'(otherwise set date_format = "{pair[1]}")',
        check=True,
    )


def _parsed(cells: pl.Series, form: str | None) -> pl.Series:
    return parse_column(cells, Column("date", "date", date_format=form), _PLAIN)[0]


def _share(cells: pl.Series, form: str | None) -> float:
    return 1 - int(_parsed(cells, form).null_count()) / cells.len()


def _plausible(cells: pl.Series, form: str) -> bool:
    """Whether digits that happen to form dates lie in years that sales do."""
    if form != "%Y%m%d":
        return True
    years = _parsed(cells, form).dt.year().drop_nulls()
    return bool(years.is_between(1800, 2100).all())
