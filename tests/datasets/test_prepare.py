import csv
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from appraise.datasets.prepare import Prepared, prepare
from appraise.datasets.presets import find_spec
from appraise.datasets.rejects import write_rejects
from appraise.datasets.simulate import simulate_market
from appraise.datasets.spec import Cleaning, Column, DatasetSpec, RandomSplit, TimeSplit
from appraise.errors import DataError, FitError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SPEC = DatasetSpec(
    "sales",
    (
        Column("sold", "date", "sale_date"),
        Column("city", "category"),
        Column("area", "number", minimum=5, maximum=2000),
        Column("rooms", "integer", optional=True),
        Column("price", "number", "target"),
    ),
    split=TimeSplit(dt.date(2020, 1, 1), dt.date(2020, 7, 1)),
    cleaning=Cleaning(city_columns=("city",), near_duplicate_columns=("city", "area"), outlier_log_mads=8),
)
HEADER = ["sold", "city", "area", "rooms", "price"]


def sales(n: int = 300, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    days = np.sort(rng.integers(0, 3 * 365, n))
    area = np.round(rng.uniform(40, 200, n), 2)
    price = np.round(3000 * area * np.exp(0.1 * rng.normal(size=n)))
    return [
        [str(dt.date(2018, 1, 1) + dt.timedelta(days=int(day))), "St. Anne", f"{size}", "3", f"{cost:.0f}"]
        for day, size, cost in zip(days, area, price, strict=True)
    ]


@pytest.fixture
def run(tmp_path: Path):
    def prepare_it(lines: list[list[str]], spec: DatasetSpec = SPEC, **options: object) -> Prepared:
        path = tmp_path / "sales.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *lines])
        options.setdefault("today", dt.date(2022, 1, 1))
        return prepare(spec, data=path, cache=tmp_path / "cache", memory_limit=None, **options)

    return prepare_it


def test_clean_sales_all_stay(run):
    prepared = run(sales())
    assert prepared.frame.height == 300
    assert prepared.rejects.height == 0
    assert set(prepared.frame["city"]) == {"St Anne"}
    assert prepared.summary.dropped == ()


FAULTS = {
    "text in a number": ["2018-05-01", "X", "large", "3", "1"],
    "NaN in a column that must be there": ["2018-05-01", "X", "nan", "3", "500000"],
    "an infinity": ["2018-05-01", "X", "80", "3", "inf"],
    "a future date": ["2029-05-01", "X", "80", "3", "500000"],
    "a negative price": ["2018-05-01", "X", "80", "3", "-500000"],
    "a price of zero": ["2018-05-01", "X", "80", "3", "0"],
    "no price": ["2018-05-01", "X", "80", "3", ""],
    "an impossible area": ["2018-05-01", "X", "80000", "3", "500000"],
    "an outlier": ["2018-05-01", "X", "80", "3", "5e14"],
}


def test_nothing_is_lost(run):
    """Rows in are rows kept and rejects, and each reject is the row as it came, with its line and its reason."""
    good = sales()
    lines = [*good[:100], *FAULTS.values(), good[5], *good[100:]]
    near = list(good[7])
    near[0] = str(dt.date.fromisoformat(near[0]) + dt.timedelta(days=3))
    near[1] = "  SAINT ANNE"
    lines.append(near)
    prepared = run(lines)
    summary = prepared.summary
    assert summary.rows_read == len(lines)
    assert summary.rows_kept == prepared.frame.height == len(good)
    assert prepared.rejects.height == len(lines) - len(good) == sum(each.rows for each in summary.dropped)
    assert prepared.rejects.columns == ["file", "line", "reason", *HEADER]
    expected = [(102 + place, *fault) for place, fault in enumerate(FAULTS.values())]
    expected += [(102 + len(FAULTS), *good[5]), (len(lines) + 1, *near)]
    told = prepared.rejects.select("line", *HEADER).fill_null("").rows()
    assert [[line, *(cell.strip() for cell in cells)] for line, *cells in told] == [
        [line, *("" if cell == "nan" else cell.strip() for cell in cells)] for line, *cells in expected
    ]
    steps = {each.step for each in summary.dropped}
    assert steps == {"read", "check", "duplicate", "near duplicate", "outlier"}
    assert prepared.rejects["reason"].null_count() == 0


def test_outliers_are_dropped_from_training_alone(run):
    late = ["2020-09-01", "X", "80", "3", "5e14"]
    prepared = run([*sales(), FAULTS["an outlier"], late])
    assert prepared.rejects["line"].to_list() == [302]
    holdout = prepared.frame[prepared.split.holdout]
    assert holdout["price"].max() == 5e14
    together = np.concatenate([prepared.split.train, prepared.split.validation, prepared.split.holdout])
    assert np.array_equal(np.sort(together), np.arange(301))
    assert prepared.frame["sold"][prepared.split.train].max() < dt.date(2020, 1, 1)


def test_the_summary_can_be_read_by_people_and_programs(run):
    prepared = run([*sales(), *FAULTS.values()])
    text = prepared.summary.to_text()
    assert "sales: 300 of 309 rows kept" in text
    assert "1  read: area must be a number" in text
    assert "validation" in text
    assert max(map(len, text.splitlines())) <= 160
    summary = json.loads(json.dumps(prepared.summary.to_dict()))
    assert summary["rows_kept"] == 300
    assert [each["name"] for each in summary["sets"]] == ["train", "validation", "holdout"]
    assert summary["sets"][0]["last_date"] < "2020-01-01"
    assert list(summary["sets"][0]["target"]) == ["q05", "q25", "q50", "q75", "q95"]
    assert sum(each["rows"] for each in summary["sets"]) == 300


def test_rejects_can_be_written_and_read_again(run, tmp_path):
    prepared = run([*sales(), *FAULTS.values()])
    write_rejects(prepared.rejects, tmp_path / "rejects" / "sales.csv")
    again = pl.read_csv(tmp_path / "rejects" / "sales.csv", infer_schema=False)
    assert again["reason"].to_list() == prepared.rejects["reason"].to_list()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([[*row[:2], "", *row[3:]] for row in sales(50)], "none of the 50 rows .* area must not be missing"),
        ([[*row[:4], "-1"] for row in sales(50)], "none of the 50 rows .* price must be above 0"),
        ([["2030-01-01", *row[1:]] for row in sales(50)], "none of the 50 rows .* must not be in the future"),
        ([[row[0].replace("-", "/"), *row[1:]] for row in sales(50)], "none of the 50 rows .* written YYYY-MM-DD"),
        ([[*row[:4], "100000"] for row in sales(50)], "all 50 rows .* have the same price, 100,000"),
    ],
)
def test_data_that_cannot_be_learnt_from_say_why(run, lines, message):
    with pytest.raises(DataError, match=message) as caught:
        run(lines)
    assert caught.value.hint


