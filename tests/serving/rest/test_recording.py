"""Estimates and what becomes of them, over HTTP: recorded, found again, settled, and there after a kill."""

import concurrent.futures
import datetime as dt
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing

import httpx
import pytest
from tests.waiting import until

from appraise.store.loader import Loader
from appraise.store.segments import SpoolFolder
from appraise.store.verify import verify


@pytest.fixture
def recorded(own_home, database_url, serve):
    """A service with a database of its own."""

    def start(mode="async", url=database_url, **log):
        variables = {"mode": mode, **log}
        given = {f"APPRAISE_PREDICTION_LOG__{name.upper()}": str(value) for name, value in variables.items()}
        return serve(own_home, APPRAISE_DATABASE_URL=url, **given)

    return start


@pytest.fixture
def run_serve():
    """Runs a service that should not start; gives its exit code and what it said."""

    def run(home):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
        command = [sys.executable, "-m", "appraise", "--home", str(home), "serve", "--port", "0"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=home.parent
        )
        return done.returncode, done.stderr

    return run


def _loaded(server, name):
    found = server.get(f"/predictions/{name}")
    assert found.status_code == 200, found.text
    return found.json() if found.json()["log"]["place"] == "database" else None


def test_an_estimate_is_found_at_once_and_settled_by_its_sale(recorded, own_home, database, row):
    server = recorded()
    answer = server.post("/predict", json=row).json()
    name = answer["prediction_id"]
    found = server.get(f"/predictions/{name}").json()
    assert {key: found[key] for key in answer} == answer
    assert (found["transport"], found["arm"], found["currency"]) == ("rest", "champion", "USD")
    assert until(lambda: _loaded(server, name))["outcomes"] == []
    assert server.get("/latest_predictions").text.count('"price_unit"') == 1

    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    price = round(answer["prediction"] * 100_000)
    body = {"prediction_id": name, "price": price, "sold_at": tomorrow}
    taken = server.post("/outcomes", json=body)
    assert taken.status_code == 201, taken.text
    assert (taken.json()["status"], taken.json()["counted"]) == ("recorded", True)
    assert server.post("/outcomes", json=body).status_code == 200
    assert server.get(f"/predictions/{name}").json()["outcomes"][0]["price"] == price
    summary = server.get("/monitoring/metrics/summary?days=7").json()
    assert (summary["outcomes"], summary["models"][0]["rows"]) == (1, 1)
    assert dt.datetime.fromisoformat(summary["until"]) <= dt.datetime.now(tz=dt.UTC)
    assert summary["models"][0]["metrics"]["mape"] < 0.01

    for wrong, status, words in (
        ({**body, "prediction_id": str(uuid.UUID(int=0))}, 404, "the log has no prediction"),
        ({**body, "price": -1}, 422, "price: must be above 0"),
        ({**body, "price": price / 100_000}, 409, "far from the estimate"),
        ({**body, "sold_at": "2999-01-01"}, 422, "must not be in the future"),
        ({}, 422, "prediction_id"),
        ("text", 422, "must be an outcome or an array"),
        ([], 422, "must hold from 1 to 1,000 outcomes"),
    ):
        refused = server.post("/outcomes", json=wrong)
        assert (refused.status_code, words in refused.json()["detail"]) == (status, True), refused.text
    many = server.post("/outcomes", json=[body, {**body, "price": 0}, 7]).json()
    assert (many["taken"], many["refused"]) == (1, 2)
    assert server.get(f"/predictions/{uuid.UUID(int=1)}").status_code == 404
    assert server.get("/predictions/nonsense").status_code == 404


def test_an_outcome_may_follow_its_estimate_at_once(recorded, row):
    server = recorded(commit_seconds=0.5)
    until(lambda: server.get("/health/detailed").json()["dependencies"]["database"]["status"] == "up")
    for _ in range(2):
        names = [server.post("/predict", json=row).json()["prediction_id"] for _ in range(2)]
        sold = [{"prediction_id": name, "price": 450_000, "sold_at": "2026-11-01"} for name in names]
        assert server.post("/outcomes", json=sold[0]).status_code == 201
        sold.append({**sold[0], "prediction_id": str(uuid.UUID(int=0))})
        told = server.post("/outcomes", json=sold).json()
        assert (told["taken"], told["refused"]) == (2, 1)


