"""Columns that give the price away are named, and honest ones are let be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from appraise.datasets.infer import infer_spec

ROWS = 600


@pytest.fixture
def table() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    area = rng.uniform(40, 250, ROWS)
    age = rng.integers(0, 90, ROWS)
    price = np.exp(11 + 0.7 * np.log(area) - 0.004 * age + rng.normal(0, 0.2, ROWS))
    return {"living_area": area.round(1), "age": age, "price": price.round(2)}


def leaks(tmp_path: Path, table: dict[str, object]) -> dict[str, str]:
    pl.DataFrame(table).write_csv(tmp_path / "sales.csv")
    inference = infer_spec(tmp_path / "sales.csv", target="price")
    found = {column.name: column.reason or "" for column in inference.spec.columns if column.role == "leak"}
    assert all(reason and reason in inference.notes[name] for name, reason in found.items())
    return found


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("amt", lambda p, r: p, "equal to price in 100%"),
        ("figure", lambda p, r: np.where(np.arange(ROWS) == 4, 1.0, p), "equal to price"),
        ("target", lambda p, r: np.log(p), "orders the homes as price does"),
        ("score", lambda p, r: -3 * p + 7, "rank correlation -1.000"),
        ("stamp_duty", lambda p, r: p * 0.03 * np.exp(r.normal(0, 0.01, ROWS)), "orders the homes"),
        ("price_per_sqm", lambda p, r: p / r.uniform(30, 60, ROWS), "divided by a size"),
        ("sold_price", lambda p, r: p * np.exp(r.normal(0, 0.2, ROWS)), "another price of the home"),
        ("list_price", lambda p, r: p * np.exp(r.normal(0, 0.1, ROWS)), "another price of the home"),
        ("TaxAssessedValue", lambda p, r: p * np.exp(r.normal(0, 0.2, ROWS)), "somebody's valuation"),
        ("zestimate", lambda p, r: p * np.exp(r.normal(0, 0.1, ROWS)), "somebody's valuation"),
    ],
)
def test_a_leak_is_named_with_its_reason(tmp_path: Path, table, name: str, make, reason: str) -> None:
    column = make(table["price"], np.random.default_rng(1))
    found = leaks(tmp_path, {name: column, **table})
    assert list(found) == [name]
    assert reason in found[name]


def test_a_price_per_area_is_known_by_arithmetic(tmp_path: Path, table) -> None:
    found = leaks(tmp_path, {**table, "unit_figure": (table["price"] / table["living_area"]).round(2)})
    assert found == {"unit_figure": "it is price divided by living_area"}


def test_a_price_per_area_is_the_leak_and_not_the_area(tmp_path: Path, table) -> None:
    table["SQUARE FEET"] = (table.pop("living_area") * 10.76).round()
    table["$/SQUARE FEET"] = (table["price"] / table["SQUARE FEET"]).round()
    assert list(leaks(tmp_path, table)) == ["$/SQUARE FEET"]


def test_the_two_parts_of_a_price(tmp_path: Path, table) -> None:
    land = table["price"] * np.random.default_rng(1).uniform(0.2, 0.6, ROWS)
    found = leaks(tmp_path, {**table, "ground": land, "structure": table["price"] - land})
    assert set(found) == {"ground", "structure"}
    assert "add up to price" in found["ground"]


def test_classes_of_the_price(tmp_path: Path, table) -> None:
    band = np.digitize(table["price"], np.quantile(table["price"], [0.25, 0.5, 0.75]))
    named = np.array(["low", "mid", "high", "top"])[band]
    assert "classes of price" in leaks(tmp_path, {**table, "segment": named})["segment"]


def test_honest_columns_are_let_be(tmp_path: Path, table) -> None:
    rng = np.random.default_rng(1)
    price = table["price"]
    honest = {
        "previous_price": price * np.exp(rng.normal(0, 0.3, ROWS)),
        "median_income": price * np.exp(rng.normal(0, 0.4, ROWS)),
        "sale_condition": rng.integers(1, 6, ROWS),
        "tax": rng.uniform(200, 700, ROWS),
        "overall_quality": np.digitize(price * np.exp(rng.normal(0, 0.5, ROWS)), np.quantile(price, [0.2, 0.5, 0.8])),
        "suburb": np.array(["a", "b", "c", "d", "e"])[rng.integers(0, 5, ROWS)],
        "value_for_view": rng.uniform(0, 1, ROWS),
    }
    assert leaks(tmp_path, {**table, **honest}) == {}


def test_a_size_may_order_the_homes_of_a_simple_market(tmp_path: Path, table) -> None:
    area = table["living_area"]
    price = area * 3000 + np.random.default_rng(1).normal(0, 8000, ROWS)
    assert leaks(tmp_path, {"living_area": area, "age": table["age"], "price": price}) == {}


def test_a_few_rows_prove_nothing(tmp_path: Path) -> None:
    assert leaks(tmp_path, {"score": [1, 2, 3, 4], "price": [10.0, 20.0, 30.0, 45.0]}) == {}
