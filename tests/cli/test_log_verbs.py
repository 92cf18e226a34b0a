"""`log` and `outcomes`: what a person types, on a real log and a real database."""

import datetime as dt
import os
import pty
import subprocess
import sys
import uuid

import polars as pl
import pytest

from appraise.store.log import PredictionLog
from appraise.store.logplan import LogPlan
from appraise.store.records import Served, ServedInterval
from appraise.store.segments import SpoolFolder

TODAY = dt.datetime.now(tz=dt.UTC)


@pytest.fixture(autouse=True)
def log(database_url, monkeypatch, folder):
    """Ten estimates of three days ago in the spool of the working folder's home."""
    monkeypatch.setenv("APPRAISE_DATABASE_URL", database_url)
    place = folder / ".appraise" / "log"
    opened = PredictionLog(LogPlan(place))
    opened.append_all(
        Served(
            prediction_id=str(uuid.UUID(int=number)),
            timestamp=(TODAY - dt.timedelta(days=3)).isoformat(timespec="milliseconds"),
            model_name="california",
            model_version="1.0.0",
            prediction=4.5,
            prediction_interval=ServedInterval(4.0, 5.0, 0.9),
            confidence_score=0.9,
            input_features={"MedInc": 8.3},
            user_id=f"home-{number}",
            currency="USD",
            price_unit=100_000.0,
        )
        for number in range(10)
    )
    assert opened.close() == 0
    return place


def test_a_log_is_loaded_looked_at_and_verified(appraise):
    before = appraise("log", "status", "--json").json
    assert (before["records_in_database"], before["segments"], before["loading"]) == (0, 1, False)
    assert before["unloaded_bytes"] == before["spool_bytes"] > 0
    assert before["oldest_unloaded_seconds"] > 2 * 86_400
    assert "appraise log load" in appraise("log", "status").out
    assert appraise("log", "load", "--json").json == {"records": 10, "unloaded_bytes": 0}
    assert appraise("log", "load").out == "Loaded 0 predictions\n"
    after = appraise("log", "status", "--json").json
    assert (after["records_in_database"], after["unloaded_bytes"]) == (10, 0)
    found = appraise("log", "verify")
    assert found.code == 0
    assert "spool: 10 records in 1 segment\ndatabase: 10 records in 1 segment\nNothing was changed." in found.out
    assert appraise("log", "verify", "--spool", "--json").json["records"] == {"spool": 10}


@pytest.mark.parametrize("verb", ["verify", "load", "status"])
def test_a_spool_that_cannot_be_read_is_told_with_what_to_do(appraise, log, verb):
    (log / f"{0:012d}-{0:032x}.spool").mkdir()
    found = appraise("log", verb)
    assert found.code == 9
    assert f"error: the prediction log in {log} cannot be read: Is a directory\nhint: run as the user" in found.err


