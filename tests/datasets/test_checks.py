import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

from appraise.datasets.checks import check
from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import simulate_table
from appraise.datasets.spec import Column, DatasetSpec, RandomSplit, Rule, TimeSplit

SPEC = DatasetSpec(
    "sales",
    (
        Column("sold", "date", "sale_date", optional=True),
        Column("latitude", "number", "latitude", optional=True),
        Column("longitude", "number", "longitude", optional=True),
        Column("area", "number", unit="m2", minimum=10, maximum=1000),
        Column("bedrooms", "integer", optional=True, minimum=0),
        Column("rooms", "integer", optional=True),
        Column("kind", "category", optional=True, levels=("flat", "house")),
        Column("note", "number", "ignored", minimum=0),
        Column("price", "number", "target"),
    ),
    rules=(Rule("bedrooms", "<=", "rooms", "A home cannot have more bedrooms than rooms."),),
)
GOOD = {
    "sold": dt.date(2020, 5, 1),
    "latitude": -37.8,
    "longitude": 145.0,
    "area": 80.0,
    "bedrooms": 2,
    "rooms": 3,
    "kind": "flat",
    "note": -1.0,
    "price": 5e5,
}
TODAY = dt.date(2021, 1, 1)


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    schema = {
        "sold": pl.Date,
        "latitude": pl.Float64,
        "longitude": pl.Float64,
        "area": pl.Float64,
        "bedrooms": pl.Int64,
        "rooms": pl.Int64,
        "kind": pl.String,
        "note": pl.Float64,
        "price": pl.Float64,
    }
    return pl.DataFrame([{**GOOD, **row} for row in rows], schema=schema)


def reasons(*rows: dict[str, object], spec: DatasetSpec = SPEC, **options: object) -> list[str]:
    return check(spec, frame(*rows), **{"today": TODAY, **options})["reason"].to_list()


def test_a_good_row_passes():
    assert reasons({}) == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"area": None}, "area must not be missing"),
        ({"area": math.nan}, "area must not be missing"),
        ({"price": None}, "price must not be missing"),
        ({"area": math.inf}, "area must be a finite number, received inf"),
        ({"area": 9.5}, "area must be at least 10 m2, received 9.5"),
        ({"area": 5000.0}, "area must be at most 1000 m2, received 5000.0"),
        ({"bedrooms": -1}, "bedrooms must be at least 0, received -1"),
        ({"kind": "castle"}, "kind must be one of flat, house, received 'castle'"),
        ({"sold": dt.date(2021, 1, 2)}, "sold must not be in the future, received 2021-01-02"),
        ({"price": 0.0}, "price must be above 0, for errors are measured in percent, received 0.0"),
        ({"price": -5.0}, "price must be above 0, for errors are measured in percent, received -5.0"),
        (
            {"bedrooms": 4},
            "A home cannot have more bedrooms than rooms (bedrooms <= rooms), received bedrooms 4, rooms 3",
        ),
        (
            {"latitude": 0.0, "longitude": 0.0},
            (
                "latitude and longitude must not both be 0, which stands for an unknown place, "
                "received latitude 0.0, longitude 0.0"
            ),
        ),
        (
            {"latitude": 145.0, "longitude": -37.8},
            "latitude and longitude must not be swapped, received latitude 145.0, longitude -37.8",
        ),
    ],
)
def test_each_fault_is_named_with_what_came(row, reason):
    assert reasons(row) == [reason]


@pytest.mark.parametrize(
    "row",
    [
        {"area": 10.0},
        {"area": 1000.0},
        {"rooms": None},
        {"bedrooms": None, "kind": None, "latitude": None, "longitude": None, "sold": None},
        {"note": None},
        {"sold": TODAY},
        {"latitude": 0.0},
    ],
)
def test_what_is_allowed_passes(row):
    assert reasons(row) == []


def test_several_faults_of_a_row_are_all_told():
    found = check(SPEC, frame({}, {"area": 1.0, "kind": "x"}, {"bedrooms": 9}), today=TODAY)
    assert found["row"].to_list() == [1, 1, 2]


def test_a_price_may_be_zero_or_missing_where_nothing_asks_for_it():
    spec = DatasetSpec("sales", SPEC.columns, objective="rmse")
    assert reasons({"price": 0.0}, spec=spec) == []
    assert reasons({"price": None}, target_needed=False) == []


def test_a_date_must_be_there_where_it_splits():
    spec = DatasetSpec("sales", SPEC.columns, split=TimeSplit(dt.date(2020, 1, 1), dt.date(2021, 1, 1)))
    assert reasons({"sold": None}, spec=spec) == ["sold must not be missing"]
    assert reasons({"sold": None}, spec=DatasetSpec("sales", SPEC.columns, split=RandomSplit())) == []


def test_any_date_passes_where_there_is_no_today():
    assert reasons({"sold": dt.date(2999, 1, 1)}, today=None) == []


def test_swapped_coordinates_are_seen_among_others_even_where_both_are_small():
    """In Europe a swapped pair lies within the bounds; it is known by where all the others are."""
    rng = np.random.default_rng(0)
    places = [{"latitude": 48 + rng.normal() / 10, "longitude": 11 + rng.normal() / 10} for _ in range(200)]
    places[17] = {"latitude": 11.02, "longitude": 48.01}
    # Far away, and not swapped.
    places[18] = {"latitude": 47.0, "longitude": 12.5}
    places[19] = {"latitude": 11.02, "longitude": 80.0}
    found = check(SPEC, frame(*places), today=TODAY)
    assert found["row"].to_list() == [17]
    assert "swapped" in found["reason"][0]


@pytest.mark.parametrize(
    ("operator", "right", "held", "broken"),
    [
        ("<", "rooms", 2, 3),
        ("<=", "rooms", 3, 4),
        (">", 1.0, 2, 1),
        (">=", 2.0, 2, 1),
        ("==", 2.0, 2, 1),
        ("!=", "rooms", 2, 3),
    ],
)
def test_every_operator_of_a_rule(operator, right, held, broken):
    spec = DatasetSpec("sales", SPEC.columns, rules=(Rule("bedrooms", operator, right, "No."),))
    assert reasons({"bedrooms": held}, spec=spec) == []
    assert len(reasons({"bedrooms": broken}, spec=spec)) == 1


def test_a_rule_with_a_missing_operand_holds():
    spec = DatasetSpec("sales", SPEC.columns, rules=(Rule("note", "<=", "area", "No."),))
    assert reasons({"note": math.nan}, {"note": None}, spec=spec) == []
    assert reasons({"note": 81.0}, spec=spec) == ["No (note <= area), received note 81.0, area 80.0"]


def test_rules_hold_between_dates():
    columns = (*SPEC.columns, Column("built", "date", optional=True))
    spec = DatasetSpec("sales", columns, rules=(Rule("built", "<=", "sold", "Sold before it was built."),))
    rows = frame({}, {}).with_columns(built=pl.Series([dt.date(2020, 1, 1), dt.date(2020, 6, 1)]))
    assert check(spec, rows, today=TODAY)["row"].to_list() == [1]


def test_no_rows_have_no_faults():
    assert check(SPEC, frame({}).clear(), today=TODAY).height == 0


@pytest.mark.parametrize("name", ["bayside", "homes", "garden", "housets"])
def test_no_preset_refuses_its_own_made_up_data(name):
    spec = find_spec(name)
    rows = simulate_table(name, rows=2000)
    assert check(spec, rows.select(column.name for column in spec.columns), today=dt.date(2024, 1, 1)).height == 0
