"""`train`, `tune`, `evaluate` and `predict` on a small table, and the JSON of every verb beside its documentation."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from appraise.cli.program import run
from appraise.jobs.predict import InterruptedRun

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which `homes` was simulated and trained."""
    home = tmp_path_factory.mktemp("home")
    assert run(["--home", str(home), "simulate", "homes", "--rows", "400"]) == 0
    assert run(["--home", str(home), "train", "homes", "--threads", "1"]) == 0
    return home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("APPRAISE_HOME", str(home))
    monkeypatch.setenv("APPRAISE_TRAIN__THREADS", "1")


def test_evaluate_tells_the_same_as_text_json_and_page(appraise, folder):
    ended = appraise("evaluate", "homes", "--html", "report.html")
    assert ended.code == 0
    document = appraise("evaluate", "homes", "--json").json
    holdout = document["splits"]["holdout"]
    assert f"Holdout, {holdout['rows']} sales" in ended.out
    assert f"{holdout['metrics']['mape']['value']:.2%}" in ended.out
    assert document["model"]["version"] in (folder / "report.html").read_text()
    assert Path(document["report"]).exists()
    assert "report.html" in ended.out


def test_a_run_into_a_folder_says_what_was_there_and_what_ctrl_c_kept(appraise, folder, monkeypatch):
    appraise("simulate", "homes", "--rows", 20, "--seed", 9, "--output", "new.csv")
    command = ("predict", "homes", "--input", "new.csv", "--output", "parts/", "--workers", 1)
    assert "there already" not in appraise(*command).out
    assert ", 1 part, 1 of which was there already" in appraise(*command).out
    new = f"../{folder.name}/new.csv"
    again = appraise("predict", "homes", "--input", new, "--output", "parts/../parts/", "--json").json
    assert (again["resumed"], again["output"]) == (1, str(folder / "parts"))
    single = appraise("predict", "homes", "--input", new, "--output", "parts/../out.csv", "--json").json
    assert single["output"] == str(folder / "out.csv")

    def interrupted(*_: object, **__: object) -> None:
        raise InterruptedRun(9, 22)

    monkeypatch.setattr("appraise.jobs.predict.predict_folder", interrupted)
    ended = appraise(*command)
    assert ended.code == 130
    assert ended.err == "error: interrupted; 9 of 22 parts done and kept\nhint: the same command goes on from there\n"
    assert appraise(*command, "--json").json["error"]["hint"] == "the same command goes on from there"


@pytest.mark.parametrize("output", ["out.csv", "parts/"])
def test_predict_says_how_many_estimates_are_not_to_be_used(appraise, folder, monkeypatch, output):
    appraise("simulate", "homes", "--rows", 3, "--seed", 9, "--output", "new.csv")
    command = ("predict", "homes", "--input", "new.csv", "--output", output)
    ended = appraise(*command)
    assert "Valued 3 of 3 homes" in ended.out
    assert "not to be used" not in ended.out
    # Nobody vouches for any of them.
    monkeypatch.setattr("appraise.serving.estimates._LEAST_SCORES", (2.0, 2.0, 2.0))
    again = appraise(*command, *(["--overwrite"] if output == "parts/" else []))
    assert "3 estimates are not to be used, with the confidence grade none; the column warnings says why." in again.out
    assert appraise(*command, "--json").json["unusable"] == 3
    (folder / "new.csv").write_text("\n".join((folder / "new.csv").read_text().splitlines()[:2]) + "\n-5,,,,,\n")
    one = appraise(*command, *(["--overwrite"] if output == "parts/" else []))
    assert "1 was refused;" in one.out
    assert "1 estimate is not to be used," in one.out


def test_predict_values_every_row_or_says_why_not(appraise, folder):
    appraise("simulate", "homes", "--rows", 20, "--seed", 9, "--output", "new.csv")
    lines = (folder / "new.csv").read_text().splitlines()
    cells = lines[3].split(",")
    cells[0] = "-5"
    lines[3] = ",".join(cells)
    (folder / "new.csv").write_text("\n".join(lines) + "\n")
    ended = appraise("predict", "homes", "--input", "new.csv", "--output", "out.parquet", "--level", 0.8, "--json")
    assert ended.code == 0
    assert (ended.json["rows"], ended.json["valued"], ended.json["refused"]) == (20, 19, 1)
    out = pl.read_parquet(folder / "out.parquet")
    assert out.height == 20
    assert "square_feet" in out["error"][2]
    assert out["estimate"].null_count() == 1
    valued = out.filter(pl.col("estimate").is_not_null())
    assert (valued["lower"] < valued["estimate"]).all()
    assert (valued["estimate"] < valued["upper"]).all()
    wide = appraise("predict", "homes", "--input", "new.csv", "--output", "wide.csv", "--level", 0.95)
    assert "Valued 19 of 20 homes" in wide.out
    assert (pl.read_csv(folder / "wide.csv")["upper"] > out["upper"]).drop_nulls().all()


def test_training_again_promotes_an_equal_model_and_keeps_the_former(appraise):
    first = appraise("models", "list", "homes", "--json").json["models"][0]
    again = appraise("train", "homes", "--json").json
    assert again["alias"] == "champion"
    assert again["model"]["error"] == pytest.approx(first["error"], rel=1e-12)
    assert again["model"]["version"] != first["version"]
    assert appraise("models", "show", "homes", "--version", first["version"]).code == 0
    ended = appraise("train", "homes", "--no-promote")
    assert "is the challenger: promotion was not wanted." in ended.out
    assert appraise("models", "show", "homes", "--json").json["version"] == again["model"]["version"]


