from __future__ import annotations

import json
import math

import numpy as np
import pytest

from appraise.errors import DataError
from appraise.evaluation.evaluation import Candidate, Evaluation, LearningCurve, ModelCard
from appraise.evaluation.groups import by_decile, by_label, by_month, by_quarter
from appraise.evaluation.slices import slice_by
from appraise.evaluation.splits import calibration_bins, evaluate_split


@pytest.fixture(scope="module")
def sales() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    actual = np.exp(generator.normal(13.0, 0.4, 1200))
    return {
        "actual": actual,
        "estimate": actual * np.exp(generator.normal(0.0, 0.1, 1200)),
        "region": np.array(["north", "south", "east"])[generator.choice(3, 1200, p=[0.6, 0.3, 0.1])],
        "date": np.datetime64("2017-06-01") + generator.integers(0, 120, 1200),
    }


def test_quarters_and_months_are_in_calendar_order_with_missing_dates_last() -> None:
    dates = np.array(["2018-01-01", "2017-12-31", "NaT", "2017-04-01", "1969-12-31"], dtype="datetime64[D]")
    quarters, months = by_quarter(dates), by_month(dates)
    assert quarters.labels == ("1969 Q4", "2017 Q2", "2017 Q4", "2018 Q1", "(missing)")
    assert [quarters.labels[code] for code in quarters.codes] == [
        "2018 Q1", "2017 Q4", "(missing)", "2017 Q2", "1969 Q4",
    ]  # fmt: skip
    assert months.labels == ("1969-12", "2017-04", "2017-12", "2018-01", "(missing)")


def test_levels_come_largest_first_and_small_ones_are_pooled() -> None:
    labels = ["a"] * 5 + ["b"] * 9 + [None] * 3 + ["c", "d", "e"]
    grouping = by_label("kind", "Kind", labels, most=4)
    assert grouping.labels == ("b", "a", "(missing)", "(3 smaller levels)")
    assert np.bincount(grouping.codes).tolist() == [9, 5, 3, 3]
    assert len(by_label("kind", "Kind", labels, most=None).labels) == 6


def test_deciles_never_part_equal_values() -> None:
    values = np.array([1.0] * 50 + list(np.arange(2.0, 52.0)))
    codes = by_decile("d", "Decile", values).codes
    assert len(set(codes[:50])) == 1
    assert codes.max() == 9
    on_an_edge = by_decile("d", "Decile", np.arange(11.0)).codes
    assert on_an_edge.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_slices_add_up_to_the_whole_and_leave_empty_groups_out(sales) -> None:
    table = slice_by(by_label("region", "Region", sales["region"]), sales["actual"], sales["estimate"])
    assert [one.label for one in table.slices] == ["north", "south", "east"]
    assert sum(one.rows for one in table.slices) == 1200
    north = sales["region"] == "north"
    ratio = sales["estimate"][north] / sales["actual"][north]
    measured = table.slices[0].metrics["median_ratio"]
    assert measured.value == pytest.approx(np.median(ratio))
    assert measured.low < measured.value < measured.high
    tied = slice_by(by_decile("d", "Decile", np.ones(1200)), sales["actual"], sales["estimate"])
    assert [one.rows for one in tied.slices] == [1200]


def test_slices_of_three_rows_have_figures_but_no_interval() -> None:
    [one] = slice_by(by_label("r", "R", ["x"] * 3), np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])).slices
    assert one.metrics["mdape"].value == 0.0
    assert math.isnan(one.metrics["mdape"].low)


def test_split_is_cut_by_everything_it_is_given(sales) -> None:
    bounds = {
        level: (sales["estimate"] * (1 - w), sales["estimate"] * (1 + w)) for level, w in [(0.9, 0.17), (0.8, 0.13)]
    }
    split = evaluate_split(
        sales["actual"],
        sales["estimate"],
        bounds=bounds,
        region=sales["region"].tolist(),
        date=sales["date"],
        categories={"type": ["house", None] * 600, "region": ["n"] * 1200},
        resamples=20,
    )
    assert [table.key for table in split.slices] == [
        "estimate_decile", "price_decile", "region", "quarter", "month", "type", "category_region",
    ]  # fmt: skip
    assert list(split.intervals) == [0.8, 0.9]
    assert split.predictions.lower is not None
    deciles = split.slices_by("estimate_decile")
    assert deciles is not None
    assert all(one.coverage[0.9].rows == one.rows for one in deciles.slices)
    weighted = sum(one.coverage[0.9].observed * one.rows for one in deciles.slices) / split.rows
    assert weighted == pytest.approx(split.intervals[0.9].observed)


