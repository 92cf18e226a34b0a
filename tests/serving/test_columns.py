"""What is accepted column by column is what the checker of rows accepts, and is valued as it would be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appraise.datasets.presets import find_spec
from appraise.features.vocabulary import Vocabulary
from appraise.serving.columns import ColumnChecker
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


@pytest.mark.parametrize("name", PRESETS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_row_is_accepted_that_the_checker_of_rows_refuses(name, data):
    spec = find_spec(name)
    names = [column.name for column in spec.inputs]
    changes = data.draw(
        st.lists(st.dictionaries(st.sampled_from([*names, "unknown"]), VALUES, max_size=2), min_size=1, max_size=4)
    )
    rows = [{**example_row(spec), **change} for change in changes]
    accepted = ColumnChecker(spec).accepted(rows)
    if accepted is None:
        return
    assert not RowChecker(spec).problems(rows)
    vocabulary = Vocabulary().fit(spec, {key: [row.get(key) for row in rows] for key in names})
    by_row = vocabulary.encode_rows(rows).values
    assert np.array_equal(vocabulary.encode(accepted).values, by_row, equal_nan=True)


@pytest.mark.parametrize("name", PRESETS)
def test_rows_as_most_are_are_accepted(name):
    spec = find_spec(name)
    rows = [example_row(spec) for _ in range(3)]
    accepted = ColumnChecker(spec).accepted(rows)
    assert (accepted is not None) or spec.rules
    if accepted is not None:
        assert len(rows_of({key: list(values) for key, values in accepted.items()})) == 3


def test_a_price_that_is_sent_along_needs_a_closer_look():
    spec = find_spec("california")
    assert ColumnChecker(spec).accepted([{**example_row(spec), spec.target.name: 1.0}]) is None


@pytest.mark.parametrize("value", [[], {}, [1.0]])
@pytest.mark.parametrize("name", PRESETS)
def test_a_list_or_an_object_for_a_value_needs_a_closer_look(name, value):
    spec = find_spec(name)
    for column in spec.inputs:
        assert ColumnChecker(spec).accepted([{**example_row(spec), column.name: value}]) is None
