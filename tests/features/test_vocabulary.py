"""Values as people and files write them become numbers, the same by rows and by columns."""

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from appraise.datasets.spec import Cleaning, Column, DatasetSpec
from appraise.features.state import State
from appraise.features.vocabulary import Vocabulary

SPEC = DatasetSpec(
    name="homes",
    columns=(
        Column("address", "identifier", role="id"),
        Column("area", "number"),
        Column("rooms", "integer"),
        Column("city", "category"),
        Column("garage", "boolean"),
        Column("sold", "date", role="sale_date"),
        Column("price", "number", role="target"),
        Column("note", "text", role="ignored"),
    ),
)
ROWS: list[dict[str, Any]] = [
    {"area": 50.5, "rooms": 2, "city": "Kew", "garage": True, "sold": dt.date(2017, 3, 4), "price": 1.0},
    {"area": None, "rooms": 3, "city": "Richmond", "garage": None, "sold": dt.date(1969, 12, 31), "price": 2.0},
    {"area": 70.0, "rooms": None, "city": None, "garage": False, "sold": None, "price": 3.0},
    {"area": 80.0, "rooms": 5, "city": "Kew", "garage": True, "sold": dt.date(2017, 3, 4), "price": 4.0},
]
NAN = np.nan
VALUES = [
    [50.5, 2.0, 0.0, 1.0, 17229.0],
    [NAN, 3.0, 1.0, NAN, -1.0],
    [70.0, NAN, NAN, 0.0, NAN],
    [80.0, 5.0, 0.0, 1.0, 17229.0],
]


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in rows[0]}


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary().fit(SPEC, _columns(ROWS))


def test_inputs_are_what_reaches_the_model(vocabulary: Vocabulary) -> None:
    assert vocabulary.names_ == ("area", "rooms", "city", "garage", "sold")
    assert vocabulary.levels_ == {"city": ("Kew", "Richmond")}


def test_rows_and_columns_give_equal_tables(vocabulary: Vocabulary) -> None:
    by_rows, by_columns = vocabulary.encode_rows(ROWS), vocabulary.encode(_columns(ROWS))
    assert by_rows.names == by_columns.names == vocabulary.names_
    np.testing.assert_array_equal(by_rows.values, VALUES)
    np.testing.assert_array_equal(by_columns.values, VALUES)


def test_a_polars_frame_gives_the_same_table(vocabulary: Vocabulary) -> None:
    frame = pl.DataFrame(ROWS)
    np.testing.assert_array_equal(vocabulary.encode(frame.to_dict()).values, VALUES)
    arrays = {name: frame[name].to_numpy() for name in frame.columns}
    np.testing.assert_array_equal(vocabulary.encode(arrays).values, VALUES)


@pytest.mark.parametrize(
    "date",
    [dt.date(2017, 3, 4), dt.datetime(2017, 3, 4, 23, 59), "2017-03-04", "2017-03-04T23:59:00Z", 17229.0, 17229],
    ids=repr,
)
def test_a_date_in_any_form(vocabulary: Vocabulary, date: Any) -> None:
    assert vocabulary.encode_rows([{"sold": date}]).column("sold").tolist() == [17229.0]
    np.testing.assert_array_equal(vocabulary.encode({"sold": [date, date]}).column("sold"), [17229.0, 17229.0])
    np.testing.assert_array_equal(vocabulary.encode({"sold": [date, None]}).column("sold"), [17229.0, NAN])


def test_an_array_of_dates_with_gaps(vocabulary: Vocabulary) -> None:
    days = np.array(["2017-03-04", "NaT", "1969-12-31"], dtype="datetime64[s]")
    np.testing.assert_array_equal(vocabulary.encode({"sold": days}).column("sold"), [17229.0, NAN, -1.0])


def test_a_level_that_training_did_not_see_is_unseen_and_not_missing(vocabulary: Vocabulary) -> None:
    unseen = [{"city": "Fitzroy"}, {"city": "kew"}, {"city": ""}, {"city": None}, {}]
    np.testing.assert_array_equal(vocabulary.encode_rows(unseen).column("city"), [-1.0, -1.0, -1.0, NAN, NAN])
    np.testing.assert_array_equal(
        vocabulary.encode({"city": ["Fitzroy", "kew", "", None]}).column("city"), [-1.0, -1.0, -1.0, NAN]
    )


def test_a_city_may_be_written_in_many_ways() -> None:
    spec = replace(SPEC, cleaning=Cleaning(city_columns=("city",)))
    vocabulary = Vocabulary().fit(spec, _columns([{**row, "city": "St Kilda"} for row in ROWS]))
    again = Vocabulary.from_state(State(json.loads(json.dumps(vocabulary.state().data))))
    asked = [{"city": city} for city in ("St Kilda", " SAINT KILDA", "st. kilda", "Kilda")]
    for fitted in (vocabulary, again):
        assert fitted.encode_rows(asked).column("city").tolist() == [0.0, 0.0, 0.0, -1.0]
        assert fitted.encode(_columns(asked)).column("city").tolist() == [0.0, 0.0, 0.0, -1.0]


def test_missing_keys_and_unknown_ones(vocabulary: Vocabulary) -> None:
    np.testing.assert_array_equal(vocabulary.encode_rows([{}]).values, [[NAN] * 5])
    assert vocabulary.encode_rows([{"price": 5.0, "colour": "red", "rooms": 4}]).column("rooms").tolist() == [4.0]
    table = vocabulary.encode({"rooms": [4, None], "colour": ["red", "blue"]})
    np.testing.assert_array_equal(table.column("rooms"), [4.0, NAN])
    assert np.isnan(table.column("city")).all()


def test_no_rows(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode_rows([]).values.shape == (0, 5)
    assert vocabulary.encode({}).values.shape == (0, 5)
    assert vocabulary.encode({name: [] for name in vocabulary.names_}).values.shape == (0, 5)


def test_columns_all_missing_in_training() -> None:
    rows = [{**row, "city": None, "sold": None} for row in ROWS]
    vocabulary = Vocabulary().fit(SPEC, _columns(rows))
    assert vocabulary.levels_ == {"city": ()}
    np.testing.assert_array_equal(vocabulary.encode_rows(ROWS).column("city"), [-1.0, -1.0, NAN, -1.0])


def test_levels_come_back_from_codes(vocabulary: Vocabulary) -> None:
    assert [vocabulary.level("city", code) for code in (0.0, 1.0, -1.0, NAN)] == ["Kew", "Richmond", None, None]


def test_the_state_survives_json(vocabulary: Vocabulary) -> None:
    again = Vocabulary.from_state(State(json.loads(json.dumps(vocabulary.state().data))))
    np.testing.assert_array_equal(again.encode_rows(ROWS).values, VALUES)
    assert again.state() == vocabulary.state()
    assert (again.names_, again.kinds_, again.levels_) == (vocabulary.names_, vocabulary.kinds_, vocabulary.levels_)
