"""From a file of sales to a spec, as a person would see it."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appraise.datasets.cells import parse_column
from appraise.datasets.csvread import read_text_columns
from appraise.datasets.infer import Inference, infer_spec
from appraise.datasets.simulate.market import simulate_market
from appraise.datasets.spec import Column, RandomSplit, Rule, TimeSplit
from appraise.datasets.specfile import read_spec, write_spec
from appraise.errors import DataError, SpecError

SHARED = Path(__file__).parents[3] / "shared" / "data"
ROWS = 400
LOVELY = "a lovely home with a garden and a view of the sea, near the shops and the school"
WORK = "needs work, but what a place to do it, with a shed and a pond and an old apple tree"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def homes(rng: np.random.Generator, rows: int = ROWS) -> pl.DataFrame:
    """A plain table of sales, on which the tests put their columns."""
    area = rng.uniform(40, 250, rows).round(1)
    rooms = rng.integers(1, 8, rows)
    price = (1500 * area + 9000 * rooms) * np.exp(rng.normal(0, 0.25, rows))
    return pl.DataFrame({"area": area, "rooms": rooms, "price": price.round(-2)})


def infer(tmp_path: Path, frame: pl.DataFrame, target: str = "price", **csv: object) -> Inference:
    path = tmp_path / "My Sales.csv"
    frame.write_csv(path, **csv)
    return infer_spec(path, target=target)


def column(inference: Inference, name: str) -> Column:
    return inference.spec.column(name)


def said(inference: Inference, name: str) -> str:
    return inference.notes.get(name, "")


def test_melbourne_comes_out_right_with_no_edit(tmp_path: Path) -> None:
    path = SHARED / "melbourne_sales.csv"
    if not path.exists():
        pytest.skip("../shared/data/melbourne_sales.csv is not on this machine")
    inference = infer_spec(path, target="Price")
    spec = inference.spec
    assert {c.name: (c.kind, c.role) for c in spec.columns} == {
        "Suburb": ("category", "feature"),
        "Address": ("text", "ignored"),
        "Rooms": ("integer", "feature"),
        "Type": ("category", "feature"),
        "Price": ("number", "target"),
        "Method": ("category", "feature"),
        "SellerG": ("category", "feature"),
        "Date": ("date", "sale_date"),
        "Distance": ("number", "feature"),
        "Postcode": ("category", "feature"),
        "Bedroom2": ("integer", "feature"),
        "Bathroom": ("integer", "feature"),
        "Car": ("integer", "feature"),
        "Landsize": ("number", "feature"),
        "BuildingArea": ("number", "feature"),
        "YearBuilt": ("integer", "feature"),
        "CouncilArea": ("category", "feature"),
        "Lattitude": ("number", "latitude"),
        "Longtitude": ("number", "longitude"),
        "Regionname": ("category", "feature"),
        "Propertycount": ("integer", "feature"),
    }
    assert spec.column("Date").date_format == "%d/%m/%Y"
    assert {c.name for c in spec.columns if c.optional} == {"Car", "BuildingArea", "YearBuilt", "CouncilArea"}
    assert {c.name for c in spec.columns if c.encoding == "target"} == {"Suburb", "SellerG", "Postcode", "CouncilArea"}
    assert (spec.region, spec.objective, spec.currency) == ("Regionname", "relative", None)
    assert isinstance(spec.split, TimeSplit)
    dates = parse_column(read_text_columns(path, spec.csv, columns=["Date"])["Date"], spec.column("Date"), spec.csv)[0]
    train = (dates < spec.split.train_before).mean()
    holdout = (dates >= spec.split.holdout_from).mean()
    assert train == pytest.approx(0.64, abs=0.03)
    assert holdout == pytest.approx(0.20, abs=0.03)
    output = tmp_path / "melbourne.toml"
    write_spec(inference.spec_for(output), output, notes=inference.notes)
    assert read_spec(output) == inference.spec_for(output)


def test_bounds_refuse_no_row_but_the_impossible_one_of_melbourne() -> None:
    path = SHARED / "melbourne_sales.csv"
    if not path.exists():
        pytest.skip("../shared/data/melbourne_sales.csv is not on this machine")
    inference = infer_spec(path, target="Price")
    cells = read_text_columns(path, inference.spec.csv)
    refused = {}
    for each in inference.spec.columns:
        values, unreadable = parse_column(cells[each.header], each, inference.spec.csv)
        assert not unreadable.any()
        outside = values.filter((values < each.minimum) | (values > each.maximum)) if each.maximum is not None else []
        if len(outside):
            refused[each.name] = list(outside)
    assert refused == {"YearBuilt": [1196]}
    assert "1196" in said(inference, "YearBuilt")


def test_california(tmp_path: Path) -> None:
    path = SHARED / "california_housing.csv"
    if not path.exists():
        pytest.skip("../shared/data/california_housing.csv is not on this machine")
    spec = infer_spec(path, target="MedHouseVal").spec
    assert (spec.latitude.name, spec.longitude.name) == ("Latitude", "Longitude")
    assert all(each.role == "feature" for each in spec.columns[:6])
    assert spec.rules == (Rule("AveBedrms", "<=", "AveRooms", "A home cannot have more bedrooms than rooms."),)
    assert spec.split == RandomSplit()


def test_the_simulated_market(tmp_path: Path) -> None:
    inference = infer(tmp_path, simulate_market(5000, seed=1))
    roles = {each.name: each.role for each in inference.spec.columns if each.role != "feature"}
    assert roles == {
        "sale_id": "id",
        "sale_date": "sale_date",
        "latitude": "latitude",
        "longitude": "longitude",
        "price": "target",
        "true_price": "leak",
    }
    assert inference.spec.region == "city"
    assert inference.spec.cleaning.city_columns == ("city",)
    assert column(inference, "zip_code").kind == "category"
    assert column(inference, "view").kind == "boolean"
    assert column(inference, "lot_area").optional


def test_the_name_and_the_source(tmp_path: Path, rng: np.random.Generator) -> None:
    inference = infer(tmp_path, homes(rng))
    assert inference.spec.name == "my_sales"
    assert inference.spec.source == str(tmp_path / "My Sales.csv")
    assert inference.spec_for(tmp_path / "specs" / "x.toml").source == "../My Sales.csv"
    assert infer_spec(tmp_path / "My Sales.csv", target="price", name="mine").spec.name == "mine"
    with pytest.raises(SpecError, match="the name 'Not Good' cannot be used"):
        infer_spec(tmp_path / "My Sales.csv", target="price", name="Not Good")


def test_parquet_files_too(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(sold=pl.Series([dt.date(2020, 1, 1) + dt.timedelta(n) for n in range(ROWS)]))
    frame.write_parquet(tmp_path / "sales.parquet")
    spec = infer_spec(tmp_path / "sales.parquet", target="price").spec
    assert [(each.kind, each.role) for each in spec.columns][-2:] == [("number", "target"), ("date", "sale_date")]


def test_missing_prices_are_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(pl.when(pl.int_range(ROWS) < 7).then(None).otherwise("price").alias("price"))
    inference = infer(tmp_path, frame)
    assert "7 of 400 rows will be dropped" in said(inference, "price")
    assert not column(inference, "price").optional


def test_prices_on_both_sides_of_zero_are_compared_by_squared_error(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(price=pl.col("price") - pl.col("price").median())
    inference = infer(tmp_path, frame)
    assert inference.spec.objective == "rmse"
    assert column(inference, "price").minimum is None
    few = homes(rng).with_columns(price=pl.when(pl.int_range(ROWS) == 3).then(-5).otherwise("price"))
    inference = infer(tmp_path, few)
    assert inference.spec.objective == "relative"
    assert "1 row will be refused" in said(inference, "price")


def test_columns_with_nothing_in_them(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(
        country=pl.lit("AU"), notes=pl.lit(None, pl.String), pool=pl.when(pl.int_range(ROWS) % 9 == 0).then(pl.lit("Y"))
    )
    inference = infer(tmp_path, frame)
    assert (column(inference, "country").role, column(inference, "country").reason) == (
        "ignored",
        "every row says 'AU'",
    )
    assert (column(inference, "notes").role, column(inference, "notes").reason) == ("ignored", "every value is missing")
    assert (column(inference, "pool").kind, column(inference, "pool").role) == ("category", "feature")


def test_identifiers_codes_and_free_text(tmp_path: Path, rng: np.random.Generator) -> None:
    numbers = np.arange(ROWS)
    frame = homes(rng).with_columns(
        pl.Series("", numbers),
        pl.Series("listing", [f"L{n:05d}" for n in numbers]),
        pl.Series("parcel_id", rng.permutation(10_000_000)[:ROWS]),
        pl.Series("agent_id", rng.integers(1, 12, ROWS)),
        pl.Series("zip", [f"{n:05d}" for n in rng.integers(501, 530, ROWS)]),
        pl.Series("street_address", [f"{n} High Street" for n in numbers]),
        pl.Series("remarks", [LOVELY, WORK] * (ROWS // 2)),
    )
    inference = infer(tmp_path, frame)
    found = {each.name: (each.kind, each.role) for each in inference.spec.columns[3:]}
    assert found == {
        "column_4": ("identifier", "id"),
        "listing": ("identifier", "id"),
        "parcel_id": ("identifier", "id"),
        "agent_id": ("category", "feature"),
        "zip": ("category", "feature"),
        "street_address": ("text", "ignored"),
        "remarks": ("text", "ignored"),
    }


def test_categories_of_many_levels_get_an_encoding_that_their_rows_can_bear(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    frame = homes(rng).with_columns(
        pl.Series("kind", rng.choice(["flat", "house"], ROWS)),
        pl.Series("suburb", rng.choice([f"suburb {chr(65 + n)}" for n in range(25)], ROWS)),
        pl.Series("agent", rng.choice([f"agent {n}" for n in range(120)], ROWS)),
    )
    inference = infer(tmp_path, frame)
    encodings = [column(inference, name).encoding for name in ("kind", "suburb", "agent")]
    assert encodings == ["auto", "target", "frequency"]


def test_whole_numbers_are_integers_only_where_they_must_be(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(
        pl.Series("land_area", rng.integers(50, 150, ROWS)),
        pl.Series("year_built", rng.integers(1900, 2020, ROWS)),
        pl.Series("garage", rng.integers(0, 2, ROWS)),
        pl.Series("waterfront", rng.integers(0, 2, ROWS)),
        pl.Series("population", rng.integers(0, 90_000, ROWS)),
        pl.Series("tax", rng.integers(200, 300, ROWS)),
    )
    inference = infer(tmp_path, frame)
    kinds = {each.name: each.kind for each in inference.spec.columns[3:]}
    assert kinds == {
        "land_area": "number",
        "year_built": "integer",
        "garage": "integer",
        "waterfront": "boolean",
        "population": "number",
        "tax": "number",
    }
    assert column(inference, "year_built").minimum == 1600
    assert column(inference, "year_built").maximum == dt.date.today().year + 5
    assert column(inference, "garage").minimum == 0
    assert column(inference, "tax").minimum is None


def test_rules_only_where_the_whole_file_obeys(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(bedrooms=pl.col("rooms") - 1)
    assert infer(tmp_path, frame).spec.rules == (
        Rule("bedrooms", "<=", "rooms", "A home cannot have more bedrooms than rooms."),
    )
    broken = frame.with_columns(bedrooms=pl.when(pl.int_range(ROWS) == 5).then(99).otherwise("bedrooms"))
    assert infer(tmp_path, broken).spec.rules == ()


def test_a_number_column_with_a_few_wrong_cells_says_so(tmp_path: Path, rng: np.random.Generator) -> None:
    cells = homes(rng)["area"].cast(pl.String).to_list()
    cells[3], cells[9] = "abc", "inf"
    inference = infer(tmp_path, homes(rng).with_columns(pl.Series("area", cells)))
    assert column(inference, "area").kind == "number"
    assert "2 cells cannot be read as number: for example 'abc'" in said(inference, "area")


def test_the_files_own_words_for_a_missing_value(tmp_path: Path, rng: np.random.Generator) -> None:
    cells = homes(rng)["area"].cast(pl.String).to_list()
    cells[::5] = ["Unknown"] * len(cells[::5])
    inference = infer(tmp_path, homes(rng).with_columns(pl.Series("area", cells)))
    assert (column(inference, "area").kind, column(inference, "area").optional) == ("number", True)
    assert "Unknown" in inference.spec.csv.missing


def test_a_region_is_a_place_of_few_levels(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(
        pl.Series("suburb", rng.choice([f"suburb {n}" for n in range(60)], ROWS)),
        pl.Series("district", rng.choice(["north", "south", "east", "west", "centre"], ROWS)),
        pl.Series("state", rng.choice(["VIC", "NSW"], ROWS)),
    )
    assert infer(tmp_path, frame).spec.region == "district"
    assert infer(tmp_path, frame.drop("district")).spec.region is None


def test_near_duplicates_are_one_home_on_one_day(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(
        pl.Series("house_id", rng.permutation(ROWS * 9)[:ROWS]).scatter([0], [7]).scatter([1], [7]),
        pl.Series("sold_on", [dt.date(2020, 1, 1) + dt.timedelta(n) for n in range(ROWS)]),
    )
    assert infer(tmp_path, frame).spec.cleaning.near_duplicate_columns == ("house_id", "sold_on")


@pytest.mark.parametrize(
    ("header", "cells", "currency"),
    [
        ("price_eur", "{}", "EUR"),
        ("Price (GBP)", "{}", "GBP"),
        ("price", "AUD {}", "AUD"),
        ("price", "{} €", "EUR"),
        ("price", "US${}", "USD"),
        ("price", "{}", None),
    ],
)
def test_the_currency_where_the_file_names_it(
    tmp_path: Path, rng: np.random.Generator, header: str, cells: str, currency: str | None
) -> None:
    frame = homes(rng)
    prices = pl.Series(header, [cells.format(price) for price in frame["price"]])
    inference = infer(tmp_path, frame.drop("price").with_columns(prices), target=header)
    assert inference.spec.currency == currency
    assert column(inference, header).kind == "number"


def test_a_house_number_before_a_street_is_no_number_with_a_unit(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = homes(rng).with_columns(address=pl.format("{} Main St", pl.int_range(ROWS)))
    assert column(infer(tmp_path, frame), "address").kind == "text"


def test_zeros_for_unknown_years_refuse_no_row(tmp_path: Path, rng: np.random.Generator) -> None:
    years = rng.integers(1900, 2020, ROWS)
    years[3] = 0
    inference = infer(tmp_path, homes(rng).with_columns(year_built=years))
    assert column(inference, "year_built").minimum is None
    assert "0 seems to mean unknown in 1 row" in said(inference, "year_built")


def test_districts_given_as_numbers_are_places(tmp_path: Path, rng: np.random.Generator) -> None:
    inference = infer(tmp_path, homes(rng).with_columns(BOROUGH=rng.integers(1, 6, ROWS)))
    assert column(inference, "BOROUGH").kind == "category"
    assert inference.spec.region == "BOROUGH"


CELLS = ["", "NA", "0", "-1", "1.5", "1,5", "1.234", "$5", "5%", "abc", "2016-01-01", "01/02/2016", "true", "no", "é"]
CELLS += [
    '"',
    "nan",
    "inf",
    "1e999",
    " ",
    "007",
    "(3)",
    "3 m2",
    "١٢٣",
    "½",
    "9" * 300,
    "1/1/0001",
    "20160230",
    "May 2016",
]
HEADERS = ["lat", "lon", "x", "y", "date", "id", "zip", "area", "year", "city", "price2", "rooms", "$/m2", "value", ""]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headers=st.lists(st.sampled_from(HEADERS), max_size=5, unique=True),
    prices=st.lists(st.sampled_from(["1", "2", "$3,000", "4.5", "", "x"]), min_size=1, max_size=40),
    data=st.data(),
)
def test_whatever_the_file_holds_there_is_a_spec_or_a_sentence_and_a_hint(
    tmp_path: Path, headers: list[str], prices: list[str], data: st.DataObject
) -> None:
    pools = [data.draw(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4)) for _ in headers]
    rows = [[price, *(pool[n % len(pool)] for pool in pools)] for n, price in enumerate(prices)]
    path = tmp_path / "fuzz.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=data.draw(st.sampled_from(",;\t"))).writerows([["price", *headers], *rows])
    hint = None
    try:
        inference = infer_spec(path, target="price")
        write_spec(inference.spec, tmp_path / "fuzz.toml", notes=inference.notes)
    except DataError as error:
        hint = error.hint
    assert hint or read_spec(tmp_path / "fuzz.toml") == inference.spec


@pytest.mark.parametrize(
    ("content", "target", "message", "hint"),
    [
        ("area,rooms,price\n1,2,3\n4,5,6\n", "Price", "has no column 'Price'", "did you mean 'price'?"),
        ("area,kind,price\n1,a,3\n4,b,6\n", "zzz", "has no column 'zzz'", "its columns of numbers are area, price"),
        ("1,2,3\n4,5,6\n", "price", "has no column 'price'", "the first line looks like values"),
        (
            "area,price\n1,cheap\n2,dear\n3,fair\n",
            "price",
            "3 of 3 values of the target 'price' .* are no numbers, for example 'cheap'",
            "area",
        ),
        ("area,price\n1,\n2,NA\n", "price", "every value of the target 'price'", "area"),
        ("area,price\n1,5\n2,5\n", "price", "every one of the 2 prices .* is 5", "area"),
        ("area,price\n1,5\n", "price", "has one row", "more sales"),
        ("price\n1\n2\n", "price", "has no column to learn from besides 'price'", "add columns"),
        ("id,price\na1,1\nb2,2\nc3,3\n", "price", "has no column to learn from", "id"),
        ("", "price", "is empty", "names"),
        ("area,price\n", "price", "has a header and no rows", "line"),
        ("area,price\n1,2\n3\n", "price", ":3: the row has 1 field where the header has 2", "quoted"),
        ("price,price\n1,2\n", "price", "two columns named 'price'", "rename"),
    ],
)
def test_hostile_files(tmp_path: Path, content: str, target: str, message: str, hint: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        infer_spec(path, target=target)
    assert hint in (caught.value.hint or "")


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        infer_spec(tmp_path / "none.csv", target="price")
    with pytest.raises(DataError, match="is a folder"):
        infer_spec(tmp_path, target="price")
    (tmp_path / "photo.csv").write_bytes(bytes(range(256)) * 99)
    with pytest.raises(DataError, match="is not text"):
        infer_spec(tmp_path / "photo.csv", target="price")