def test_every_way_of_asking_is_recorded(recorded, own_home, database, row):
    server = recorded()
    single = server.post("/predict?model_version=1.0.0", json=row).json()
    batch = server.post("/predict/batch", json={"rows": [row, {}, row]}).json()
    tensors = [{"name": name, "datatype": "FP64", "shape": [2], "data": [value] * 2} for name, value in row.items()]
    assert server.post("/v2/models/california/infer", json={"id": "r1", "inputs": tensors}).status_code == 200
    explained = server.post("/predict?explain=true&comparables=2", json=row).json()
    checks = [server.post(f"/predict?check=true{more}", json=row).json() for more in ("", "&comparables=1")]

    def page():
        found = server.get("/latest_predictions?limit=10").json()["predictions"]
        return found if len(found) == 8 else None

    found = {one["prediction_id"]: one for one in until(page)}
    assert {found[one["prediction_id"]]["arm"] for one in checks} == {"check"}
    assert (found[single["prediction_id"]]["arm"], "alias" in found[single["prediction_id"]]) == ("version", False)
    for one in (batch["results"][0], batch["results"][2]):
        assert found[one["prediction_id"]]["batch_id"] == batch["batch_id"]
        assert found[one["prediction_id"]]["input_features"] == row
    assert sum(one.get("request_id") == "r1" for one in found.values()) == 2
    assert len(found[explained["prediction_id"]]["comparables"]) == 2
    first = server.get("/latest_predictions?limit=4").json()
    rest = server.get("/latest_predictions", params={"limit": 4, "cursor": first["next"]}).json()
    assert (len(first["predictions"]), len(rest["predictions"]), rest["next"]) == (4, 4, None)
    assert server.get("/latest_predictions?limit=0").status_code == 422
    assert server.get("/latest_predictions?cursor=abc").status_code == 404
    assert server.end() == 0
    checked = verify(own_home / "log", database)
    assert (checked.whole, checked.records) == (True, {"spool": 8, "database": 8})


def test_metrics_and_health_tell_how_the_log_stands(recorded, row):
    server = recorded()
    server.post("/predict", json=row)

    def figures():
        found = _figures(server)
        settled = found["appraise_log_durable_records_total"] == 1 and found["appraise_log_loaded_records_total"] == 1
        return found if settled else None

    found = until(figures)
    assert (found["appraise_log_records_total"], found["appraise_log_durable_records_total"]) == (1, 1)
    assert (found["appraise_log_queue_records"], found["appraise_log_workers_in_trouble"]) == (0, 0)
    assert (found["appraise_log_unloaded_bytes"], found["appraise_log_loading"]) == (0, 1)
    assert server.get("/health/detailed").json()["dependencies"]["prediction_log"]["status"] == "up"


def test_without_its_database_a_service_gives_estimates_keeps_them_and_loads_them_later(
    recorded, own_home, database, database_url, row
):
    server = recorded(url=database_url.replace("host=", "host=/nowhere"))
    name = server.post("/predict", json=row).json()["prediction_id"]
    assert server.get(f"/predictions/{name}").json()["log"]["place"] == "spool"
    sold = {"prediction_id": name, "price": 100_000, "sold_at": "2026-11-01"}
    away = [server.get(f"/predictions/{uuid.UUID(int=0)}"), server.post("/outcomes", json=sold)]
    away += [server.get("/latest_predictions"), server.get("/monitoring/metrics/summary")]
    assert [(one.status_code, "retry-after" in one.headers) for one in away] == [(503, True)] * 4
    assert server.get("/health/ready").status_code == 200
    assert server.end() == 0
    with closing(Loader(own_home / "log", database)) as loader:
        assert loader.load() == 1


def test_a_read_only_database_costs_no_estimate_and_outcomes_are_refused_with_the_reason(recorded, database, row):
    with database.connect() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    server = recorded()
    answer = server.post("/predict", json=row)
    assert answer.status_code == 200
    name = answer.json()["prediction_id"]
    until(lambda: server.get("/health/detailed").json()["dependencies"]["database"]["status"] == "up")
    assert server.get(f"/predictions/{name}").json()["log"]["place"] == "spool"
    sold = {"prediction_id": name, "price": 100_000 * answer.json()["prediction"], "sold_at": "2026-11-01"}
    refused = server.post("/outcomes", json=sold)
    assert refused.status_code == 503
    assert " is read-only" in refused.json()["detail"]
    assert "primary" in refused.json()["hint"]
    assert server.get("/health/ready").status_code == 200
    assert server.end() == 0


