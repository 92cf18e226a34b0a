"""Ratios of sizes, and which columns are sizes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext
from appraise.features.ratios import MAX_COLUMNS, Ratios, rank_correlation


def _ratios(context: FitContext | None = None, **columns: list[float]) -> Ratios:
    table = Table(tuple(columns), np.array(list(columns.values())).T)
    return Ratios().fit(table, context or FitContext(np.arange(len(table), dtype=float)))


def test_each_pair_of_sizes_once() -> None:
    ratios = _ratios(rooms=[2.0, 3.0, 4.0], area=[50.0, 60.0, 70.0], land=[0.0, 500.0, 600.0])
    assert ratios.output_names_ == ("area_per_land", "area_per_rooms", "land_per_rooms")
    found = ratios.transform(Table(("land", "rooms", "area"), np.array([[400.0, 4.0, 80.0]])))
    np.testing.assert_allclose(found, [[0.2, 20.0, 100.0]])


def test_no_ratio_to_nothing() -> None:
    ratios = _ratios(a=[1.0, 2.0, 3.0], b=[1.0, 2.0, 3.0])
    asked = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [np.nan, 1.0], [1.0, np.nan], [1e300, 1e-300], [1.0, -0.0]])
    np.testing.assert_array_equal(
        ratios.transform(Table(("a", "b"), asked))[:, 0], [np.nan, np.nan, 0.0, np.nan, np.nan, np.nan, np.nan]
    )


@pytest.mark.parametrize("values", [
    [-1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 9.0], [5.0, 5.0, 5.0, 5.0], [0.0, 1.0, 1.0, 1.0], [np.nan] * 4,
], ids=["negative", "mostly zero", "constant", "two values", "missing"])  # fmt: skip
def test_what_is_no_size(values: list[float]) -> None:
    assert _ratios(a=values, b=[1.0, 2.0, 3.0, 4.0]).output_names_ == ()


def test_coordinates_dates_flags_and_codes_are_no_sizes() -> None:
    some = [1.0, 2.0, 3.0]
    context = FitContext(
        np.arange(3.0), latitude="a", longitude="b", sale_date="c", categories=("d",), booleans=("e",)
    )  # fmt: skip
    assert _ratios(context, a=some, b=some, c=some, d=some, e=some, f=some, g=some).output_names_ == ("f_per_g",)


def test_at_most_the_strongest_take_part() -> None:
    random = np.random.default_rng(0)
    target = np.arange(100.0)
    columns = {f"noise{i}": random.random(100).tolist() for i in range(8)}
    columns |= {f"size{i}": (target + 1 + i).tolist() for i in range(4)}
    ratios = _ratios(FitContext(target), **columns)
    assert len(ratios.input_names_) == MAX_COLUMNS
    assert {f"size{i}" for i in range(4)} < set(ratios.input_names_)


@pytest.mark.parametrize(("values", "expected"), [
    ([1.0, 2.0, 4.0, 8.0], 1.0), ([8.0, 4.0, 2.0, 1.0], -1.0), ([1.0, 1.0, 1.0, 1.0], 0.0),
    ([np.nan, np.nan, 1.0, 2.0], 0.0), ([np.nan, 3.0, 1.0, 2.0], -0.5),
])  # fmt: skip
def test_rank_correlation(values: list[float], expected: float) -> None:
    array: NDArray[np.float64] = np.array(values)
    assert rank_correlation(array, np.array([0.1, 0.2, 0.3, 50.0])) == pytest.approx(expected)
