"""The predictor: one path, the same numbers however a row comes, and a pool that learns while the trees stay."""

import dataclasses
import datetime as dt
import itertools
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.serving.bundles import save
from tests.serving.fits import fit

import appraise
from appraise.datasets.frames import input_columns, prices
from appraise.datasets.simulate import simulate_table
from appraise.errors import BundleError, RowError
from appraise.models.catalogue import model_state
from appraise.models.level import MarketLevel
from appraise.serving.predictor import Estimates, Predictor
from appraise.serving.threads import use_threads


@pytest.fixture(scope="module")
def sales() -> pl.DataFrame:
    """Sales of the made-up market in the order of their days; the newest 300 are known to no model."""
    return simulate_table("bayside", rows=1300).sort("sale_date", maintain_order=True)


@pytest.fixture(scope="module")
def bayside(sales: pl.DataFrame) -> Predictor:
    """Dated, with places, and with a level, whether validation found that it helps or not."""
    predictor = fit("bayside", sales, train=750, validation=250)
    return dataclasses.replace(predictor, level=MarketLevel.empty(window=30, lag=1))


@pytest.fixture(scope="module")
def newer(sales: pl.DataFrame) -> pl.DataFrame:
    return sales[1000:]


@pytest.fixture(scope="module")
def home_sales() -> pl.DataFrame:
    return simulate_table("homes", rows=1400)


@pytest.fixture(scope="module")
def homes(home_sales: pl.DataFrame) -> Predictor:
    return fit("homes", home_sales, train=400, validation=200)


def columns_of(predictor: Predictor, frame: pl.DataFrame) -> dict[str, Any]:
    return input_columns(predictor.spec, frame)


