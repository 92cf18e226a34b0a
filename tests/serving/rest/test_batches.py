"""Batch runs over REST: ordered, carried out beside the service, recorded, and gone on with after a kill."""

import csv
import os
import signal

import pyarrow.parquet
import pytest
from sqlalchemy import create_engine, text
from tests.waiting import until


@pytest.fixture
def inputs(tmp_path, row):
    """A folder that a service may read, with a file of 300 homes of which one is impossible and one in the sea."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    with (folder / "new.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["home", *row])
        writer.writeheader()
        elsewhere = {7: {"Latitude": 370.0}, 8: {"Latitude": 33.0, "Longitude": -125.0}}
        writer.writerows({"home": home, **row, **elsewhere.get(home, {})} for home in range(300))
    return folder


def until_over(server, batch_id: str, seconds: float = 90.0) -> dict:
    def over() -> dict | None:
        order = server.get(f"/batches/{batch_id}").json()
        return order if order["state"] in ("done", "failed") else None

    return until(over, seconds)


def test_a_run_is_ordered_carried_out_and_recorded(serve, own_home, inputs, database_url):
    server = serve(
        own_home,
        APPRAISE_SERVE__BATCH_INPUTS=f'["{inputs}"]',
        APPRAISE_DATABASE_URL=database_url,
    )
    answer = server.post("/run_batch", json={"input": "new.csv", "level": 0.8})
    assert answer.status_code == 202
    order = answer.json()
    assert answer.headers["location"] == f"/batches/{order['batch_id']}"
    assert order["state"] == "queued"
    done = until_over(server, order["batch_id"])
    assert (done["state"], done["rows"], done["valued"], done["model_version"]) == ("done", 300, 299, "1.0.0")
    assert done["unusable"] == 1, "no model of California knows what a home in the sea is worth"
    second = server.post("/run_batch", json={"input": "new.csv"}).json()
    listed = server.get("/batches").json()["batches"]
    assert [one["batch_id"] for one in listed] == [second["batch_id"], order["batch_id"]]
    assert listed[1] == done
    assert [one["batch_id"] for one in server.get("/batches?limit=1").json()["batches"]] == [second["batch_id"]]
    assert server.get("/batches?limit=0").status_code == 422
    until_over(server, second["batch_id"])
    made = pyarrow.parquet.read_table(done["output"])
    assert made.column("home").to_pylist() == [str(home) for home in range(300)]
    assert [place for place, reason in enumerate(made.column("error").to_pylist()) if reason] == [7]
    engine = create_engine(database_url)
    with engine.connect() as connection:
        query = text("select * from batches where batch_id = cast(:id as uuid)")
        recorded = connection.execute(query, {"id": order["batch_id"]}).mappings().one()
    engine.dispose()
    assert str(recorded["batch_id"]) == order["batch_id"]
    assert (recorded["state"], recorded["rows"], recorded["valued"], recorded["refused"]) == ("done", 300, 299, 1)
    assert recorded["detail"]["manifest_sha256"] == done["manifest_sha256"]
    assert recorded["detail"]["unusable"] == 1


def test_a_run_goes_on_after_the_service_was_killed(serve, own_home, inputs):
    settings = {"APPRAISE_SERVE__BATCH_INPUTS": f'["{inputs}"]'}
    server = serve(own_home, **settings)
    order = server.post("/run_batch", json={"input": "new.csv"}).json()
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=60)
    done = until_over(serve(own_home, **settings), order["batch_id"])
    assert (done["state"], done["rows"], done["valued"]) == ("done", 300, 299)


def test_what_cannot_be_valued_fails_with_its_reason(serve, own_home, inputs):
    (inputs / "other.csv").write_text("a,b\n1,2\n")
    server = serve(own_home, APPRAISE_SERVE__BATCH_INPUTS=f'["{inputs}"]')
    order = server.post("/run_batch", json={"input": "other.csv"}).json()
    failed = until_over(server, order["batch_id"])
    assert failed["state"] == "failed"
    assert "has no column 'MedInc'" in failed["error"]
    assert failed["hint"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"input": "../home/mlflow.db"}, 403, "may not be read"),
        ({"input": "/etc/passwd"}, 403, "may not be read"),
        ({"input": ""}, 422, "input"),
        ({"input": "a.csv", "month": "2023-05"}, 422, "both"),
        ({}, 422, "neither"),
        ({"month": "2023-13"}, 422, "must be a month"),
        ({"month": "2023-05"}, 409, "no date of sale"),
        ({"input": "a.csv", "model_name": "garden"}, 404, "garden"),
        ({"input": "a.csv", "model_version": "9.9.9"}, 404, "no version"),
        ({"input": "a.csv", "level": 1}, 422, "level"),
        ({"input": "a.csv", "level": True}, 422, "level"),
        ({"input": "a.csv", "output": "/etc"}, 422, "output"),
        ({"input": ["a.csv"]}, 422, "must be a text"),
        ([], 422, "object"),
    ],
)
def test_orders_that_are_refused(server, body, status, said):
    answer = server.post("/run_batch", json=body)
    assert answer.status_code == status
    problem = answer.json()
    assert said in problem["detail"] + str(problem.get("errors"))


def test_an_unknown_run_is_not_found(server):
    assert server.get("/batches/6f1c1b52-6d6e-4c5b-9a11-000000000000").status_code == 404
    assert server.get("/batches/..%2f..%2fkeys").status_code == 404
