import datetime as dt
import os
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from appraise.datasets.presets import find_spec
from appraise.datasets.simulate import market_index, simulate_market
from appraise.datasets.simulate.geography import CITY_NAMES, Bay, Waves
from appraise.datasets.simulate.shocks import parse_shock
from appraise.datasets.simulate.streams import Streams
from appraise.errors import SettingsError


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    return simulate_market(20_000, seed=0)


def days(*dates: str) -> np.ndarray:
    return np.array(dates, dtype="datetime64[D]").astype(np.int64)


def test_columns_are_those_of_the_preset(market):
    assert market.columns == [column.name for column in find_spec("bayside").columns]


def test_values_are_those_of_real_sales(market):
    assert market["sale_id"].n_unique() == 20_000
    assert market["sale_date"].is_sorted()
    assert market["sale_date"].min() >= dt.date(2018, 1, 1)
    assert market["sale_date"].max() <= dt.date(2022, 12, 31)
    assert set(market["city"]) == set(CITY_NAMES)
    assert market["zip_code"].str.contains(r"^00[1-4]\d\d$").all()
    assert market.group_by("zip_code").agg(pl.col("city").n_unique())["city"].max() == 1
    assert market["condition"].is_between(1, 5).all()
    assert (market["year_built"] <= market["sale_date"].dt.year()).all()
    assert market["price"].min() > 20_000
    assert 300_000 < market["price"].median() < 700_000


def test_flats_have_no_lot_and_some_years_are_missing(market):
    flats = market["home_type"] == "flat"
    assert market.filter(flats)["lot_area"].null_count() == flats.sum()
    assert market.filter(~flats)["lot_area"].null_count() == 0
    assert 0.02 < market["year_built"].null_count() / market.height < 0.06
    assert sum(market.null_count().row(0)) == market["lot_area"].null_count() + market["year_built"].null_count()


def test_noise_is_about_a_tenth_and_depends_on_the_home(market):
    noise = market.with_columns(noise=(pl.col("price") / pl.col("true_price")).log())
    deviation = noise["noise"].std()
    assert 0.08 < deviation < 0.10
    assert abs(noise["noise"].mean()) < 0.003
    old = noise.filter((pl.col("year_built") < 1930) & (pl.col("living_area") > 180))["noise"].std()
    young = noise.filter((pl.col("year_built") > 2010) & (pl.col("living_area") < 100))["noise"].std()
    assert old > 1.4 * young


def test_the_last_year_moves_by_a_tenth_or_more():
    index = market_index(days("2018-01-01", "2019-01-01", "2022-01-01", "2023-01-01"))
    assert index[1] - index[0] > 0.07
    assert index[3] - index[2] >= 0.10


def test_the_index_goes_on_outside_its_calendar():
    outside = market_index(days("1990-01-01", "1991-01-01", "2030-01-01", "2031-01-01"))
    assert np.isfinite(outside).all()
    assert outside[3] > outside[2]


def test_prices_follow_the_index(market):
    yearly = market.group_by(pl.col("sale_date").dt.year()).agg(pl.col("true_price").median()).sort("sale_date")
    assert yearly["true_price"].is_sorted()


def test_the_worth_of_a_place_varies_smoothly():
    rng = np.random.default_rng(0)
    east, north = rng.uniform(-50, 50, (2, 4_000))
    field = Waves.draw(rng, scale=4.0, deviation=0.1)
    here, near, far = (field.at(east + step, north) for step in (0.0, 0.5, 20.0))
    assert 0.08 < here.std() < 0.12
    assert np.corrcoef(here, near)[0, 1] > 0.98
    assert abs(np.corrcoef(here, far)[0, 1]) < 0.5
    places = Bay(0).settle(Streams(0), 4_000)
    assert (Bay(0).value(places) - Bay(1).value(places)).std() > 0.15


def test_attributes_are_worth_what_one_expects(market):
    flats = market.filter(pl.col("home_type") == "flat")
    assert pl.DataFrame(flats).select(pl.corr(pl.col("living_area").log(), pl.col("price").log())).item() > 0.5
    with_view = market.filter("view")["true_price"].median()
    assert with_view > 1.05 * market.filter(~pl.col("view"))["true_price"].median()


