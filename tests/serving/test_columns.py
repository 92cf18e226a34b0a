"""What is accepted column by column is what the checker of rows accepts, and is valued as it would be."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appraise.datasets.presets import find_spec
from appraise.features.vocabulary import Vocabulary
from appraise.serving.columns import ColumnReader
from appraise.serving.models import example_row
from appraise.serving.rows import RowChecker, rows_of

PRESETS = ("california", "homes", "garden", "bayside")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 60),
    st.floats(-200, 5000),
    st.sampled_from([float("nan"), float("inf"), 10**400, "", "2024-05-31", "2024-02-30", "Bay", [], {}]),
)


def _read(spec, rows):
    """As a worker reads them; NaN and infinity are no JSON, but Python writes them."""
    texts = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return ColumnReader(spec).read([msgspec.Raw(text) for text in texts])


@pytest.mark.parametrize("name", PRESETS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_row_is_accepted_that_the_checker_of_rows_refuses(name, data):
    spec = find_spec(name)
    names = [column.name for column in spec.inputs]
    changes = data.draw(
        st.lists(st.dictionaries(st.sampled_from([*names, "unknown"]), VALUES, max_size=2), min_size=1, max_size=4)
    )
    absent = data.draw(st.lists(st.sets(st.sampled_from(names), max_size=2), min_size=len(changes)))
    rows = [
        {key: value for key, value in {**example_row(spec), **change}.items() if key not in without}
        for change, without in zip(changes, absent, strict=False)
    ]
    places, columns = _read(spec, rows)
    accepted = [rows[place] for place in places]
    assert not RowChecker(spec).problems(accepted)
    assert not any(isinstance(value, float) and not math.isfinite(value) for row in accepted for value in row.values())
    if not accepted:
        return
    vocabulary = Vocabulary().fit(spec, {key: [row.get(key) for row in accepted] for key in names})
    by_row = vocabulary.encode_rows(accepted).values
    assert np.array_equal(vocabulary.encode(columns).values, by_row, equal_nan=True)


@pytest.mark.parametrize("name", PRESETS)
def test_rows_as_most_are_are_accepted_beside_others(name):
    spec = find_spec(name)
    row = example_row(spec)
    places, columns = _read(spec, [row, b"[]", row, {**row, spec.inputs[0].name: []}, row])
    assert places == [0, 2, 4]
    assert len(rows_of({key: list(values) for key, values in columns.items()})) == 3


def test_values_that_are_missing_or_null_are_accepted_where_they_may_be():
    spec = find_spec("bayside")
    optional = [column.name for column in spec.inputs if column.optional]
    assert optional
    row = example_row(spec)
    for name in optional:
        without = {key: value for key, value in row.items() if key != name}
        places, columns = _read(spec, [row, {**row, name: None}, without])
        assert places == [0, 1, 2]
        vocabulary = Vocabulary().fit(spec, {column.name: [row.get(column.name)] for column in spec.inputs})
        assert np.isnan(vocabulary.encode(columns).column(name)[1:]).all()


@pytest.mark.parametrize("name", PRESETS)
def test_a_key_that_is_there_twice_needs_a_closer_look(name):
    spec = find_spec(name)
    row = example_row(spec)
    for column in spec.inputs:
        again = json.dumps({column.name: row.get(column.name)})[1:]
        assert _read(spec, [(json.dumps(row)[:-1] + "," + again).encode()])[0] == []


def test_a_price_that_is_sent_along_needs_a_closer_look():
    spec = find_spec("california")
    assert _read(spec, [{**example_row(spec), spec.target.name: 1.0}])[0] == []


@pytest.mark.parametrize("value", [[], {}, [1.0]])
@pytest.mark.parametrize("name", PRESETS)
def test_a_list_or_an_object_for_a_value_needs_a_closer_look(name, value):
    spec = find_spec(name)
    for column in spec.inputs:
        assert _read(spec, [{**example_row(spec), column.name: value}])[0] == []