def test_one_row_is_too_few(run):
    with pytest.raises(FitError, match="of 1 rows are left to") as caught:
        run(sales(1))
    assert caught.value.hint


def test_a_column_without_values_is_named(run):
    prepared = run([[*row[:3], "", row[4]] for row in sales()])
    assert "the column rooms has no values" in prepared.summary.notes
    assert prepared.frame.height == 300


def test_swapped_coordinates_of_a_whole_file_are_named(tmp_path):
    sold = simulate_market(500, seed=0).rename({"latitude": "longitude", "longitude": "latitude"})
    sold.write_csv(tmp_path / "sales.csv")
    with pytest.raises(DataError, match=r"none of the 500 rows .* latitude and longitude must not be swapped"):
        prepare(find_spec("bayside"), data=tmp_path / "sales.csv", cache=tmp_path, memory_limit=None)


def test_parquet_rejects_count_rows(tmp_path):
    path = tmp_path / "sales.parquet"
    sold = simulate_market(500, seed=0).with_columns(
        latitude=pl.when(pl.int_range(pl.len()) == 7).then(0.0).otherwise("latitude"),
        longitude=pl.when(pl.int_range(pl.len()) == 7).then(0.0).otherwise("longitude"),
    )
    sold.write_parquet(path)
    spec = replace(find_spec("bayside"), split=RandomSplit())
    prepared = prepare(spec, data=path, cache=tmp_path, memory_limit=None)
    assert prepared.frame.height == 499
    assert prepared.rejects.select("file", "line", "sale_id").rows() == [(str(path), 8, "S00000008")]
    assert "both be 0" in prepared.rejects["reason"][0]


