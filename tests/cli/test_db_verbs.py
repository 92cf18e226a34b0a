"""`db` and `features`: what a person types, on a real database."""

import json
import subprocess
import sys

import pytest

from appraise.store.revisions import newest_revision


@pytest.fixture(autouse=True)
def given(database_url, monkeypatch, folder):
    """A database of this test's own, which the environment names."""
    monkeypatch.setenv("APPRAISE_DATABASE_URL", database_url)


def test_an_upgrade_makes_the_tables_once(appraise, make_database, monkeypatch):
    monkeypatch.setenv("APPRAISE_DATABASE_URL", make_database(tables=False))
    before = appraise("db", "status", "--json").json
    assert (before["running"], before["revision"], before["up_to_date"]) == (True, None, False)
    assert "appraise db upgrade" in appraise("db", "status").out
    refused = appraise("features", "put", "user2", "MedInc=8.3")
    assert refused.code == 9
    assert "hint: bring it up to date: appraise db upgrade" in refused.err
    made = appraise("db", "upgrade", "--json").json
    assert (made["from"], made["to"], made["changed"]) == (None, newest_revision(), True)
    assert "up to date" in appraise("db", "upgrade").out
    assert appraise("db", "status", "--json").json["up_to_date"]
    (entry,) = appraise("db", "audit", "--json").json["entries"]
    assert (entry["action"], entry["subject"]) == ("database.upgraded", newest_revision())
    assert "database.upgraded" in appraise("db", "audit").out


def test_a_newer_database_is_refused(appraise):
    mark = "UPDATE appraise_revision SET version_num = '9999'"
    assert appraise("db", "psql", "-c", mark).code == 0
    refused = appraise("db", "upgrade")
    assert refused.code == 9
    assert "has revision 9999, which this version of Appraise does not know" in refused.err
    assert "install that version" in refused.err


def test_a_read_only_database_is_read_and_said_to_be_one(appraise, database_url):
    assert appraise("features", "put", "user2", "MedInc=8.3").code == 0
    name = database_url.partition("?")[0].rpartition("/")[2]
    mark = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    assert appraise("db", "psql", "-c", mark).code == 0
    refused = appraise("features", "put", "user2", "MedInc=8.4")
    assert refused.code == 9
    assert (
        " is read-only\nhint: it is a standby, or its disk is protected: give the address of the primary" in refused.err
    )
    assert appraise("features", "show", "user2", "--json").json["features"]["MedInc"]["value"] == 8.3
    assert appraise("db", "status", "--json").json["up_to_date"]


def test_psql_is_given_the_database(appraise):
    assert appraise("db", "psql", "-c", "SELECT 6 * 7 AS answer").code == 0
    done = subprocess.run(
        [sys.executable, "-m", "appraise", "db", "psql"],
        input="SELECT 6 * 7 AS answer;\n\\q\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert "42" in done.stdout
    assert appraise("db", "psql", "-c", "SELECT nonsense").code != 0
    call = appraise("db", "psql", "--json").json
    assert call["arguments"][0].endswith("psql")


def test_a_database_that_was_given_is_not_stopped_from_here(appraise):
    refused = appraise("db", "stop")
    assert refused.code == 9
    assert "is not the embedded one" in refused.err


def test_the_embedded_one_is_not_started_to_be_looked_at(appraise, monkeypatch, folder):
    monkeypatch.delenv("APPRAISE_DATABASE_URL")
    status = appraise("db", "status", "--json").json
    assert (status["embedded"], status["running"], status["version"]) == (True, False, None)
    told = " ".join(appraise("db", "status").out.split())
    assert "does not run. Whatever needs it starts it; once appraise db stop has ended it, only appraise up" in told
    assert appraise("db", "stop", "--json").json["stopped"] is False
    assert not (folder / ".appraise" / "postgres").exists()


def test_an_address_that_is_none_is_refused_without_its_password(appraise, monkeypatch):
    monkeypatch.setenv("APPRAISE_DATABASE_URL", "mysql://ann:p@ss/w0rd@db/homes")
    refused = appraise("db", "status")
    assert refused.code == 3
    assert "APPRAISE_DATABASE_URL" in refused.err
    assert "w0rd" not in refused.err


def test_features_are_put_and_shown(appraise):
    put = appraise("features", "put", "user2", "HouseAge=41", "AveRooms=6.98", "--at", "2026-10-01", "--json").json
    assert put["values"] == {"HouseAge": 41, "AveRooms": 6.98}
    assert put["changed"] == 2
    assert appraise("features", "put", "user2", "HouseAge=42", "--at", "2026-11-01T00:00:00Z").code == 0
    shown = appraise("features", "show", "user2", "--json").json["features"]
    assert {name: one["value"] for name, one in shown.items()} == {"AveRooms": 6.98, "HouseAge": 42}
    assert shown["HouseAge"]["timestamp"] == "2026-11-01T00:00:00+00:00"
    then = appraise("features", "show", "user2", "--at", "2026-10-15", "--json").json["features"]
    assert then["HouseAge"]["value"] == 41
    assert "AveRooms" in appraise("features", "show", "user2").out
    assert "Nothing of user2 was stored" in appraise("features", "show", "user2", "--at", "2020-01-01").out


def test_values_are_what_the_column_is(appraise):
    values = ("zip_code=00104", "living_area=120", "home_type=flat")
    assert appraise("features", "put", "u", *values, "--dataset", "bayside", "--json").json["values"] == {
        "zip_code": "00104",
        "living_area": 120,
        "home_type": "flat",
    }
    plain = appraise("features", "put", "u", "a=00104", "b=7", "c=true", "d=[1]", "e=x=y", "--json").json["values"]
    assert plain == {"a": "00104", "b": 7, "c": True, "d": "[1]", "e": "x=y"}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["put", "u", "MedInc"], 5, "a feature is given as NAME=VALUE, received 'MedInc'"),
        (["put", "u", "=3"], 5, "NAME=VALUE"),
        (["put", "", "a=1"], 5, "user_id must be a text of 1 to 200 characters"),
        (["put", "u", "a=NaN"], 5, "value must be a finite number"),
        (["put", "u", "MedIncome=1", "--dataset", "california"], 5, "california has no input 'MedIncome'"),
        (["put", "u", "HouseAge=-1", "--dataset", "california"], 5, "HouseAge: must be at least 0"),
        (["put", "u", "a=1", "--at", "yesterday"], 2, "is not a time such as"),
        (["show", "nobody"], 5, "nothing is stored of the user 'nobody'"),
        (["put", "u"], 2, "NAME=VALUE"),
    ],
)
def test_what_cannot_be_stored_is_named(appraise, arguments, code, sentence):
    ended = appraise("features", *arguments)
    assert ended.code == code
    assert sentence in ended.err


def test_nothing_is_stored_of_what_is_half_wrong(appraise):
    assert appraise("features", "put", "u", "a=1", "b=NaN").code == 5
    assert appraise("features", "show", "u").code == 5


def test_errors_are_json_where_json_was_asked_for(appraise, monkeypatch):
    monkeypatch.setenv("APPRAISE_DATABASE_URL", "postgresql://ann:secret@127.0.0.1:1/homes")
    ended = appraise("db", "status", "--json")
    error = json.loads(ended.out)["error"]
    assert (error["type"], error["exit_code"]) == ("StoreUnavailableError", 9)
    assert "homes@127.0.0.1:1 cannot be reached" in error["message"]
    assert "secret" not in ended.out + ended.err
