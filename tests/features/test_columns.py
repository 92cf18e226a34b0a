"""Columns as they are, flags of what is missing, and the look-up of levels."""

import numpy as np
import pytest

from appraise.datasets.table import Table
from appraise.features.base import FitContext
from appraise.features.levels import LevelValues
from appraise.features.missing import MissingFlags
from appraise.features.numbers import Numbers

TABLE = Table(("area", "city", "sold", "lat"), np.array([[50.0, 1.0, 17000.0, -37.0], [np.nan, np.nan, np.nan, -38.0]]))
CONTEXT = FitContext(np.zeros(2), categories=("city",), sale_date="sold", latitude="lat")


def test_numbers_and_coordinates_stand_as_they_are() -> None:
    numbers = Numbers().fit(TABLE, CONTEXT)
    assert numbers.output_names_ == ("area", "lat")
    np.testing.assert_array_equal(numbers.transform(TABLE), [[50.0, -37.0], [np.nan, -38.0]])


def test_flags_are_for_columns_with_gaps_in_training() -> None:
    flags = MissingFlags().fit(TABLE, CONTEXT)
    assert flags.output_names_ == ("area_missing",)
    assert flags.transform(TABLE)[:, 0].tolist() == [0.0, 1.0]
    gap = Table(("area", "lat"), np.array([[1.0, np.nan]]))
    assert flags.transform(gap).tolist() == [[0.0]]


@pytest.mark.parametrize("levels", [[], [[]], [[5.0, 6.0]], [[5.0, 6.0], [], [7.0]]])
def test_levels_of_any_number_of_categories(levels: list[list[float]]) -> None:
    values = LevelValues.of([np.array(level) for level in levels], unseen=0.5)
    for code, fallback in ((np.nan, np.nan), (-1.0, 0.5), (0.0, 0.5), (1.0, 0.5), (2.0, 0.5)):
        found = values.of_codes(np.full((1, len(levels)), code))
        expected = [level[int(code)] if 0 <= code < len(level) else fallback for level in levels]
        np.testing.assert_array_equal(found, [expected])