@pytest.mark.parametrize("level", ["0", "1", "-1", "nan"])
def test_a_level_that_is_none_is_wrong_usage(appraise, level):
    ended = appraise("predict", "homes", "--input", "new.csv", "--output", "out.csv", "--level", level)
    assert ended.code == 2
    assert "is not between 0 and 1" in ended.err


def test_a_model_that_cannot_be_tuned_is_answered_with_those_that_can(appraise):
    ended = appraise("tune", "homes", "--model", "linear")
    assert ended.code == 2
    assert "lightgbm" in ended.err


def test_no_model_is_an_error_that_says_how_to_get_one(appraise, folder):
    for args in (["evaluate", "garden"], ["predict", "garden", "--input", "x.csv", "--output", "y.csv"]):
        ended = appraise(*args)
        assert ended.code == 7
        assert "hint: train it first: appraise train garden" in ended.err


def test_ctrl_c_while_training_leaves_no_model_and_the_next_run_works(home, folder, appraise):
    before = appraise("models", "list", "--json").json
    command = [sys.executable, "-m", "appraise", "--log-level", "debug", "train", "homes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if json.loads(line).get("task") == "candidates":
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "error: interrupted; nothing half done was kept"
    assert list((home / "tmp").iterdir()) == []
    assert appraise("models", "list", "--json").json == before
    assert appraise("models", "show", "homes").code == 0


def test_a_disk_that_is_full_while_training_leaves_the_models_as_they_were(home, folder, appraise):
    before = appraise("models", "list", "--json").json
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
        "from appraise.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "--home", "small", "train", "homes", "--data", home / "data/homes.parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode in (7, 8)
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert "hint: " in done.stderr
    assert appraise("models", "list", "--json").json == before


# JSON and its documentation


def _documented(verb: str) -> list[list[str]]:
    """The tables of keys in the verb's part of json.md."""
    text = (ROOT / "docs" / "json.md").read_text()
    part = re.search(rf"^## `{verb}`$(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert part is not None, verb
    tables = re.split(r"^\|---\|---\|$", part[1], flags=re.MULTILINE)[1:]
    return [re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE) for table in tables]


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, (*path[:-1], path[-1] + "[]"))
    elif not isinstance(value, dict):
        yield path


def _covers(pattern: str, path: tuple[str, ...]) -> bool:
    parts = pattern.split(".")
    if parts[-1] == "**":
        return len(path) >= len(parts) and _covers(".".join(parts[:-1]), path[: len(parts) - 1])
    return len(parts) == len(path) and all(
        part == key or (part == "*" and not key.endswith("[]")) or (part == "*[]" and key.endswith("[]"))
        for part, key in zip(parts, path, strict=True)
    )


@pytest.mark.parametrize(
    ("verb", "table", "args", "may_be_absent"),
    [
        ("appraise init", 0, ["init", "new.csv", "--target", "price"], ()),
        (
            "appraise simulate",
            0,
            ["simulate", "bayside", "--rows", 5, "--shock", "level:2020-01-01:1%", "-o", "b.csv"],
            (),
        ),
        ("appraise data", 0, ["data", "new.toml"], ()),
        ("appraise data", 1, ["data", "new.toml", "--check"], ()),
        ("appraise train", 0, ["train", "homes"], ("left_out[]",)),
        ("appraise tune", 0, ["tune", "homes", "--trials", 1, "--model", "lightgbm"], ()),
        ("appraise evaluate", 0, ["evaluate", "homes"], ()),
        ("appraise predict", 0, ["predict", "homes", "--input", "new.csv", "--output", "out.csv"], ()),
        ("appraise predict", 1, ["predict", "homes", "--input", "new.csv", "--output", "parts/"], ()),
        ("appraise models list", 0, ["models", "list"], ()),
        ("appraise models show", 0, ["models", "show", "homes"], ()),
        ("An error", 0, ["data", "nowhere"], ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_keys_of_json_are_those_that_are_documented(appraise, folder, verb, table, args, may_be_absent):
    # Rows to be dropped, a column that the spec leaves out and one that it does not know: no list is empty.
    appraise("simulate", "homes", "--rows", 200, "--output", "new.csv")
    header, *rows = (folder / "new.csv").read_text().splitlines()
    rows += ["-5,3,2,10,5,100000", ",,,,,"]
    keyed = [f"{header},key", *(f"{row},K{number:05}" for number, row in enumerate(rows))]
    (folder / "new.csv").write_text("\n".join(keyed))
    if args[0] == "data":
        appraise("init", "new.csv", "--target", "price")
        (folder / "new.csv").write_text("\n".join([f"{keyed[0]},stray", *(f"{row},1" for row in keyed[1:])]))
    text = (ROOT / "docs" / "json.md").read_text()
    documented = (
        re.findall(r"^\| `(error\.[^`]+)` \|", text, flags=re.MULTILINE)
        if verb == "An error"
        else _documented(verb)[table]
    )
    ended = appraise(*args, "--json")
    paths = set(_paths(ended.json))
    unknown = [path for path in paths if not any(_covers(pattern, path) for pattern in documented)]
    assert not unknown, f"not in docs/json.md: {sorted('.'.join(path) for path in unknown)}"
    stale = [pattern for pattern in documented if not any(_covers(pattern, path) for path in paths)]
    assert set(stale) <= set(may_be_absent), f"in docs/json.md and not there: {stale}"