def test_calibration_bins_hold_all_rows_and_their_means(sales) -> None:
    bins = calibration_bins(sales["actual"], sales["estimate"])
    assert len(bins) == 20
    assert sum(one.rows * one.actual for one in bins) == pytest.approx(sales["actual"].sum())
    assert all(one.low < one.actual < one.high for one in bins)


def test_one_sale_is_evaluated_without_a_warning() -> None:
    split = evaluate_split([100.0], [110.0], bounds={0.9: ([90.0], [130.0])}, region=["x"], resamples=10)
    assert split.metrics["mdape"].value == pytest.approx(0.1)
    assert split.intervals[0.9].observed == 1.0


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"latitude of shape \(1,\) for 2 sales"):
        evaluate_split([1.0, 2.0], [1.0, 2.0], latitude=[1.0])
    with pytest.raises(ValueError, match="1 rows in groups by region for 2 sales"):
        evaluate_split([1.0, 2.0], [1.0, 2.0], region=["x"])


def test_a_price_of_zero_is_refused_with_a_hint() -> None:
    with pytest.raises(DataError, match="1 of 2 sale prices are zero or negative") as caught:
        evaluate_split([0.0, 2.0], [1.0, 2.0])
    assert caught.value.hint


def test_json_has_the_stable_keys_and_no_nan(sales) -> None:
    bounds = dict.fromkeys((0.8, 0.9, 0.95), (sales["estimate"] * 0.8, sales["estimate"] * math.inf))
    holdout = evaluate_split(sales["actual"], sales["estimate"], bounds=bounds, resamples=20)
    tiny = evaluate_split([5.0, 5.0], [4.0, 6.0], resamples=20)
    evaluation = Evaluation(
        dataset="homes",
        model=ModelCard("homes", "1.0.0", "catboost"),
        splits={"holdout": holdout, "spatial": tiny},
        candidates=(Candidate("linear", 0.7, None, 0.1, 900, math.nan, True, False),),
    )
    text = json.dumps(evaluation.to_dict(), allow_nan=False)
    data = json.loads(text)
    assert data["dataset"] == "homes"
    assert data["model"] == {"name": "homes", "version": "1.0.0", "kind": "catboost"}
    assert data["candidates"][0]["holdout_error"] is None
    assert data["candidates"][0]["row_microseconds"] is None
    assert set(data["splits"]) == {"holdout", "spatial"}
    split = data["splits"]["holdout"]
    assert split["rows"] == 1200
    assert set(split["metrics"]) >= {
        "rmse", "mae", "r2", "mape", "mdape", "ppe10", "ppe20", "median_ratio", "cod", "prd", "prb", "mki", "vei",
    }  # fmt: skip
    assert all(set(one) == {"value", "low", "high", "standing"} for one in split["metrics"].values())
    assert split["metrics"]["median_ratio"]["standing"] in ("within", "unsure", "outside")
    assert split["metrics"]["rmse"]["standing"] is None
    assert set(split["intervals"]) == {"0.80", "0.90", "0.95"}
    interval = split["intervals"]["0.90"]
    assert set(interval) == {"observed", "chance_low", "chance_high", "standing", "mean_width"}
    assert interval["chance_low"] < 0.9 < interval["chance_high"]
    assert interval["standing"] == "outside"
    assert interval["mean_width"] is None
    assert data["splits"]["spatial"]["metrics"]["r2"] == {"value": None, "low": None, "high": None, "standing": None}


def test_an_evaluation_of_nothing_and_a_torn_learning_curve_are_mistakes() -> None:
    with pytest.raises(ValueError, match="at least one split"):
        Evaluation("homes", ModelCard("homes", "1.0.0", "catboost"), {})
    with pytest.raises(ValueError, match="2 iterations"):
        LearningCurve("catboost", "RMSE", (1, 2), (), (0.5,))
