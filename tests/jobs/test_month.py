"""The monthly run: with what was known before the month and nothing else, measured where prices are known."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from appraise.datasets.frames import input_columns, prices
from appraise.datasets.table import date_of
from appraise.errors import DataError, OutputError
from appraise.jobs.month import RELATIVE_ERROR, Month, predict_month
from appraise.jobs.progress import SilentProgress
from appraise.serving.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(bayside) -> Predictor:
    return Predictor.load(bayside.workspace.registry.resolve("bayside"))


@pytest.fixture(scope="module")
def month(bayside, predictor) -> Month:
    """The third month after training."""
    first = (date_of(predictor.last_sale) + dt.timedelta(days=75)).replace(day=1)
    return Month(first.year, first.month)


@pytest.fixture
def run(bayside, tmp_path):
    def run(frame: pl.DataFrame, month: Month, name: str = "out.parquet"):
        frame.write_parquet(tmp_path / "sales.parquet")
        result = predict_month(
            bayside.spec,
            month,
            workspace=bayside.workspace,
            data=str(tmp_path / "sales.parquet"),
            output=tmp_path / name,
            progress=SilentProgress(),
        )
        return result, pl.read_parquet(tmp_path / name)

    return run


def test_estimates_use_the_sales_before_the_month_and_no_later_ones(run, bayside, predictor, month):
    frame = bayside.frame
    date = pl.col("sale_date")
    result, out = run(frame, month)
    here = frame.filter(date.is_between(month.first, month.last))
    assert out.select(frame.columns).equals(here)
    assert not result.replaced
    assert (result.rows, result.valued, result.measured) == (here.height, here.height, here.height)
    known = frame.filter((date > date_of(predictor.last_sale)) & (date < month.first))
    assert 0 < result.known_sales <= known.height
    # Prices of the month and after it are anything: the estimates are the same, the errors are not.
    spoilt = frame.with_columns(
        pl.when(date >= month.first).then(pl.col("price") * 7).otherwise("price").alias("price")
    )
    again, other = run(spoilt, month)
    assert again.replaced
    assert other["estimate"].to_list() == out["estimate"].to_list()
    assert again.metrics["mdape"] > result.metrics["mdape"]
    # A price before it is not.
    earlier = frame.with_columns(
        pl.when(date < month.first).then(pl.col("price") * 2).otherwise("price").alias("price")
    )
    assert run(earlier, month)[1]["estimate"].to_list() != out["estimate"].to_list()


def test_known_sales_are_those_that_the_predictor_is_given(run, bayside, predictor, month):
    date = pl.col("sale_date")
    frame = bayside.frame
    known = frame.filter((date > date_of(predictor.last_sale)) & (date < month.first))
    live = predictor.with_sales(input_columns(predictor.spec, known), prices(predictor.spec, known))
    here = frame.filter(date.is_between(month.first, month.last))
    result, out = run(frame, month)
    if result.known_sales == known.height:
        expected = live.predict_columns(input_columns(predictor.spec, here)).estimate
        assert out["estimate"].to_list() == expected.tolist()
    error = out["estimate"].to_numpy() / here["price"].to_numpy() - 1
    assert np.allclose(out[RELATIVE_ERROR].to_numpy(), error)
    assert result.metrics["mdape"] == pytest.approx(np.median(np.abs(error)))
    assert result.metrics["ppe10"] == pytest.approx(np.mean(np.abs(error) <= 0.1))


def test_without_prices_there_is_nothing_to_measure(run, bayside, month):
    date = pl.col("sale_date")
    unsold = pl.when(date < month.first).then("price").alias("price")
    result, out = run(bayside.frame.with_columns(unsold), month)
    assert (result.measured, result.metrics) == (0, {})
    assert out[RELATIVE_ERROR].null_count() == out.height == result.valued


def test_estimates_of_the_month_that_are_not_to_be_used_are_counted(run, bayside, month):
    date = pl.col("sale_date")
    here = date.is_between(month.first, month.last)
    ordinary = run(bayside.frame, month)[0]
    far = pl.when(here & (pl.col("latitude") == pl.col("latitude").filter(here).first())).then(1.0).otherwise(0.0)
    result, out = run(bayside.frame.with_columns(pl.col("latitude") + far), month)
    assert result.unusable == out["confidence_grade"].to_list().count("none") == ordinary.unusable + 1
    assert result.to_dict()["unusable"] == result.unusable


def test_a_month_of_training_and_one_without_rows_are_refused(run, bayside, predictor):
    last = date_of(predictor.last_sale)
    with pytest.raises(DataError, match="it would know its own answers") as caught:
        run(bayside.frame, Month(last.year, last.month))
    assert "or a later month" in caught.value.hint
    with pytest.raises(
        DataError, match=r"has no home of 2099-01; its dates are from \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d"
    ):
        run(bayside.frame, Month(2099, 1))


def test_a_month_is_not_written_over_the_sales_that_it_is_read_from(run, bayside, month, tmp_path):
    with pytest.raises(OutputError, match="is what is read; it would be overwritten"):
        run(bayside.frame, month, "sales.parquet")
    assert pl.read_parquet(tmp_path / "sales.parquet").equals(bayside.frame)


def test_undated_homes_have_no_months(homes):
    with pytest.raises(DataError, match="has no date of sale"):
        predict_month(
            homes.spec, Month(2023, 5), workspace=homes.workspace, data=None, output=Path("x.parquet"),
            progress=SilentProgress(),
        )  # fmt: skip


@pytest.mark.parametrize("text", ["2023-5", "2023-13", "23-05", "2023-05-01", "", "may"])
def test_what_is_no_month(text):
    with pytest.raises(ValueError):  # noqa: PT011  what it says is not shown
        Month.parse(text)


def test_a_month_says_its_days_and_its_file():
    month = Month.parse("2024-02")
    assert (month.first, month.last) == (dt.date(2024, 2, 1), dt.date(2024, 2, 29))
    assert (str(month), month.file_name) == ("2024-02", "preds_2024_02.parquet")
