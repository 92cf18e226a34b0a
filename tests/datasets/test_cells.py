"""From the text of a cell to its value."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from appraise.datasets.cells import DTYPES, parse_column
from appraise.datasets.spec import Column, CsvFormat

POINT = CsvFormat(thousands=",")
CONTINENTAL = CsvFormat(decimal_comma=True, thousands=".")


def parsed(cells: list[str | None], kind: str, csv: CsvFormat = POINT, **column: object) -> list[object]:
    values, _ = parse_column(pl.Series("x", cells, dtype=pl.String), Column("x", kind, **column), csv)
    assert values.dtype == DTYPES[kind]
    return values.to_list()


@pytest.mark.parametrize(
    ("cell", "csv", "value"),
    [
        ("1234.5", POINT, 1234.5),
        ("1,234.5", POINT, 1234.5),
        ("$1,234", POINT, 1234.0),
        ("US$ 12", POINT, 12.0),
        ("12 €", POINT, 12.0),
        ("CHF 1", POINT, 1.0),
        ("(5)", POINT, -5.0),
        ("−5", POINT, -5.0),
        ("12.5%", POINT, 12.5),
        ("1e3", POINT, 1000.0),
        ("45,00,000", POINT, 4_500_000.0),
        ("1.234,5", CONTINENTAL, 1234.5),
        ("1.234", CONTINENTAL, 1234.0),
        ("1,5", CONTINENTAL, 1.5),
        ("250.000,-", CONTINENTAL, 250_000.0),
        ("48.85661", CONTINENTAL, 48.85661),
        ("1’234.5", CsvFormat(thousands="'"), 1234.5),
        ("1\u202f234,5", CsvFormat(thousands=" ", decimal_comma=True), 1234.5),
    ],
)
def test_numbers_as_people_write_them(cell: str, csv: CsvFormat, value: float) -> None:
    assert parsed([cell], "number", csv) == [value]


@pytest.mark.parametrize("cell", ["x", "1,2", "inf", "-Infinity", "NaN", "1e400", "1_000", "0x10", "1.2.3", "--"])
def test_what_is_no_number_is_told_apart_from_what_is_missing(cell: str) -> None:
    values, unreadable = parse_column(pl.Series("x", [cell, None, "7"]), Column("x", "number"), POINT)
    assert values.to_list() == [None, None, 7.0]
    assert unreadable.to_list() == [True, False, False]


def test_the_unit_may_stand_behind_a_number() -> None:
    assert parsed(["120 m2", "85m2", "7"], "number", unit="m2") == [120.0, 85.0, 7.0]


def test_integers_are_whole_and_exact() -> None:
    cells = ["3", "3.0", "2.5", "1,234", "9007199254740993", "1e30"]
    assert parsed(cells, "integer") == [3, 3, None, 1234, 9007199254740993, None]
    assert parsed(["1.234"], "integer", CONTINENTAL) == [1234]


def test_booleans() -> None:
    assert parsed(["Yes", "no", "T", "0", "1.0", "maybe"], "boolean") == [True, False, True, False, True, None]
    assert parsed(["Ja", "nein", "yes"], "boolean", true_values=("ja",), false_values=("nein",)) == [True, False, None]


@pytest.mark.parametrize(
    ("cell", "form", "day"),
    [
        ("2016-12-03", None, dt.date(2016, 12, 3)),
        ("2016-12-03T10:00:00Z", None, dt.date(2016, 12, 3)),
        ("3/12/2016", "%d/%m/%Y", dt.date(2016, 12, 3)),
        ("3/12/16", "%d/%m/%y", dt.date(2016, 12, 3)),
        ("3/12/16", "%d/%m/%Y", None),
        ("31/2/2016", "%d/%m/%Y", None),
        ("2016-12", "%Y-%m", dt.date(2016, 12, 1)),
        ("Dec 2016", "%b %Y", dt.date(2016, 12, 1)),
        ("2016", "%Y", dt.date(2016, 1, 1)),
        ("20161203T000000", "%Y%m%dT%H%M%S", dt.date(2016, 12, 3)),
    ],
)
def test_dates(cell: str, form: str | None, day: dt.date | None) -> None:
    assert parsed([cell], "date", date_format=form) == [day]


def test_categories_are_stripped_and_codes_lose_an_empty_fraction() -> None:
    assert parsed([" a b ", "3067.0", "1.05", ""], "category") == ["a b", "3067", "1.05", None]


def test_typed_values_of_a_parquet_file() -> None:
    numbers, unreadable = parse_column(pl.Series("x", [1.5, float("nan"), float("inf")]), Column("x", "number"), POINT)
    assert numbers.to_list() == [1.5, None, None]
    assert unreadable.to_list() == [False, False, True]
    days, _ = parse_column(
        pl.Series("x", [dt.datetime(2020, 1, 2, 3)]), Column("x", "date", date_format="%d/%m/%Y"), POINT
    )
    assert days.to_list() == [dt.date(2020, 1, 2)]
    words = Column("x", "boolean", true_values=("ja",), false_values=("nein",))
    assert parse_column(pl.Series("x", [True, False, None]), words, POINT)[0].to_list() == [True, False, None]
    assert parse_column(pl.Series("x", [3067, None]), Column("x", "category"), POINT)[0].to_list() == ["3067", None]
