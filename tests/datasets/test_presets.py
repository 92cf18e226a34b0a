"""The specs that come with Appraise."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from appraise.datasets.cells import DTYPES, parse_column
from appraise.datasets.csvread import read_text_columns
from appraise.datasets.presets import find_spec, preset_names
from appraise.datasets.simulate.housets import simulate_housets
from appraise.datasets.simulate.market import simulate_market
from appraise.datasets.simulate.tables import simulate_garden, simulate_homes
from appraise.datasets.spec import (
    Cleaning,
    Column,
    CsvFormat,
    DatasetSpec,
    Kind,
    RandomSplit,
    Role,
    Rule,
    TimeSplit,
)
from appraise.datasets.specfile import read_spec, spec_from_dict, spec_to_dict, write_spec
from appraise.errors import SpecError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def refused(spec: DatasetSpec, frame: pl.DataFrame) -> list[str]:
    """What of a table of text does not fit its spec: columns that are not there, unreadable cells, broken bounds."""
    faults = [column.header for column in spec.columns if column.header not in frame.columns]
    for column in spec.columns:
        if column.header in faults:
            continue
        values, unreadable = parse_column(frame[column.header], column, spec.csv)
        assert values.dtype == DTYPES[column.kind]
        low = (values < column.minimum).sum() if column.minimum is not None else 0
        high = (values > column.maximum).sum() if column.maximum is not None else 0
        strange = (~values.drop_nulls().is_in(column.levels)).sum() if column.levels else 0
        missing = 0 if column.optional or column.role in ("leak", "ignored", "id") else values.null_count()
        if unreadable.sum() or low or high or strange or missing:
            faults.append(column.name)
    return faults


def test_the_presets() -> None:
    assert preset_names() == ("bayside", "california", "garden", "homes", "housets")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    spec = find_spec(name)
    assert spec.name == name
    assert spec.path is None
    write_spec(spec, tmp_path / "x.toml")
    assert read_spec(tmp_path / "x.toml") == spec
    assert spec_from_dict(spec_to_dict(spec)) == spec


@pytest.mark.parametrize("name", preset_names())
def test_every_input_of_a_preset_is_described_with_an_example_that_fits(name: str) -> None:
    spec = find_spec(name)
    for column in spec.inputs:
        assert column.description, column.name
        assert column.example is not None, column.name
    row = {column.header: [str(column.example)] for column in spec.inputs}
    absent = {column.header for column in spec.columns if not column.is_input}
    assert set(refused(spec, pl.DataFrame(row))) == absent


def test_the_simulated_tables_fit_their_presets() -> None:
    tables = {
        "bayside": simulate_market(3000, seed=3),
        "homes": simulate_homes(3000, seed=3).frame,
        "garden": simulate_garden(3000, seed=3).frame,
        "housets": simulate_housets(20, seed=3).frame,
    }
    for name, table in tables.items():
        assert refused(find_spec(name), table.cast(pl.String)) == [], name


def test_california_refuses_no_row_of_its_data() -> None:
    path = SHARED / "california_housing.csv"
    if not path.exists():
        pytest.skip("../shared/data/california_housing.csv is not on this machine")
    spec = find_spec("california")
    assert refused(spec, read_text_columns(path, spec.csv)) == []
    assert spec.split == RandomSplit(validation=0.16, holdout=0.20, seed=0)
    assert (spec.objective, spec.price_unit, spec.target.name) == ("rmse", 100_000.0, "MedHouseVal")


def test_housets_keeps_the_prices_of_the_month_from_the_model() -> None:
    spec = find_spec("housets")
    leaks = {column.name for column in spec.columns if column.role == "leak"}
    assert leaks == {"median_sale_price", "median_list_price", "median_ppsf", "median_list_ppsf"}
    assert all(column.reason for column in spec.columns if column.role in ("leak", "ignored"))
    assert spec.split == TimeSplit(dt.date(2020, 1, 1), dt.date(2022, 1, 1))
    assert spec.column("zipcode").encoding == "frequency"
    assert spec.column("city_full").encoding == "target"
    assert spec.cleaning.city_columns == ("city_full",)


def test_every_key_of_a_spec_and_every_preset_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    keys = {
        f.name
        for kind in (DatasetSpec, Column, Rule, TimeSplit, RandomSplit, CsvFormat, Cleaning)
        for f in fields(kind)
    }
    words = keys - {"path", "columns", "rules", "csv", "cleaning", "split"} | {
        *get_args(Role),
        *get_args(Kind),
        *preset_names(),
    }
    assert {word for word in words if f"`{word}`" not in page} == set()
    for section in ("[[columns]]", "[[rules]]", "[csv]", "[cleaning]", "[split]"):
        assert f"`{section}`" in page


def test_bayside_keeps_the_truth_from_the_model() -> None:
    truth = find_spec("bayside").column("true_price")
    assert truth.role == "ignored"
    assert "truth" in (truth.reason or "")


def test_find_spec_takes_a_path(tmp_path: Path) -> None:
    write_spec(find_spec("garden"), tmp_path / "mine.toml")
    assert find_spec(str(tmp_path / "mine.toml")) == find_spec("garden")


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("californai", "there is no preset 'californai'", "did you mean 'california'"),
        ("zzz", "there is no preset 'zzz'", "bayside, california, garden, homes, housets"),
        ("none.toml", "there is no spec none.toml", "appraise init"),
        ("sales.csv", "sales.csv is a table of sales", "appraise init sales.csv"),
        ("", "there is no preset ''", "the presets are"),
        (".", "there is no preset '.'", "the presets are"),
    ],
)
def test_what_is_neither_a_preset_nor_a_spec(name: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        find_spec(name)
    assert hint in (caught.value.hint or "")