def rows_of(predictor: Predictor, frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.select(column.name for column in predictor.spec.inputs).to_dicts()


def live(predictor: Predictor, frame: pl.DataFrame) -> Predictor:
    return predictor.with_sales(columns_of(predictor, frame), prices(predictor.spec, frame))


def numbers(estimates: Estimates) -> list[list[float]]:
    parts = (estimates.estimate, estimates.lower, estimates.upper, estimates.fsd, estimates.confidence)
    return [part.tolist() for part in parts]


def on_day(frame: pl.DataFrame, day: dt.date) -> pl.DataFrame:
    return frame.with_columns(pl.lit(day).alias("sale_date"))


# One path


@pytest.mark.parametrize("market", ["bayside", "homes"])
def test_rows_columns_and_single_rows_give_equal_numbers(market, request, sales, home_sales):
    predictor = request.getfixturevalue(market)
    # More than two pieces, which several threads value.
    frame = (sales if market == "bayside" else home_sales)[-600:]
    rows = rows_of(predictor, frame)
    together = predictor.predict(rows)
    assert len(together) == 600
    assert numbers(predictor.predict_columns(columns_of(predictor, frame))) == numbers(together)
    singles = [predictor.predict([row]) for row in rows[:40] + rows[250:262] + rows[-3:]]
    chosen = [*range(40), *range(250, 262), *range(597, 600)]
    for one, position in zip(singles, chosen, strict=True):
        assert [part[0] for part in numbers(one)] == [part[position] for part in numbers(together)]
        assert one.warnings[0] == together.warnings[position]


def test_many_rows_are_valued_near_each_other_and_come_back_in_their_order(bayside, sales, monkeypatch):
    many = sales.sample(5000, with_replacement=True, shuffle=True, seed=3)
    columns = columns_of(bayside, many)
    ordered = bayside.predict_columns(columns)
    monkeypatch.setattr("appraise.serving.predictor._MANY", 10_000)
    plain = bayside.predict_columns(columns)
    assert np.array_equal(numbers(ordered), numbers(plain))
    assert ordered.warnings == plain.warnings


@pytest.mark.parametrize("threads", [1, 3])
def test_however_many_threads_the_numbers_are_the_same(bayside, sales, threads):
    # More than two of the larger pieces of a process with one thread.
    many = sales.sample(2500, with_replacement=True, shuffle=True, seed=4)
    columns = columns_of(bayside, many)
    expected = bayside.predict_columns(columns)
    use_threads(threads)
    try:
        found = bayside.predict_columns(columns)
    finally:
        use_threads(os.cpu_count() or 1)
    assert numbers(found) == numbers(expected)
    assert found.warnings == expected.warnings


def test_a_row_may_leave_out_what_is_missing_and_write_its_date_as_text(bayside, newer):
    (row,) = rows_of(bayside, newer[:1])
    shorter = {name: value for name, value in row.items() if name != "lot_area"}
    as_text = {**row, "lot_area": None, "sale_date": row["sale_date"].isoformat()}
    assert numbers(bayside.predict([shorter])) == numbers(bayside.predict([as_text]))


def test_no_rows_have_no_estimates(bayside, homes):
    for predictor in (bayside, homes):
        assert numbers(predictor.predict([])) == [[]] * 5
        assert predictor.predict([]).warnings == ()


def test_rows_that_are_refused_are_all_named_and_none_is_valued(homes, home_sales):
    rows = rows_of(homes, home_sales[:3])
    rows[0]["square_feet"] = math.nan
    rows[2]["bedrooms"] = "three"
    rows[2]["bathroms"] = 2
    with pytest.raises(RowError) as caught:
        homes.predict(rows)
    found = [(problem.row, problem.field) for problem in caught.value.problems]
    assert found == [(0, "square_feet"), (2, "bedrooms"), (2, "bathroms")]
    assert caught.value.hint


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 90, math.nan])
def test_a_level_that_is_none_is_refused(homes, home_sales, level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        homes.predict(rows_of(homes, home_sales[:1]), level=level)


def test_an_undated_row_is_valued_as_of_today(bayside, newer):
    (row,) = rows_of(bayside, newer[:1])
    today = dt.datetime.now(tz=dt.UTC).date()
    undated = bayside.predict([{**row, "sale_date": None}])
    assert numbers(undated) in [
        numbers(bayside.predict([{**row, "sale_date": day}])) for day in (today, today + dt.timedelta(days=1))
    ]
    assert any("sale_date" in warning for warning in undated.warnings[0])


# Intervals and warnings


def test_a_higher_level_is_wider_and_widths_vary(homes, home_sales):
    rows = rows_of(homes, home_sales[600:800])
    half, ninety = homes.predict(rows, level=0.5), homes.predict(rows, level=0.9)
    assert half.estimate.tolist() == ninety.estimate.tolist()
    assert (ninety.lower < half.lower).all()
    assert (half.upper < ninety.upper).all()
    relative = (ninety.upper - ninety.lower) / ninety.estimate
    assert (relative > 0).all()
    assert relative.max() > 1.2 * relative.min()


def test_intervals_and_forecast_deviations_are_true_on_rows_that_no_model_saw(homes, home_sales):
    unseen = home_sales[600:]
    actual = prices(homes.spec, unseen)
    estimates = homes.predict_columns(columns_of(homes, unseen), level=0.9)
    inside = (estimates.lower <= actual) & (actual <= estimates.upper)
    assert inside.mean() == pytest.approx(0.90, abs=0.06)
    within = np.abs(actual - estimates.estimate) <= estimates.fsd * estimates.estimate
    assert within.mean() == pytest.approx(0.68, abs=0.08)
    assert estimates.confidence == pytest.approx(1 - estimates.fsd)


def test_what_lies_outside_training_is_named_with_the_range(bayside, newer):
    (row,) = rows_of(bayside, newer[:1])
    row["sale_date"] = dt.date(2021, 6, 1)
    assert bayside.predict([row]).warnings == ((),)
    (warnings,) = bayside.predict([{**row, "living_area": 15_000.0, "zip_code": "99999", "lot_area": None}]).warnings
    low, high = bayside.ranges[bayside.vocabulary.names_.index("living_area")]
    assert set(warnings) == {
        f"living_area 15000 lies outside the values seen in training, {low:g} to {high:g}",
        "this zip_code was not among the sales that the model learned from",
        "estimated with zip_code, living_area unlike any sale: the interval is as wide as errors without that were",
    }


def test_a_warning_is_of_its_own_row(homes, home_sales):
    rows = rows_of(homes, home_sales[:3])
    rows[1]["square_feet"] = 49_000.0
    warnings = homes.predict(rows).warnings
    assert [len(entries) for entries in warnings] == [0, 2, 0]


# New sales


def test_new_sales_change_comparables_and_neither_the_original_nor_the_trees(bayside, newer):
    rows = rows_of(bayside, on_day(newer[-50:], dt.date(2024, 1, 1)))
    before = numbers(bayside.predict(rows))
    known = live(bayside, newer)
    assert numbers(bayside.predict(rows)) == before
    assert numbers(known.predict(rows)) != before
    assert known.model is bayside.model
    ours, theirs = model_state(known.model), model_state(bayside.model)
    assert ours.data == theirs.data
    assert all(np.array_equal(array, theirs.arrays[name]) for name, array in ours.arrays.items())
    nearest = known.comparables(rows[0], count=1)[0]
    # The home itself was sold meanwhile.
    assert nearest.price == newer["price"][-50]
    assert nearest.date == newer["sale_date"][-50]
    assert nearest.difference < bayside.comparables(rows[0], count=1)[0].difference


def test_undated_sales_are_known_at_once(homes, home_sales):
    row = rows_of(homes, home_sales[1000:1001])[0]
    known = live(homes, home_sales[1000:1001])
    assert homes.comparables(row, count=1)[0].difference > 0
    nearest = known.comparables(row, count=1)[0]
    assert nearest.difference == pytest.approx(0, abs=1e-6)
    assert nearest.price == home_sales["price"][1000]
    assert nearest.date is None
    assert nearest.attributes == row


@pytest.mark.parametrize("lag", [1, 7])
def test_an_estimate_knows_no_sale_of_its_own_day_or_within_the_recording_lag(sales, bayside, newer, lag):
    if lag != 1:
        bayside = fit("bayside", sales, train=750, validation=250, recording_lag_days=lag)
        bayside = dataclasses.replace(bayside, level=MarketLevel.empty(window=30, lag=lag))
    day = newer["sale_date"][150]
    unknown = pl.col("sale_date") > day - dt.timedelta(days=lag)
    changed = newer.with_columns(pl.when(unknown).then(pl.col("price") * 3).otherwise(pl.col("price")).alias("price"))
    asked = rows_of(bayside, newer.filter(pl.col("sale_date") <= day))
    ours, theirs = live(bayside, newer), live(bayside, changed)
    assert numbers(ours.predict(asked)) == numbers(theirs.predict(asked))
    # Sales that were added later leave what is said of an earlier day where it is, too.
    as_of_then = live(bayside, newer.filter(~unknown))
    today = rows_of(bayside, on_day(newer[:30], day))
    assert as_of_then.predict(today).estimate.tolist() == ours.predict(today).estimate.tolist()
    later = rows_of(bayside, on_day(newer[:30], newer["sale_date"][-1] + dt.timedelta(days=30)))
    assert numbers(ours.predict(later)) != numbers(theirs.predict(later))


def test_a_market_that_rose_raises_the_level_and_the_estimates(bayside, newer):
    risen = newer.with_columns(pl.col("price") * 1.5)
    late = rows_of(bayside, on_day(newer[:100], newer["sale_date"][-1] + dt.timedelta(days=2)))
    ratio = live(bayside, risen).predict(late).estimate / live(bayside, newer).predict(late).estimate
    assert np.median(ratio) > 1.15


def test_sales_that_come_in_two_parts_are_those_that_come_at_once(homes, home_sales):
    asked = rows_of(homes, home_sales[:30])
    parts = live(live(homes, home_sales[600:700]), home_sales[700:800])
    assert parts.predict(asked).estimate == pytest.approx(live(homes, home_sales[600:800]).predict(asked).estimate)


def test_intervals_are_wider_once_no_sale_was_heard_of_for_long(bayside, newer):
    last = dt.date(1970, 1, 1) + dt.timedelta(days=bayside.last_sale)
    fresh, stale = (
        bayside.predict(rows_of(bayside, on_day(newer[:50], last + dt.timedelta(days=days)))) for days in (30, 31)
    )
    shares = (stale.upper / stale.lower) / (fresh.upper / fresh.lower)
    # A home without sales around has an interval that is wider than staleness would make it.
    ordinary = np.array([not any("known sale" in entry for entry in entries) for entries in stale.warnings])
    assert ordinary.mean() > 0.9
    assert (shares[ordinary] > 1).all()
    assert (shares >= 1).all()


# Bundles


@pytest.fixture(scope="module")
def bundle(bayside: Predictor, newer: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose pool and level know the new sales."""
    return save(live(bayside, newer), tmp_path_factory.mktemp("bundles") / "bayside")


def test_a_bundle_answers_equal_to_the_bit(bundle, bayside, newer):
    loaded = appraise.Predictor.load(bundle)
    before = live(bayside, newer)
    rows = rows_of(bayside, newer)
    rows[0]["zip_code"] = "99999"
    assert numbers(loaded.predict(rows, level=0.8)) == numbers(before.predict(rows, level=0.8))
    assert loaded.predict(rows).warnings == before.predict(rows).warnings
    assert loaded.comparables(rows[5]) == before.comparables(rows[5])
    assert numbers(live(loaded, newer).predict(rows)) == numbers(live(before, newer).predict(rows))


def test_a_bundle_of_undated_data_answers_equal_to_the_bit(homes, home_sales, tmp_path):
    loaded = Predictor.load(save(homes, tmp_path / "homes"))
    rows = rows_of(homes, home_sales[:50])
    assert numbers(loaded.predict(rows)) == numbers(homes.predict(rows))
    assert math.isnan(loaded.last_sale)


def test_the_day_of_the_newest_sale_comes_back_even_when_it_is_day_zero(bayside, tmp_path):
    loaded = Predictor.load(save(dataclasses.replace(bayside, last_sale=0.0), tmp_path / "old"))
    assert loaded.last_sale == 0.0


def test_a_bundle_with_any_file_cut_short_or_one_bit_turned_is_refused(bundle, tmp_path):
    names = sorted(path.name for path in bundle.iterdir())
    assert {"manifest.json", "model.npz", "pool.npz", "level.npz"} <= set(names)
    for number, (name, damage) in enumerate(itertools.product(names, ("cut", "bit", "gone"))):
        copy = shutil.copytree(bundle, tmp_path / str(number))
        data = bytearray((copy / name).read_bytes())
        match damage:
            case "cut":
                data = data[: len(data) // 2]
            case "bit":
                data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        if damage == "gone":
            (copy / name).unlink()
        with pytest.raises(BundleError) as caught:
            Predictor.load(copy)
        assert caught.value.hint, (name, damage)
        shutil.rmtree(copy)


def test_a_bundle_that_lacks_a_part_is_refused(bayside, tmp_path):
    folder = tmp_path / "whole"
    save(bayside, folder)

    class WithoutIntervals:
        """A predictor of which a part is left out."""

        def __getattr__(self, name: str) -> Any:
            return getattr(bayside, name)

        def parts(self) -> dict[str, Any]:
            return {name: part for name, part in bayside.parts().items() if name != "intervals"}

    with pytest.raises(BundleError, match="has no intervals"):
        Predictor.load(save(WithoutIntervals(), tmp_path / "less"))


def test_no_bundle_is_an_error_with_a_hint(tmp_path):
    with pytest.raises(BundleError, match="no model bundle") as caught:
        Predictor.load(tmp_path / "nowhere")
    assert caught.value.hint
