"""Homes far from every sale or of which little is known: wide intervals, a low grade, and the reason in words."""

import dataclasses
import datetime as dt
import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.serving.bundles import save
from tests.serving.fits import fit

from appraise.datasets.frames import input_columns, prices
from appraise.datasets.simulate import simulate_table
from appraise.serving.estimates import Estimates
from appraise.serving.predictor import Predictor

DAY = dt.date(2024, 6, 1)


@pytest.fixture(scope="module")
def sales() -> pl.DataFrame:
    return simulate_table("bayside", rows=2600).sort("sale_date", maintain_order=True)


@pytest.fixture(scope="module")
def bayside(sales: pl.DataFrame) -> Predictor:
    return fit("bayside", sales, train=1600, validation=400)


@pytest.fixture(scope="module")
def before(bayside: Predictor) -> Predictor:
    """The same, with the intervals of ordinary homes for all."""
    return dataclasses.replace(bayside, support=None)


@pytest.fixture(scope="module")
def home(sales: pl.DataFrame, bayside: Predictor) -> dict[str, Any]:
    """An ordinary home in the middle of the market."""
    names = [column.name for column in bayside.spec.inputs]
    middle = sales.with_columns(
        away=(pl.col("latitude") - pl.col("latitude").median()).abs()
        + (pl.col("longitude") - pl.col("longitude").median()).abs()
    ).sort("away")
    row = middle.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in names)).row(0, named=True)
    return {name: row[name] for name in names}