def test_what_was_changed_is_named_and_the_exit_code_says_so(appraise, log):
    assert appraise("log", "load").code == 0
    change = "UPDATE predictions SET estimate = 1 WHERE position = 4"
    assert appraise("db", "psql", "-c", change).code == 0
    found = appraise("log", "verify")
    assert found.code == 9
    assert "ALTERED in the database" in found.out
    assert "estimate of record 4 is not what the record says" in found.out
    (segment,) = SpoolFolder(log).segments()
    data = bytearray(segment.path.read_bytes())
    data[len(data) // 2] ^= 1
    segment.path.write_bytes(data)
    assert [one["kind"] for one in appraise("log", "verify", "--spool", "--json").json["findings"]] == ["damaged"]


def test_an_export_goes_to_a_file_or_a_pipe_and_can_be_verified(appraise, folder):
    appraise("log", "load")
    command = [sys.executable, "-m", "appraise", "log", "export", "--since", f"{TODAY - dt.timedelta(days=5):%Y-%m-%d}"]
    piped = subprocess.run(command, capture_output=True, check=True, timeout=60)
    (folder / "log.parquet").write_bytes(piped.stdout)
    frame = pl.read_parquet(folder / "log.parquet")
    assert (len(frame), frame["estimate"].unique().to_list()) == (10, [4.5])
    assert b"Exported 10 predictions." in piped.stderr
    assert appraise("log", "verify", "log.parquet").code == 0
    frame[:4].with_columns(pl.col("record").str.replace("4.5", "9.9")).write_parquet("changed.parquet")
    assert appraise("log", "verify", "changed.parquet", "--json").json["findings"][0]["kind"] == "altered"
    late = appraise("log", "export", "--since", f"{TODAY:%Y-%m-%d}", "--output", "none.parquet", "--json")
    assert late.json == {"rows": 0, "output": "none.parquet"}
    assert appraise("log", "export", "--since", "yesterday", "-o", "x.parquet").code == 2
    (folder / "other.parquet").write_bytes(b"PAR1")
    assert appraise("log", "verify", "other.parquet").code == 5
    main, side = pty.openpty()
    try:
        shown = subprocess.run(command, stdout=side, stderr=subprocess.PIPE, check=False, timeout=60)
    finally:
        os.close(side)
        os.close(main)
    assert (shown.returncode, b"not for a terminal" in shown.stderr) == (2, True)


def test_sales_of_a_file_are_taken_or_refused_row_by_row(appraise, folder):
    appraise("log", "load")
    sold = f"{TODAY:%Y-%m-%d}"
    rows = [
        f"{uuid.UUID(int=1)},,450000,{sold}",
        f",home-2,500000,{sold}",
        f"{uuid.UUID(int=99)},,450000,{sold}",
        f"{uuid.UUID(int=3)},,-5,{sold}",
        f"{uuid.UUID(int=4)},,4.5,{sold}",
        f"{uuid.UUID(int=5)},,450000,01/02/2026",
    ]
    (folder / "sold.csv").write_text("\n".join(["prediction_id,user_id,price,sold_at", *rows, ""]))
    found = appraise("outcomes", "add", "sold.csv", "--rejects", "refused.csv", "--json")
    assert found.code == 5
    assert (found.json["rows"], found.json["recorded"], found.json["counted"]) == (6, 2, 2)
    assert [one["row"] for one in found.json["refused"]] == [3, 4, 5, 6]
    refused = pl.read_csv(folder / "refused.csv", infer_schema=False)
    assert refused["reason"].str.contains("no prediction|above 0|far from|must be a date").all()
    again = appraise("outcomes", "add", "sold.csv")
    assert "Took 2 of 6 rows: 0 new, 2 known already" in again.out
    accuracy = appraise("outcomes", "accuracy", "--days", "7", "--json").json
    assert (accuracy["outcomes"], accuracy["models"][0]["rows"]) == (2, 2)
    assert accuracy["models"][0]["metrics"]["mape"] == pytest.approx(0.05)
    assert "california  1.0.0" in appraise("outcomes", "accuracy").out
    pl.read_csv(folder / "sold.csv").with_columns(pl.col("sold_at").str.to_date(strict=False))[:2].write_parquet(
        "s.parquet"
    )
    assert appraise("outcomes", "add", "s.parquet", "--json").json["known"] == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("sold.csv", "prediction_id,price\n", "has no column sold_at"),
        ("sold.csv", "price,sold_at\n", "has no column prediction_id (or user_id)"),
        ("sold.txt", "", "is neither .csv nor .parquet"),
        ("sold.parquet", "text", "cannot be read"),
        (None, "", "there is no file missing.csv"),
    ],
)
def test_a_file_that_is_no_list_of_sales_is_refused(appraise, folder, name, text, words):
    if name is not None:
        (folder / name).write_text(text)
    found = appraise("outcomes", "add", name or "missing.csv")
    assert found.code == 5
    assert words in found.err


def test_a_database_that_is_away_is_no_success(appraise, monkeypatch):
    monkeypatch.setenv("APPRAISE_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    found = appraise("log", "verify")
    assert found.code == 9
    assert "Nothing was changed in the spool; the database was not checked." in found.out
    assert appraise("log", "verify", "--spool").code == 0


@pytest.mark.parametrize("options", [(), ("--spool",)])
def test_an_audit_of_a_home_without_a_log_does_not_pass(appraise, monkeypatch, folder, options):
    monkeypatch.delenv("APPRAISE_DATABASE_URL")
    monkeypatch.setenv("APPRAISE_HOME", str(folder / "wrong"))
    found = appraise("log", "verify", *options)
    assert found.code == 9
    assert f"there is no prediction log in {folder / 'wrong' / 'log'}" in found.err
    assert "APPRAISE_HOME" in found.err
    assert "Nothing was changed" not in found.out
    told = appraise("log", "verify", *options, "--json")
    assert told.code == 9
    assert "there is no prediction log" in told.json["error"]["message"]


def test_a_database_whose_spool_is_elsewhere_is_verified(appraise, monkeypatch, folder):
    assert appraise("log", "load").code == 0
    monkeypatch.setenv("APPRAISE_HOME", str(folder / "other"))
    found = appraise("log", "verify")
    assert found.code == 0
    assert "database: 10 records" in found.out


def test_a_home_without_a_database_exports_nothing(appraise, monkeypatch, folder):
    monkeypatch.delenv("APPRAISE_DATABASE_URL")
    ended = appraise("log", "export", "--output", "none.parquet")
    assert (ended.code, ended.out) == (0, "Exported 0 predictions to none.parquet\n")
    assert appraise("log", "verify", "none.parquet").code == 0
    assert not (folder / ".appraise" / "postgres").exists()


@pytest.mark.parametrize("verb", [("log", "verify"), ("outcomes", "add")])
def test_a_file_that_is_not_there_or_empty_is_said_alike(appraise, folder, verb):
    (folder / "sold.csv").touch()
    missing = appraise(*verb, "solt.csv")
    assert missing.code == 5
    assert missing.err == "error: there is no file solt.csv\nhint: did you mean 'sold.csv'?\n"
    empty = appraise(*verb, "sold.csv")
    assert empty.code == 5
    assert "the file sold.csv is empty" in empty.err
