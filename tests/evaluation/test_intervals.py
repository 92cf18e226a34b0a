from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from appraise.errors import DataError
from appraise.evaluation.intervals import MIN_JUDGED_ROWS, coverage, level_key


def test_ends_count_as_covered_and_width_is_averaged() -> None:
    one = coverage([1.0, 2.0, 3.0, 4.0], [1.0, 2.5, 0.0, 0.0], [1.0, 3.0, 3.0, 5.0], level=0.9)
    assert one.observed == 0.75
    assert one.mean_width == pytest.approx((0.0 + 0.5 + 3.0 + 5.0) / 4)
    assert one.rows == 4


def test_band_holds_the_coverage_of_honest_intervals_and_not_that_of_narrow_ones() -> None:
    errors = np.random.default_rng(0).standard_normal(5000)
    honest = coverage(errors, np.full(5000, -1.645), np.full(5000, 1.645), level=0.9)
    narrow = coverage(errors, np.full(5000, -1.4), np.full(5000, 1.4), level=0.9)
    assert honest.within_chance
    assert not narrow.within_chance
    assert honest.chance_high - honest.chance_low == pytest.approx(2 * 1.96 * math.sqrt(0.9 * 0.1 / 5000), rel=0.1)


@pytest.mark.parametrize("rows", [1, 2, 5, 10, 199, 200, 4128, 1_000_000])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.995])
def test_band_is_the_binomial_one(rows: int, level: float) -> None:
    ends = np.zeros(rows)
    band = coverage(ends, ends, ends, level=level)
    low, high = binom.interval(0.95, rows, level)
    assert (band.chance_low * rows, band.chance_high * rows) == pytest.approx((low, high))


def test_small_groups_are_not_judged() -> None:
    ends = np.zeros(MIN_JUDGED_ROWS)
    assert coverage(ends, ends, ends, level=0.8).judged
    assert not coverage(ends[1:], ends[1:], ends[1:], level=0.8).judged


def test_infinite_intervals_cover_and_are_infinitely_wide() -> None:
    one = coverage([1.0], [-math.inf], [math.inf], level=0.95)
    assert one.observed == 1.0
    assert one.mean_width == math.inf


@pytest.mark.parametrize(
    ("actual", "lower", "upper", "level", "error", "sentence"),
    [
        ([], [], [], 0.9, DataError, "no rows"),
        ([1.0], [math.nan], [1.0], 0.9, DataError, "1 of 1 rows lack"),
        ([1.0], [2.0], [1.0], 0.9, ValueError, "end below their start"),
        ([1.0], [0.0, 0.0], [1.0], 0.9, ValueError, "shapes"),
        ([1.0], [0.0], [1.0], 90.0, ValueError, "between 0 and 1"),
    ],
)
def test_intervals_that_make_no_sense_are_refused(actual, lower, upper, level, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        coverage(actual, lower, upper, level=level)


@pytest.mark.parametrize(
    ("level", "key"), [(0.8, "0.80"), (0.9, "0.90"), (0.95, "0.95"), (0.995, "0.995"), (1 - 0.1, "0.90")]
)
def test_levels_are_spelt_as_the_json_spells_them(level: float, key: str) -> None:
    assert level_key(level) == key