def rows_of(predictor: Predictor, frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.select(column.name for column in predictor.spec.inputs).to_dicts()


def optional(predictor: Predictor) -> list[str]:
    return [column.name for column in predictor.spec.inputs if column.optional]


def numbers(estimates: Estimates) -> list[list[float]]:
    return [part.tolist() for part in (estimates.estimate, estimates.lower, estimates.upper, estimates.fsd)]


def width(estimates: Estimates) -> float:
    return float(estimates.upper[0] - estimates.lower[0])


def away(home: dict[str, Any], km: float) -> dict[str, Any]:
    """The home so many kilometres to the west, over the ocean."""
    degrees = km / (111.2 * np.cos(np.radians(home["latitude"])))
    return {**home, "longitude": home["longitude"] - degrees}


def reasons(warnings: tuple[str, ...]) -> list[str]:
    """What is said of a place or of inputs, beside values outside their range."""
    return [entry for entry in warnings if "known sale" in entry or entry.startswith("estimated with")]


def test_an_ordinary_home_is_valued_as_before_to_the_bit(bayside, before, sales):
    assert bayside.support is not None
    checked = dt.date(1970, 1, 1) + dt.timedelta(days=int(bayside.last_sale + bayside.support.horizon))
    newer = sales[2000:].filter(pl.col("sale_date") <= checked)
    assert newer.height > 200
    now, then = (one.predict_columns(input_columns(one.spec, newer)) for one in (bayside, before))
    assert now.estimate.tolist() == then.estimate.tolist()
    ordinary = [not reasons(entries) for entries in now.warnings]
    assert np.mean(ordinary) > 0.9
    assert np.array(numbers(now))[:, ordinary].tolist() == np.array(numbers(then))[:, ordinary].tolist()
    assert "none" not in np.array(now.grades)[ordinary]


def test_a_place_in_the_ocean_gets_no_confidence_and_the_reason(bayside, before, home, sales):
    row = away(home, 385.0)
    found, then = bayside.predict([row]), before.predict([row])
    assert found.estimate.tolist() == then.estimate.tolist()
    assert then.confidence[0] > 0.5
    assert (found.confidence.tolist(), found.grades) == ([0.0], ("none",))
    (reason,) = reasons(found.warnings[0])
    assert reason.startswith("the nearest known sale is 3")
    assert "km away, of 20" in reason
    eighth, checked = (float(text) for text in re.findall(r"the eighth (?:up to )?([0-9]+) km", reason))
    assert eighth > 300 > checked
    assert "; estimates were checked with the eighth up to " in reason
    assert reason.endswith("do not use this estimate")
    assert found.warnings[0][0] == reason
    known = prices(bayside.spec, sales[:2000])
    assert ((found.lower[0] <= known) & (known <= found.upper[0])).mean() >= 0.89
    wide = bayside.predict([row], level=0.99)
    assert ((wide.lower[0] <= known) & (known <= wide.upper[0])).mean() >= 0.98


def test_the_further_away_the_less_is_claimed(bayside, home):
    found = [bayside.predict([away(home, km)]) for km in (0.0, 12.0, 385.0, 2000.0)]
    assert [len(reasons(one.warnings[0])) for one in found] == [0, 1, 1, 1]
    assert found[0].confidence > found[1].confidence > found[2].confidence == found[3].confidence == 0.0


def test_an_area_that_no_sale_was_seen_of_is_covered_better(sales):
    held = pl.col("latitude") > sales["latitude"].quantile(0.85)
    predictor = fit("bayside", sales[:2000].filter(~held), train=1350, validation=340)
    area = sales[2000:].filter(held)
    assert area.height > 60
    actual = prices(predictor.spec, area)
    covered = {}
    for name, one in (("now", predictor), ("then", dataclasses.replace(predictor, support=None))):
        estimates = one.predict_columns(input_columns(one.spec, area))
        inside = (estimates.lower <= actual) & (actual <= estimates.upper)
        told = np.array([len(reasons(entries)) > 0 for entries in estimates.warnings])
        covered[name] = inside
        if name == "now":
            marked = told
    assert marked.mean() > 0.5
    assert covered["then"][marked].mean() < 0.85
    assert covered["now"][marked].mean() >= 0.90
    assert covered["now"][~marked].tolist() == covered["then"][~marked].tolist()


def test_a_home_without_anything_that_may_be_left_out_is_less_sure(bayside, before, home):
    bare = {**home, **dict.fromkeys(optional(bayside))}
    found, then, full = bayside.predict([bare]), before.predict([bare]), bayside.predict([home])
    assert found.estimate.tolist() == then.estimate.tolist()
    assert found.fsd[0] > then.fsd[0]
    assert found.fsd[0] > full.fsd[0]
    (reason,) = reasons(found.warnings[0])
    assert reason.startswith("estimated without knowing ")
    assert reason.endswith(": the interval is as wide as errors without that were")


def test_levels_and_values_never_seen_all_at_once_leave_little_confidence(bayside, before, home):
    row = {
        **home,
        **dict.fromkeys(optional(bayside)),
        "zip_code": "00000",
        "city": "Atlantis",
        "living_area": 19_000.0,
        "bedrooms": 20,
    }
    found, then = bayside.predict([row]), before.predict([row])
    assert width(found) > 1.5 * width(then)
    assert found.fsd[0] > 1.5 * then.fsd[0]
    assert found.grades[0] in ("medium", "low", "none")
    assert sum("not among the sales that the model learned from" in entry for entry in found.warnings[0]) == 2
    (reason,) = reasons(found.warnings[0])
    assert "zip_code" in reason.partition(" and with ")[2]
    assert "zip_code" not in reason.partition(" and with ")[0]
    lost = away(row, 385.0)
    assert bayside.predict([lost]).grades == ("none",)


def test_a_value_that_is_usually_missing_and_is_missing_changes_nothing(bayside, before, home):
    assert bayside.support is not None
    usual = [name for name, often in zip(bayside.vocabulary.names_, bayside.support.usual, strict=True) if often]
    assert usual
    row = {**home, usual[0]: None}
    assert numbers(bayside.predict([row])) == numbers(before.predict([row]))
    assert bayside.predict([row]).warnings == ((),)


def test_a_row_before_every_known_sale_is_not_vouched_for(bayside, home, sales):
    found = bayside.predict([{**home, "sale_date": dt.date(1990, 1, 1)}])
    assert found.grades == ("none",)
    first = bayside.support is not None and found.warnings[0][0]
    assert first == "no sale is known before the row's date: do not use this estimate"
    assert f"the first of which is of {sales['sale_date'][0]}" in found.warnings[0][1]


def test_a_place_whose_sales_are_all_old_is_told_of_by_their_date(bayside, home):
    found = bayside.predict([{**home, "sale_date": dt.date(2100, 1, 1)}])
    assert found.grades == ("none",)
    (reason,) = reasons(found.warnings[0])
    assert reason.startswith("the newest known sale is of 20")
    assert reason.endswith("do not use this estimate")


@pytest.mark.parametrize(
    ("days", "grades", "end"),
    [
        (1, {"high", "medium"}, None),
        (400, {"medium"}, "the market may have moved since"),
        (900, {"low"}, "the market may have moved since"),
        (28 * 365, {"none"}, "do not use this estimate"),
    ],
)
def test_the_longer_no_sale_is_known_the_less_is_claimed_and_the_reason_is_their_age(bayside, home, days, grades, end):
    assert bayside.support is not None
    assert 30 < bayside.support.horizon < 400
    last = dt.date(1970, 1, 1) + dt.timedelta(days=int(bayside.last_sale))
    found = bayside.predict([{**home, "sale_date": last + dt.timedelta(days=days)}])
    assert found.grades[0] in grades
    said = [entry for entry in found.warnings[0] if not entry.startswith("sale_date")]
    if end is None:
        assert said == []
    else:
        (reason,) = said
        assert reason.startswith(
            f"the newest known sale is of {last}, {round(days / 30.4375)} months before this date;"
        )
        assert " months after the last sale" in reason
        assert reason.endswith(end)
        assert (found.warnings[0][0] == reason) is (end == "do not use this estimate")


def test_news_of_sales_makes_an_old_market_a_known_one(bayside, home, sales):
    row = {**home, "sale_date": dt.date(1970, 1, 1) + dt.timedelta(days=int(bayside.last_sale) + 900)}
    shifted = sales[:2000].with_columns(pl.col("sale_date") + pl.duration(days=890))
    known = bayside.with_sales(input_columns(bayside.spec, shifted), prices(bayside.spec, shifted))
    assert bayside.predict([row]).grades == ("low",)
    assert known.predict([row]).grades[0] in ("high", "medium")


@pytest.mark.parametrize("absurd", [{"bedrooms": 60}, {"lot_area": 10_000_000.0}, {"zip_code": "99999"}])
def test_a_home_with_a_value_unlike_any_sale_is_never_graded_high(bayside, before, home, absurd):
    row = {**home, **absurd}
    assert bayside.predict([home]).grades == before.predict([row]).grades == ("high",)
    assert bayside.predict([row]).grades[0] in ("medium", "low", "none")
    assert not any("without knowing" in entry for entry in bayside.predict([row]).warnings[0])


@pytest.fixture(scope="module")
def capped(sales: pl.DataFrame) -> tuple[Predictor, float]:
    """A market whose dearest tenth was recorded as one price."""
    cap = float(sales["price"].quantile(0.9))
    return fit("bayside", sales.with_columns(pl.col("price").clip(upper_bound=cap)), train=1600, validation=400), cap


def test_an_estimate_near_the_cap_of_prices_says_so_and_is_never_high(capped, bayside, sales, tmp_path):
    predictor, cap = capped
    dear = sales[2000:].filter(pl.col("price") > 1.2 * cap)
    found = predictor.predict(rows_of(predictor, dear))
    said = f"prices above {cap:,.0f} USD were recorded as that: the true price may be higher than the upper end"
    told = np.array([said in entries for entries in found.warnings])
    assert told.mean() > 0.9
    assert "high" not in np.array(found.grades)[told]
    kept = Predictor.load(save(predictor, tmp_path / "capped"))
    assert kept.predict(rows_of(predictor, dear)).warnings == found.warnings
    cheap = predictor.predict(rows_of(predictor, sales[2000:].filter(pl.col("price") < 0.5 * cap)))
    assert not any(said in entries for entries in cheap.warnings)
    assert "high" in cheap.grades
    assert not any(
        "recorded as that" in text for entries in bayside.predict(rows_of(bayside, dear)).warnings for text in entries
    )


def test_no_interval_reaches_below_zero_and_no_score_is_zero_without_a_reason(bayside, sales):
    assert bayside.support is not None
    wide = dataclasses.replace(bayside.intervals, scores=bayside.intervals.scores * 40)
    unsure = dataclasses.replace(bayside, intervals=wide, scale="linear")
    found = unsure.predict(rows_of(bayside, sales[1990:2000]))
    assert (found.lower >= 0.0).all()
    for grade, entries in zip(found.grades, found.warnings, strict=True):
        assert (grade == "none") == entries[0].endswith("do not use this estimate") if entries else grade != "none"


def test_what_was_widened_is_graded_by_its_whole_interval(bayside, home):
    bare = dict.fromkeys(optional(bayside))
    strange = (
        {**home, **bare},
        {**home, "bedrooms": 60},
        {**home, **bare, "living_area": 19_000.0, "city": "Atlantis"},
    )
    found = bayside.predict(list(strange))
    assert bayside.scale == "linear"
    assert (found.fsd >= (found.upper - found.lower) / 2 / found.estimate / 1.645 * (1 - 1e-9)).all()
    # The score is of the home, whichever interval is asked for.
    assert bayside.predict(list(strange), level=0.5).fsd.tolist() == found.fsd.tolist()


@pytest.mark.parametrize(
    ("years", "grades", "end"),
    [
        (0.1, {"high", "medium"}, None),
        (
            5,
            {"medium", "low"},
            "with too few recent ones around: the interval is as wide as errors in such places were",
        ),
        (15, {"none"}, "and sales around it are older than estimates were checked with: do not use this estimate"),
    ],
)
def test_a_home_among_old_sales_alone_is_told_so(bayside, home, sales, years, grades, end):
    day = dt.date(1970, 1, 1) + dt.timedelta(days=int(bayside.last_sale))
    sold = pl.lit(day - dt.timedelta(days=round(365.25 * years))).alias("sale_date")
    # A town in the west, whose sales are as near to each other as any and all of one day.
    area = sales[:300].with_columns(pl.col("longitude") - 4.0, sold)
    known = bayside.with_sales(input_columns(bayside.spec, area), prices(bayside.spec, area))
    found = known.predict([{**home, "longitude": home["longitude"] - 4.0, "sale_date": day}])
    assert found.grades[0] in grades
    told = reasons(found.warnings[0])
    if end is None:
        assert told == []
        return
    (reason,) = told
    assert re.match(
        rf"the nearest known sale is 0\.\d km away, of {day.year - years}-\d\d-\d\d, the eighth \d\.\d km, ", reason
    )
    assert reason.endswith(end)
    assert (found.warnings[0][0] == reason) is (years == 15)


def test_however_rows_come_together_the_numbers_are_the_same(bayside, sales, home):
    hostile = [
        away(home, 385.0),
        {**home, **dict.fromkeys(optional(bayside))},
        {**home, "zip_code": "00000", "living_area": 19_000.0},
        away(home, 15.0),
        {**home, "sale_date": dt.date(1990, 1, 1)},
    ]
    rows = rows_of(bayside, sales[2000:2040]) + hostile + rows_of(bayside, sales[2040:2400])
    together = bayside.predict(rows)
    for place in range(36, 50):
        one = bayside.predict([rows[place]])
        assert [part[0] for part in numbers(one)] == [part[place] for part in numbers(together)]
        assert one.warnings[0] == together.warnings[place]


def test_a_bundle_keeps_it_and_one_without_it_is_read_as_before(bayside, before, home, tmp_path):
    rows = [home, away(home, 385.0), {**home, **dict.fromkeys(optional(bayside))}]
    kept = Predictor.load(save(bayside, tmp_path / "new"))
    assert numbers(kept.predict(rows)) == numbers(bayside.predict(rows))
    assert kept.predict(rows).warnings == bayside.predict(rows).warnings
    older = Predictor.load(save(before, tmp_path / "old"))
    assert older.support is None
    assert numbers(older.predict(rows)) == numbers(before.predict(rows))
    assert [len(entries) for entries in older.predict(rows).warnings] == [0, 1, 0]


def test_new_sales_beside_a_home_make_it_an_ordinary_one(bayside, sales, home):
    area = sales[1700:2000].with_columns(pl.col("longitude") - 4.0)
    known = bayside.with_sales(input_columns(bayside.spec, area), prices(bayside.spec, area))
    row = {**home, "longitude": home["longitude"] - 4.0, "sale_date": sales["sale_date"][2300]}
    assert bayside.predict([row]).grades == ("none",)
    assert known.predict([row]).grades != ("none",)


def test_without_places_what_is_not_known_is_what_counts():
    frame = simulate_table("homes", rows=900)
    homes = fit("homes", frame, train=500, validation=200)
    row = rows_of(homes, frame[:1])[0]
    before = dataclasses.replace(homes, support=None)
    found = homes.predict([row, {**row, "square_feet": 49_000.0}])
    then = before.predict([row, {**row, "square_feet": 49_000.0}])
    assert found.estimate.tolist() == then.estimate.tolist()
    assert found.fsd[0] == then.fsd[0]
    assert found.fsd[1] > then.fsd[1]
    assert found.warnings[1][-1].startswith("estimated with square_feet unlike any sale")
