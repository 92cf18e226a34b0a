import numpy as np
import polars as pl
import pytest

from appraise.datasets.cities import normalise_city
from appraise.datasets.cleaning import (
    find_duplicates,
    find_near_duplicates,
    find_outliers,
    normalise_cities,
)
from appraise.datasets.spec import Cleaning, Column, DatasetSpec

COLUMNS = (
    Column("sold", "date", "sale_date", optional=True),
    Column("address", "text", "ignored"),
    Column("city", "category", optional=True),
    Column("price", "number", "target"),
)


def spec(**cleaning: object) -> DatasetSpec:
    return DatasetSpec("sales", COLUMNS, cleaning=Cleaning(**cleaning))


def sales(*rows: tuple[str | None, str | None, str | None, float]) -> pl.DataFrame:
    names = ("sold", "address", "city", "price")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names[:3], pl.String) | {"price": pl.Float64}, orient="row")
    return frame.with_columns(pl.col("sold").str.to_date())


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (("St. Anne", "st anne", "SAINT ANNE", "Saint-Anne", " St.  Anne "), "St Anne"),
        (("São Paulo", "SAO PAULO", "sao-paulo", "Sa\u0303o Paulo"), "Sao Paulo"),
        (("O'Fallon", "OFallon", "o’fallon"), "Ofallon"),
        (("Port Ellery", "port_ellery", "PORT  ELLERY,"), "Port Ellery"),
        (("Sainte-Foy", "Ste. Foy"), "Ste Foy"),
        (("北京", " 北京 "), "北京"),
    ],
)
def test_all_spellings_of_a_city_are_one(spellings, name):
    assert {normalise_city(each) for each in spellings} == {name}
    assert normalise_city(name) == name


def test_different_cities_stay_different():
    assert len({normalise_city(each) for each in ("Saint Anne", "Sant Anna", "Anne", "Stanne")}) == 4


def test_only_city_columns_are_normalised():
    frame = sales(("2020-01-01", "SAINT ST", "SAINT ANNE", 1.0), ("2020-01-01", "b", None, 1.0), (None, "c", "--", 1.0))
    cleaned = normalise_cities(spec(city_columns=("city",)), frame)
    assert cleaned["city"].to_list() == ["St Anne", None, None]
    assert cleaned["address"].to_list() == ["SAINT ST", "b", "c"]
    assert normalise_cities(spec(), frame).equals(frame)


def test_rows_equal_in_every_column_are_dropped_but_the_first():
    row = ("2020-01-01", "a", None, 1.0)
    frame = sales(row, ("2020-01-02", "a", None, 1.0), row, row)
    assert find_duplicates(spec(), frame)["row"].to_list() == [2, 3]
    assert find_duplicates(spec(drop_duplicates=False), frame).height == 0


NEAR = {"near_duplicate_columns": ("address", "city")}


def test_a_sale_that_is_told_twice_is_dropped():
    frame = sales(
        ("2020-01-20", "a", "x", 5.0),  # told again, and earlier in the file
        ("2020-01-01", "a", "x", 5.0),
        ("2020-01-10", "a", "x", 6.0),  # another price
        ("2020-01-10", "b", "x", 5.0),  # another home
        ("2020-06-01", "a", "x", 5.0),  # sold again months later
    )
    found = find_near_duplicates(spec(**NEAR), frame)
    assert found["row"].to_list() == [0]
    assert found["reason"][0] == "the same sale is there twice: equal address, city, price, within 30 days"


def test_thirty_days_are_near_and_thirty_one_are_not():
    frame = sales(("2020-01-01", "a", "x", 5.0), ("2020-01-31", "a", "x", 5.0), ("2020-03-02", "a", "x", 5.0))
    assert find_near_duplicates(spec(**NEAR), frame)["row"].to_list() == [1]


def test_homes_that_are_not_known_are_not_the_same():
    frame = sales(("2020-01-01", None, "x", 5.0), ("2020-01-01", None, "x", 5.0))
    assert find_near_duplicates(spec(**NEAR), frame).height == 0


def test_without_dates_the_price_decides():
    frame = sales((None, "a", "x", 5.0), (None, "a", "x", 5.0), (None, "a", "x", 6.0)).drop("sold")
    dateless = DatasetSpec("sales", COLUMNS[1:], cleaning=Cleaning(**NEAR))
    assert find_near_duplicates(dateless, frame)["row"].to_list() == [1]


def test_near_duplicates_are_off_without_columns():
    row = ("2020-01-01", "a", "x", 5.0)
    assert find_near_duplicates(spec(), sales(row, row)).height == 0


def prices(*values: float) -> pl.DataFrame:
    return sales(*(("2020-01-01", "a", "x", value) for value in values))


def test_outliers_of_the_training_rows_are_found_by_the_stated_rule():
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(13, 0.3, 500))
    values[[3, 4, 499]] = [1.0, 1e9, 1e9]
    frame = prices(*values)
    found = find_outliers(spec(outlier_log_mads=6), frame, np.arange(400))
    assert found["row"].to_list() == [3, 4]
    assert found["reason"][0].startswith("price lies more than 6 MADs from the median of training rows (")
    assert found["reason"][1].endswith("received 1,000,000,000")
    log = np.log(values[:400])
    median = np.median(log)
    assert np.flatnonzero(np.abs(log - median) > 6 * 1.4826 * np.median(np.abs(log - median))).tolist() == [3, 4]


def test_outliers_are_off_unless_asked_for():
    assert find_outliers(spec(), prices(1, 2, 3, 1e9), np.arange(4)).height == 0


@pytest.mark.parametrize("values", [(5.0, 5.0, 5.0, 9e9), (-1.0, -2.0), (0.0, 0.0)])
def test_prices_without_spread_or_logarithm_have_no_outliers(values):
    assert find_outliers(spec(outlier_log_mads=3), prices(*values), np.arange(len(values))).height == 0
