import datetime as dt

import numpy as np
import polars as pl
import pytest

from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import (
    DEFAULT_ROWS,
    simulate_garden,
    simulate_homes,
    simulate_housets,
    simulate_table,
)
from appraise.errors import SettingsError


@pytest.mark.parametrize("name", ["bayside", "homes", "garden", "housets"])
def test_every_simulated_preset_has_its_columns(name):
    spec = find_spec(name)
    frame = simulate_table(name, rows=300)
    assert sorted(frame.columns) == sorted(column.header for column in spec.columns)
    assert simulate_table(name, rows=300).equals(frame)
    assert not simulate_table(name, rows=300, seed=1).equals(frame)
    for column in spec.columns:
        values = frame[column.header]
        assert column.optional or not values.is_null().any()
        if column.levels is not None:
            assert set(values) <= set(column.levels)
        if column.minimum is not None:
            assert values.min() >= column.minimum
        if column.maximum is not None:
            assert values.max() <= column.maximum


@pytest.mark.parametrize("simulate", [simulate_homes, simulate_garden])
def test_prices_scatter_around_the_truth(simulate):
    table = simulate(4_000, seed=0)
    noise = np.log(table.frame["price"].to_numpy() / table.true_price)
    assert table.frame.height == len(table.true_price) == 4_000
    assert abs(np.median(noise)) < 0.01
    assert 0.06 < noise.std() < 0.13


def test_bigger_homes_cost_more():
    homes = simulate_homes(4_000, seed=0).frame
    assert homes.select(pl.corr(pl.col("square_feet").log(), pl.col("price").log())).item() > 0.6
    garden = simulate_garden(4_000, seed=0).frame
    assert garden.select(pl.corr(pl.col("size").log(), pl.col("price").log())).item() > 0.8


def test_housets_is_monthly_by_zip_code():
    table = simulate_housets(30, seed=0)
    frame = table.frame
    assert frame.shape == (30 * 142, 39)
    assert frame.columns[:3] == ["date", "median_sale_price", "median_list_price"]
    assert frame.columns[-2:] == ["price", "city_full"]
    assert frame["date"].min() == dt.date(2012, 3, 31)
    assert frame["date"].max() == dt.date(2023, 12, 31)
    assert (frame["date"] == frame["date"].dt.month_end()).all()
    assert frame.group_by("zipcode").len()["len"].unique().to_list() == [142]
    assert frame.group_by("zipcode").agg(pl.col("city_full").n_unique())["city_full"].max() == 1
    assert (frame.group_by("date").agg(pl.len())["len"] == 30).all()
    noise = np.log(frame["price"].to_numpy() / table.true_price)
    assert 0.02 < noise.std() < 0.04


def test_housets_prices_boom_after_the_training_years():
    frame = simulate_housets(60, seed=0).frame
    median = dict(frame.group_by(pl.col("date").dt.year()).agg(pl.col("price").median()).iter_rows())
    assert median[2022] > 1.2 * median[2019]


def test_housets_fills_up_to_whole_zip_codes():
    assert simulate_table("housets", rows=143).height == 284


def test_the_usual_sizes():
    assert DEFAULT_ROWS == {"bayside": 20_000, "homes": 5_000, "garden": 3_000, "housets": 28_400}


@pytest.mark.parametrize("name", ["bayside", "homes", "garden", "housets"])
def test_no_rows_are_refused(name):
    with pytest.raises(SettingsError, match="asked for"):
        simulate_table(name, rows=0)


def test_an_unknown_simulator_is_named():
    with pytest.raises(SettingsError, match="no simulator 'baysde'") as caught:
        simulate_table("baysde")
    assert caught.value.hint == "did you mean 'bayside'?"
    with pytest.raises(SettingsError, match="california"):
        simulate_table("california")