def test_rejects_of_several_files_name_theirs(tmp_path):
    place = pl.int_range(pl.len())
    lost = pl.when(place.is_in([3, 270])).then(None).otherwise("price")
    sold = simulate_market(500, seed=0).with_columns(price=lost)
    sold[:250].write_csv(tmp_path / "a.csv")
    sold[250:].write_csv(tmp_path / "b.csv")
    spec = replace(find_spec("bayside"), split=RandomSplit())
    rejects = prepare(spec, data=tmp_path, cache=tmp_path / "cache", memory_limit=None).rejects
    assert rejects.select("file", "line", "sale_id").rows() == [
        (str(tmp_path / "a.csv"), 5, "S00000004"),
        (str(tmp_path / "b.csv"), 22, "S00000271"),
    ]


def test_columns_named_like_those_of_the_rejects_are_kept_apart(tmp_path):
    columns = (
        Column("line", "number"),
        Column("reason", "category", optional=True),
        Column("price", "number", "target"),
    )
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"line": rng.random(100), "reason": ["divorce"] * 100, "price": rng.random(100) + 1})
    frame[5, "price"] = -1.0
    frame.write_csv(tmp_path / "sales.csv")
    prepared = prepare(DatasetSpec("sales", columns), data=tmp_path / "sales.csv", cache=tmp_path, memory_limit=None)
    assert prepared.rejects.columns == ["file", "line", "reason", "line (column)", "reason (column)", "price"]
    assert prepared.rejects["reason (column)"].to_list() == ["divorce"]


def test_the_same_data_give_the_same_rows(run):
    spec = replace(SPEC, split=RandomSplit(seed=4))
    first, again = run(sales(), spec), run(sales(), spec)
    assert first.frame.equals(again.frame)
    assert np.array_equal(first.split.train, again.split.train)


def test_a_simulated_preset_needs_no_file(tmp_path):
    prepared = prepare(find_spec("bayside"), data=None, cache=tmp_path, memory_limit=None)
    assert prepared.frame.height == 20_000
    assert "made-up" in prepared.summary.notes[0]


@pytest.mark.skipif(not (SHARED / "california_housing.csv").is_file(), reason="the real data are not on this machine")
def test_california_splits_as_in_the_papers(tmp_path):
    spec = find_spec("california")
    prepared = prepare(spec, data=SHARED / "california_housing.csv", cache=tmp_path, memory_limit=None)
    parts = prepared.split
    assert prepared.rejects.height == 0
    assert [len(parts.train), len(parts.validation), len(parts.holdout)] == [13_209, 3_303, 4_128]
    assert np.array_equal(parts.train[:5], np.random.RandomState(0).permutation(20_640)[:5])


@pytest.mark.skipif(not (SHARED / "melbourne_sales.csv").is_file(), reason="the real data are not on this machine")
def test_melbourne_is_read_as_it_is_inferred(tmp_path):
    from appraise.datasets.infer import infer_spec

    path = SHARED / "melbourne_sales.csv"
    prepared = prepare(infer_spec(path, target="Price").spec, data=path, cache=tmp_path, memory_limit=None)
    assert prepared.frame.height > 13_500
    assert prepared.frame.height + prepared.rejects.height == 13_580
    sold = prepared.frame["Date"]
    assert sold[prepared.split.train].max() < sold[prepared.split.validation].min()
    assert sold[prepared.split.validation].max() < sold[prepared.split.holdout].min()