def test_same_arguments_same_table_to_the_bit(market):
    assert simulate_market(20_000, seed=0).equals(market)
    assert not simulate_market(20_000, seed=1).equals(market)


def test_threads_change_nothing(tmp_path):
    code = (
        "import sys; from appraise.datasets.simulate import simulate_market; "
        "simulate_market(3000, seed=5).write_parquet(sys.argv[1])"
    )
    for threads in ("1", "4"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / threads)], env=environment, check=True)
    assert pl.read_parquet(tmp_path / "1").equals(pl.read_parquet(tmp_path / "4"))


def test_other_sales_of_the_same_bay_cost_the_same(market):
    other = simulate_market(20_000, seed=1)
    mine, theirs = (
        each.group_by("zip_code").agg(pl.col("true_price").log().mean(), pl.len()).filter(pl.col("len") > 100)
        for each in (market, other)
    )
    both = mine.join(theirs, on="zip_code")
    assert both.select(pl.corr("true_price", "true_price_right")).item() > 0.95


def test_another_bay_is_another_place(market):
    assert not simulate_market(20_000, seed=0, bay=1)["true_price"].equals(market["true_price"])


def test_a_hundred_thousand_sales_take_a_few_seconds():
    start = time.process_time()
    assert simulate_market(100_000, seed=3).height == 100_000
    assert time.process_time() - start < 3.0  # a million in less than 30 s


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_sales": 0, "seed": 0}, "0 sales were asked for"),
        ({"n_sales": 1, "seed": -1}, "the seed is -1"),
        ({"n_sales": 1, "seed": 0, "start": dt.date(2023, 1, 1)}, "before it starts"),
    ],
)
def test_impossible_requests_are_refused(arguments, message):
    with pytest.raises(SettingsError, match=message) as caught:
        simulate_market(**arguments)
    assert caught.value.hint


def test_one_sale_on_one_day_is_a_market():
    day = dt.date(2020, 5, 4)
    assert simulate_market(1, seed=0, start=day, end=day)["sale_date"].to_list() == [day]


DAY = dt.date(2022, 9, 1)


def shocked(text: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sales from the shock's day on, without and with it, after checking that those before are the same."""
    calm = simulate_market(6_000, seed=4)
    changed = simulate_market(6_000, seed=4, shocks=[parse_shock(text)])
    before = pl.col("sale_date") < DAY
    assert changed.filter(before).equals(calm.filter(before))
    return calm.filter(~before), changed.filter(~before)


def test_a_level_shock_moves_every_price():
    calm, changed = shocked("level:2022-09-01:-15%")
    assert np.allclose(changed["true_price"] / calm["true_price"], 0.85)
    assert np.allclose(changed["price"] / calm["price"], 0.85, atol=0.002)


def test_a_regional_shock_moves_one_city():
    calm, changed = shocked("region:2022-09-01:St. Anne:+12%")
    ratio = changed["true_price"] / calm["true_price"]
    there = calm["city"] == "St. Anne"
    assert np.allclose(ratio.filter(there), 1.12)
    assert (ratio.filter(~there) == 1).all()


def test_a_mix_shock_brings_more_flats():
    calm, changed = shocked("mix:2022-09-01:flat:+30%")
    gain = (changed["home_type"] == "flat").mean() - (calm["home_type"] == "flat").mean()
    assert 0.25 < gain < 0.35


def test_a_broken_column_is_recorded_wrongly_and_the_price_stays():
    calm, changed = shocked("broken:2022-09-01:living_area:x10.764")
    assert np.allclose(changed["living_area"], calm["living_area"] * 10.764, atol=0.01)
    assert changed["true_price"].equals(calm["true_price"])
    _, zeros = shocked("broken:2022-09-01:bedrooms:x0")
    assert (zeros["bedrooms"] == 0).all()
    assert zeros.schema == calm.schema


def test_a_missing_shock_loses_values():
    calm, changed = shocked("missing:2022-09-01:condition:30%")
    assert calm["condition"].null_count() == 0
    assert 0.2 < changed["condition"].null_count() / changed.height < 0.4