def test_a_spool_that_cannot_be_written_stops_the_start_with_a_reason(own_home, run_serve):
    (own_home / "log").write_text("a file where a folder should be")
    code, error = run_serve(own_home)
    assert code == 9
    assert "the prediction log cannot be written in" in error
    assert "hint:" in error


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_while_the_disk_takes_nothing_estimates_are_refused_and_later_given_again(recorded, own_home, row, mode):
    server = recorded(mode=mode, queue=5, wait_seconds=0.2)
    server.post("/predict", json=row)
    size = sum(segment.path.stat().st_size for segment in SpoolFolder(own_home / "log").segments())
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 500, limits[1]))
    refused = until(lambda: next((one for one in [server.post("/predict", json=row)] if one.status_code == 503), None))
    assert "cannot be recorded" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "2"
    assert server.get("/health/ready").status_code == 503
    assert "estimates cannot be recorded" in server.get("/health/ready").json()["reason"]
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    until(lambda: server.post("/predict", json=row).status_code == 200)
    assert server.get("/health/ready").status_code == 200
    given = [line for line in server.get("/metrics").text.splitlines() if line.startswith("appraise_predictions_total")]
    refusals = [
        line for line in server.get("/metrics").text.splitlines() if "_log_refused" in line or "_withdrawn" in line
    ]
    assert server.end() == 0
    checked = verify(own_home / "log", None)
    assert checked.whole
    told = sum(float(line.split()[-1]) for line in refusals if not line.startswith("#"))
    assert checked.records["spool"] == float(given[0].split()[-1]) - told


def _ask(url, row, answers, stop):
    """Ask until told to stop; a service that is away is asked again."""
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        while not stop.is_set():
            try:
                answer = client.post("/predict", json=row)
            except httpx.HTTPError:
                stop.wait(0.02)
                continue
            if answer.status_code == 200:
                answers.append((time.monotonic(), answer.json()["prediction_id"]))


def _figures(server) -> dict[str, float]:
    """What the service counts of its log."""
    lines = [line for line in server.get("/metrics").text.splitlines() if line.startswith("appraise_log")]
    return {name: float(value) for name, value in (line.split() for line in lines)}


def _settled(server) -> float:
    """A moment until which every estimate that was given is on the disk, by the word of the service."""
    asked = time.monotonic()
    taken = _figures(server)["appraise_log_records_total"]
    until(lambda: _figures(server)["appraise_log_durable_records_total"] >= taken)
    return asked


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_two_kills_lose_nothing_that_was_answered_but_what_the_mode_allows(recorded, own_home, database, row, mode):
    answers: list[tuple[float, str]] = []
    lives: list[tuple[float, float]] = []
    for _ in range(2):
        server, stop, began = recorded(mode=mode), threading.Event(), len(answers)
        with concurrent.futures.ThreadPoolExecutor(4) as clients:
            asked = [clients.submit(_ask, server.url, row, answers, stop) for _ in range(4)]
            try:
                until(lambda began=began: len(answers) > began + 100)
                settled = _settled(server)
                os.kill(server.process.pid, signal.SIGKILL)
                server.process.wait(60)
            finally:
                stop.set()
            for one in asked:
                one.result()
        lives.append((settled, time.monotonic()))
    # The segments of the killed are closed and loaded by whoever comes next.
    server = recorded(mode=mode)
    assert server.end() == 0
    with closing(Loader(own_home / "log", database)) as loader:
        loader.load()
    checked = verify(own_home / "log", database)
    assert checked.whole, checked.findings
    assert checked.unlisted == 0
    with database.connect() as connection:
        there = set(map(str, connection.exec_driver_sql("SELECT prediction_id FROM predictions").scalars()))
    lost = [moment for moment, name in answers if name not in there]
    if mode == "sync":
        assert lost == []
    else:
        assert all(any(settled <= moment <= ended for settled, ended in lives) for moment in lost)
