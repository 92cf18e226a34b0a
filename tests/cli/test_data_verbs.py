"""`init`, `simulate` and `data`: from files to datasets."""

import csv
from pathlib import Path

import polars as pl
import pytest


@pytest.fixture
def sales(folder: Path) -> Path:
    """A hundred plausible sales, one of them with an impossible price."""
    path = folder / "sales.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["area", "rooms", "city", "price"])
        for row in range(100):
            area = 40 + row * 1.5
            writer.writerow([area, 1 + row % 5, ("Bern", "Thun")[row % 2], round(area * 5000 + row % 7 * 1000)])
        writer.writerow([70, 3, "Bern", -5])
    return path


def test_simulate_writes_the_file_that_was_asked_for(appraise, folder):
    for name in ("sales.csv", "sales.parquet", "deep/er/sales.jsonl"):
        ended = appraise("simulate", "bayside", "--rows", 20, "--output", name, "--json")
        assert ended.code == 0
        assert (folder / name).exists()
    assert ended.json["columns"] == pl.read_csv(folder / "sales.csv").columns
    assert pl.read_parquet(folder / "sales.parquet").height == 20
    assert "made-up" in ended.json["note"]
    assert not [path for path in folder.rglob("*") if path.name.startswith(".sales")]


def test_the_same_seed_simulates_the_same_bytes(appraise, folder):
    for name, seed in (("a.csv", 1), ("b.csv", 1), ("c.csv", 2)):
        appraise("simulate", "bayside", "--rows", 50, "--seed", seed, "--output", name)
    first, second, other = ((folder / name).read_bytes() for name in ("a.csv", "b.csv", "c.csv"))
    assert first == second != other


def test_a_shock_changes_the_market_and_is_told(appraise, folder):
    appraise("simulate", "bayside", "--rows", 500, "--output", "calm.parquet")
    ended = appraise(
        "simulate",
        "bayside",
        "--rows",
        500,
        "--shock",
        "level:2020-01-01:-50%",
        "--output",
        "shocked.parquet",
        "--json",
    )
    assert ended.json["shocks"] == ["level:2020-01-01:-50%"]
    calm, shocked = (pl.read_parquet(folder / name)["price"].median() for name in ("calm.parquet", "shocked.parquet"))
    assert shocked < 0.9 * calm


def test_shocks_are_for_bayside(appraise):
    ended = appraise("simulate", "homes", "--shock", "level:2020-01-01:-50%")
    assert ended.code == 3
    assert ended.err.endswith("hint: bayside does\n")


def test_a_simulated_dataset_is_read_from_what_was_simulated(appraise, folder):
    appraise("simulate", "homes", "--rows", 333)
    ended = appraise("data", "homes", "--json")
    assert ended.json["rows_read"] == 333
    assert ended.json["source"] == str(folder / ".appraise" / "data" / "homes.parquet")


def test_data_says_what_was_dropped_and_keeps_it(appraise, folder, sales):
    assert appraise("init", sales, "--target", "price").code == 0
    ended = appraise("data", "sales.toml", "--json")
    assert ended.code == 0
    summary = ended.json
    assert summary["rows_read"] == 101
    assert sum(each["rows"] for each in summary["dropped"]) == summary["rows_read"] - summary["rows_kept"] > 0
    assert [each["name"] for each in summary["sets"]] == ["train", "validation", "holdout"]
    rejects = pl.read_csv(summary["rejects"], infer_schema=False)
    assert "-5" in rejects["price"].to_list()
    text = appraise("data", "sales.toml").out
    assert "dropped" in text
    assert summary["rejects"] in text


def test_data_that_is_not_there_is_an_error(appraise):
    ended = appraise("data", "homes", "--data", "nowhere.csv")
    assert ended.code == 5
    assert "nowhere.csv" in ended.err


def test_the_data_folder_is_searched_for_the_datasets_name(appraise, folder, monkeypatch):
    appraise("simulate", "homes", "--rows", 222, "--output", "tables/homes_of_may.csv")
    monkeypatch.setenv("APPRAISE_DATA_DIR", str(folder / "tables"))
    assert appraise("data", "homes", "--json").json["rows_read"] == 222
    assert appraise("data", "homes", "--data", "homes_of_may.csv", "--json").json["rows_read"] == 222


def test_check_looks_at_the_spec_alone(appraise, folder, sales):
    appraise("init", sales, "--target", "price")
    sales.unlink()
    ended = appraise("data", "sales.toml", "--check", "--json")
    assert ended.code == 0
    assert ended.json["target"] == "price"
    assert set(ended.json["inputs"]) == {"area", "rooms", "city"}


def test_check_says_which_line_is_wrong(appraise, folder, sales):
    appraise("init", sales, "--target", "price")
    spec = folder / "sales.toml"
    lines = spec.read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.startswith('kind = "integer"'))
    lines[line - 1] = 'kind = "integre"'
    spec.write_text("\n".join(lines))
    ended = appraise("data", "sales.toml", "--check")
    assert ended.code == 4
    assert f"error: sales.toml:{line}: " in ended.err
    assert "'integer'" in ended.err


def test_init_says_what_it_decided_and_why(appraise, folder, sales):
    ended = appraise("init", sales, "--target", "price", "--name", "bern", "--output", "specs/bern.toml", "--json")
    assert ended.code == 0
    assert (ended.json["dataset"], ended.json["path"]) == ("bern", "specs/bern.toml")
    assert {column["name"] for column in ended.json["columns"]} == {"area", "rooms", "city", "price"}
    assert all(each["reason"] for each in ended.json["decisions"])
    assert appraise("data", "specs/bern.toml").code == 0


def test_init_lists_what_the_file_leaves_open(appraise, folder):
    days = [f"{1 + n % 12:02}/{1 + n % 7:02}/2021" for n in range(100)]
    lines = [f"{300 + n}000,{50 + n % 60},{day}" for n, day in enumerate(days)]
    (folder / "sold.csv").write_text("\n".join(["price,area,sold", *lines, ""]))
    told = appraise("init", "sold.csv", "--target", "price")
    assert told.code == 0
    listed = told.out.partition("Check this, the file leaves it open:\n")[2]
    assert listed.startswith("  sold: dates, written %d/%m/%Y (no day is above 12")
    decisions = appraise("init", "sold.csv", "--target", "price", "--force", "--json").json["decisions"]
    assert [each["column"] for each in decisions if each["check"]] == ["sold"]


def test_init_never_replaces_a_spec_that_it_was_not_told_to(appraise, folder, sales):
    (folder / "sales.toml").write_text("mine")
    ended = appraise("init", sales, "--target", "price")
    assert ended.code == 8
    assert "--force" in ended.err
    assert (folder / "sales.toml").read_text() == "mine"
    assert appraise("init", sales, "--target", "price", "--force").code == 0
    assert "price" in (folder / "sales.toml").read_text()


def test_init_without_such_a_column_names_those_there_are(appraise, sales, folder):
    ended = appraise("init", sales, "--target", "prize")
    assert ended.code == 5
    assert "did you mean 'price'?" in ended.err
    assert not (folder / "sales.toml").exists()
