"""Rows of a request: every refused field is named, with what was asked and what came."""

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from appraise.datasets.spec import Column, DatasetSpec, Rule
from appraise.errors import Problem
from appraise.serving.rows import RowChecker, rows_of

SPEC = DatasetSpec(
    name="market",
    columns=(
        Column("area", "number", minimum=5, maximum=1000, unit="m2"),
        Column("bedrooms", "integer", minimum=0),
        Column("rooms", "integer", optional=True),
        Column("view", "boolean", optional=True),
        Column("style", "category", optional=True, levels=("flat", "house")),
        Column("suburb", "category", optional=True),
        Column("listed", "date", optional=True),
        Column("sold", "date", role="sale_date"),
        Column("price", "number", role="target"),
        Column("key", "identifier", role="id"),
    ),
    rules=(
        Rule("bedrooms", "<=", "rooms", "a home has no more bedrooms than rooms"),
        Rule("listed", "<=", "sold", "a home is listed before it is sold"),
        Rule("rooms", "<", 50.0, "a home has fewer than 50 rooms"),
        Rule("price", ">", "area", "a home costs more than one a square metre"),
    ),
)
GOOD = {"area": 80.0, "bedrooms": 2, "rooms": 4, "view": True, "style": "flat", "suburb": "Brighton",
        "listed": "2024-01-31", "sold": "2024-02-29"}  # fmt: skip


@pytest.fixture(scope="module")
def problems() -> Callable[..., list[Problem]]:
    checker = RowChecker(SPEC)

    def check(**changed: Any) -> list[Problem]:
        return checker.problems([{**GOOD, **changed}])

    return check


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"rooms": None, "view": None, "style": None, "suburb": None, "listed": None, "sold": None},
        {"suburb": "a place that nobody has seen"},
        {"price": "not read", "key": ["not", "read"]},
        {"view": 0},
        {"view": 1.0},
        {"view": np.bool_(True)},
        {"view": np.float32(1.0)},
        {"area": np.float32(80), "bedrooms": np.int64(2)},
        {"area": 5, "bedrooms": 2.0},
        {"area": Decimal("80.5")},
        {"listed": dt.date(2024, 1, 31), "sold": dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)},
        {"listed": "2024-02-29", "sold": "2024-02-29T10:00:00Z"},
        {"sold": dt.date(2024, 2, 29)},
    ],
    ids=str,
)
def test_rows_that_can_be_valued(problems, changed):
    assert problems(**changed) == []


@pytest.mark.parametrize(
    ("field", "value", "constraint"),
    [
        ("area", "80", "number"),
        ("area", True, "number"),
        ("area", [80], "number"),
        ("area", {}, "number"),
        ("area", np.array([1.0, 2.0]), "number"),
        ("area", math.nan, "finite"),
        ("area", math.inf, "finite"),
        ("area", -math.inf, "finite"),
        ("area", 10**400, "finite"),
        ("area", -(10**6000), "finite"),
        ("area", 4.9, "at least 5 m2"),
        ("area", 1000.5, "at most 1000 m2"),
        ("bedrooms", 2.5, "whole number"),
        ("bedrooms", -1, "at least 0"),
        ("view", 2, "true or false"),
        ("view", "yes", "true or false"),
        ("view", math.nan, "true or false"),
        ("view", np.array([0, 1]), "true or false"),
        ("style", "castle", "one of flat, house"),
        ("style", "Flat", "one of flat, house"),
        ("suburb", 3, "text"),
        ("suburb", ["Brighton"], "text"),
        ("sold", "2024-02-30", "date"),
        ("sold", "yesterday", "date"),
        ("sold", "2024-02-29 and more", "date"),
        ("sold", "20240229", "date"),
        ("sold", "٢٠٢٤-٠٢-٢٩", "date"),
        ("sold", "", "date"),
        ("sold", 19782, "date"),
        ("sold", {}, "date"),
        ("sold", b"2024-02-29", "date"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_a_value_that_cannot_be_is_refused(problems, field, value, constraint):
    (problem,) = problems(**{field: value})
    assert problem.field == field
    assert constraint in problem.constraint
    assert problem.received
    assert len(problem.received) < 200


@pytest.mark.parametrize("field", ["area", "bedrooms"])
def test_a_required_field_is_missed_whether_none_or_absent(problems, field):
    (none,) = problems(**{field: None})
    (absent,) = RowChecker(SPEC).problems([{name: value for name, value in GOOD.items() if name != field}])
    assert (none.field, none.constraint) == (absent.field, absent.constraint) == (field, "must not be missing")
    assert (none.received, absent.received) == ("null", "nothing")


def test_an_unknown_field_is_answered_with_the_one_that_was_meant(problems):
    (problem,) = problems(bedroms=2)
    assert problem.field == "bedroms"
    assert "did you mean bedrooms?" in problem.constraint
    (problem,) = problems(zzz=2)
    assert "its fields are area, bedrooms" in problem.constraint


def test_a_rule_across_columns_is_told_in_its_own_words(problems):
    (problem,) = problems(bedrooms=5)
    assert (problem.field, problem.constraint) == ("bedrooms", "a home has no more bedrooms than rooms")
    assert problem.received == "5 against 4"
    assert [problem.field for problem in problems(rooms=50)] == ["rooms"]


@pytest.mark.parametrize("listed", ["2024-03-01", dt.date(2024, 3, 1), "2024-03-01T00:00:00"], ids=str)
@pytest.mark.parametrize("sold", ["2024-02-29", dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, tzinfo=dt.UTC)], ids=str)
def test_a_rule_compares_dates_however_they_are_written(problems, listed, sold):
    (problem,) = problems(listed=listed, sold=sold)
    assert problem.constraint == "a home is listed before it is sold"


def test_a_rule_that_speaks_of_the_price_is_not_asked_of_a_request(problems):
    assert problems(price="cheap") == []
    assert problems(price=1) == []


def test_every_refused_field_of_every_row_is_named():
    found = RowChecker(SPEC).problems([GOOD, {"area": "x", "style": 1, "colour": "red"}, {**GOOD, "area": -1}])
    assert [(one.row, one.field) for one in found] == [
        (1, "area"), (1, "style"), (1, "colour"), (1, "bedrooms"), (2, "area"),
    ]  # fmt: skip


@pytest.mark.parametrize("row", ["area", 3, None, ["area", 80]], ids=str)
def test_what_is_no_row_is_refused_as_one(row):
    (problem,) = RowChecker(SPEC).problems([row])
    assert (problem.row, problem.field) == (0, None)


def test_a_field_whose_name_is_no_text_is_unknown():
    (problem,) = RowChecker(SPEC).problems([{**GOOD, 5: "five"}])
    assert "is not a field" in problem.constraint


def test_columns_as_rows():
    assert rows_of({"a": [1, 2], "b": ["x", None]}) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert rows_of({"a": [], "b": []}) == []
