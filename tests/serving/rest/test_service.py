"""The service beside its estimates: health, models, metrics, documents, reload and its end."""

import dataclasses
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.waiting import until

from appraise.serving.predictor import Predictor


def test_health_is_told_as_it_is(server):
    assert server.get("/health/live").json() == {"status": "alive"}
    for path in ("/health", "/health/ready"):
        response = server.get(path)
        assert response.status_code == 200
        assert response.json() == {"status": "ready", "models": {"california": "1.0.0"}}
    body = server.get("/health/detailed").json()
    assert body["status"] == "healthy"
    assert {name: one["status"] for name, one in body["dependencies"].items()} == {
        "models": "up",
        "registry": "up",
        "disk": "up",
        "database": "up",
        "prediction_log": "up",
    }
    assert body["dependencies"]["registry"]["detail"] == "2 versions are registered"
    assert all(one["latency_ms"] > 0 for one in body["dependencies"].values())


def test_models_and_what_is_known_of_them(server):
    until(lambda: len(server.get("/models").json()["models"][0]["versions"]) == 2)
    (model,) = server.get("/models").json()["models"]
    assert (model["name"], model["default"]) == ("california", True)
    assert [(one["version"], one["aliases"]) for one in model["versions"]] == [
        ("1.1.0", ["challenger"]),
        ("1.0.0", ["champion"]),
    ]
    info = server.get("/model/info").json()
    assert info == server.get("/models/california/info").json()
    assert (info["model_type"], info["model_version"], info["unit"]) == ("catboost", "1.0.0", "100,000 USD")
    assert info["metrics"]["holdout"]["rmse"] > 0
    assert sum(info["feature_importances"].values()) == pytest.approx(1.0)
    assert info["training_ranges"]["HouseAge"]["low"] == 1.0
    assert info["calibration"]["scores"] == 80
    assert server.get("/model/info?alias=challenger").json()["model_version"] == "1.1.0"
    assert server.get("/models/nothing/info").status_code == 404


def test_metrics_count_requests_and_homes(server, row):
    def count(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", server.get("/metrics").text, flags=re.MULTILINE)
        return 0.0 if found is None else float(found[1])

    answered = 'appraise_requests_total{method="POST",route="/predict",status="200"}'
    refused = 'appraise_requests_total{method="POST",route="/predict",status="422"}'
    homes = 'appraise_predictions_total{model="california",version="1.0.0"}'
    timed = 'appraise_request_seconds_bucket{le="+Inf",route="/predict"}'
    before = [count(name) for name in (answered, refused, homes, timed)]
    server.post("/predict", json=row)
    server.post("/predict", json={})
    server.post("/models/california/predict/batch", json={"rows": [row, row, {}]})
    assert [count(name) for name in (answered, refused, homes)] == [before[0] + 1, before[1] + 1, before[2] + 3]
    assert count(timed) == before[3] + 2
    grade = server.post("/predict", json=row).json()["confidence_grade"]
    graded = f'appraise_estimates_total{{grade="{grade}",model="california",version="1.0.0"}}'
    told = count(graded)
    server.post("/predict", json=row)
    server.post("/models/california/predict/batch", json={"rows": [row, row, {}]})
    assert count(graded) == told + 3, "a home that was refused has no grade"
    in_the_sea = {**row, "Latitude": 33.0, "Longitude": -125.0}
    useless = graded.replace(f'"{grade}"', '"none"')
    told = count(graded), count(useless)
    inputs = [
        {"name": name, "datatype": "FP64", "shape": [3], "data": [one[name] for one in (row, in_the_sea, row)]}
        for name in row
    ]
    assert server.post("/v2/models/california/infer", json={"inputs": inputs}).status_code == 200
    assert (count(graded), count(useless)) == (told[0] + 2, told[1] + 1)
    assert count('appraise_refused_rows_total{model="california"}') >= 1


def test_the_document_describes_each_field_and_the_page_needs_no_network(server, row):
    document = server.get("/openapi.json").json()
    schema = document["components"]["schemas"]["california_row"]
    assert schema["properties"]["HouseAge"] == {
        "type": "number",
        "description": "Median age of the houses. Unit: years.",
        "minimum": 0.0,
        "maximum": 300.0,
        "examples": [29.0],
    }
    assert set(schema["required"]) == set(row)
    example = document["paths"]["/models/california/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert server.post("/predict", json=example["examples"]["home"]["value"]).status_code == 200
    assert {"/predict", "/predict/batch", "/health", "/metrics", "/model/reload"} <= set(document["paths"])
    page = server.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "http" not in page.text
    for name in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        asset = server.get(f"/{name}")
        assert asset.status_code == 200
        assert len(asset.content) > 50
    assert len(server.get("/docs/swagger-ui-bundle.js").content) > 1_000_000


def test_every_answer_carries_security_headers(server):
    for path in ("/", "/docs", "/nothing", "/metrics"):
        headers = server.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def _dearer(predictor: Predictor) -> Predictor:
    """The same model with wider intervals, so that its answers tell it apart."""
    intervals = predictor.intervals
    wider = type(intervals)(intervals.scale_model, intervals.scores * 2.0, intervals.stale_scores * 2.0)
    return dataclasses.replace(predictor, intervals=wider)


def test_models_are_swapped_while_requests_are_answered(serve, asking_home, row, register):
    server = serve(asking_home, "--workers", "2")
    first = server.post("/predict", json=row).json()["prediction_interval"]
    register(asking_home, "1.1.0", promote=True, change=_dearer)
    answers, stop = [], threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
            while not stop.wait(0.01):
                answers.append(client.post("/predict", json=row))

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        try:
            until(lambda: answers)
            reloaded = server.post("/model/reload", timeout=60)
            after = [server.post("/predict", json=row).json()["model_version"] for _ in range(5)]
            before = len(answers)
            # Of answers that came later than that, at most four were asked for before.
            until(lambda: len(answers) > before + 4)
        finally:
            stop.set()
        for one in asking:
            one.result()
    assert reloaded.status_code == 200
    body = reloaded.json()
    assert (body["models"], body["changed"], body["workers"]) == ({"california": "1.1.0"}, ["california"], 2)
    assert after == ["1.1.0"] * 5
    assert all(answer.status_code == 200 for answer in answers)
    half = (first["upper"] - first["lower"]) / 2
    widths = {"1.0.0": half, "1.1.0": 2 * half}
    seen = set()
    for answer in answers:
        told = answer.json()
        interval = told["prediction_interval"]
        assert (interval["upper"] - interval["lower"]) / 2 == pytest.approx(widths[told["model_version"]])
        seen.add(told["model_version"])
    assert seen == {"1.0.0", "1.1.0"}
    again = server.post("/predict?model_version=1.0.0", json=row)
    assert again.json()["model_version"] == "1.0.0"

    def counted() -> float:
        found = re.findall(r"^appraise_predictions_total\S+ (\S+)$", server.get("/metrics").text, flags=re.MULTILINE)
        return sum(map(float, found))

    # Each worker tells the others of its counts a few times a second.
    until(lambda: counted() >= len(answers))
    assert server.end() == 0


def test_what_a_killed_service_of_the_same_number_left_is_in_nobodys_way(own_home, database_url):
    # In a container the service has the same process number each time.
    left = 'mkdir -p "$1/run/serve-$$" && echo \'{}\' > "$1/run/serve-$$/worker-1.json"'
    serve = 'exec "$0" -m appraise --home "$1" serve --port 0 --workers 2 --json'
    command = ["sh", "-c", f"{left} && {serve}", sys.executable, str(own_home)]
    environment = {**os.environ, "APPRAISE_DATABASE_URL": database_url}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=own_home.parent) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line == "}\n":
                break
        process.terminate()
        assert process.wait(60) == 0
    assert json.loads("".join(said))["workers"] == 2
    assert [folder.name for folder in (own_home / "run").glob("serve-*")] == [f"serve-{process.pid}"]


def test_with_several_models_and_no_default_the_answer_names_them_and_how_to_choose(serve, own_home, row, register):
    register(own_home, "3.0.0", name="again", promote=True)
    server = serve(own_home)
    server.post("/model/reload", timeout=60)
    assert server.get("/").json()["models"] == {"again": "3.0.0", "california": "1.0.0"}
    for refused in (
        server.post("/predict", json=row),
        server.post("/predict/batch", json={"rows": [row]}),
        server.get("/model/info"),
    ):
        assert refused.status_code == 422
        assert refused.json()["detail"] == "the request does not say which model is meant, and several are served"
        assert refused.json()["hint"] == (
            "use /models/NAME/... or ?model=NAME, or serve with --default NAME; served are again, california"
        )
    for path in ("/predict?model=again", "/models/again/predict"):
        assert server.post(path, json=row).json()["model_name"] == "again"
    assert server.end() == 0
    server = serve(own_home, "--default", "california")
    assert server.post("/predict", json=row).json()["model_name"] == "california"


def test_a_model_that_was_replaced_by_garbage_is_refused_and_the_old_one_goes_on(serve, asking_home, row, register):
    server = serve(asking_home)
    before = server.post("/predict", json=row).json()["prediction"]
    register(asking_home, "1.1.0", promote=True)
    with sqlite3.connect(asking_home / "mlflow.db") as store:
        (source,) = store.execute("select storage_location from model_versions order by version desc").fetchone()
    store.close()
    garbage = np.random.default_rng(0).bytes(5000)
    for file in Path(source.removeprefix("file://")).glob("model*"):
        file.write_bytes(garbage)
    for folder in (asking_home / "cache" / "models").rglob("model.*"):
        folder.write_bytes(garbage)
    response = server.post("/model/reload")
    assert response.status_code == 503
    assert "damaged" in response.json()["detail"] or "fetched" in response.json()["detail"]
    assert server.get("/health/ready").status_code == 200
    answer = server.post("/predict", json=row).json()
    assert (answer["prediction"], answer["model_version"]) == (before, "1.0.0")
    named = server.post("/predict?model_version=1.1.0", json=row)
    assert named.status_code in (404, 503)
    assert named.headers["content-type"] == "application/problem+json"
    # What is on the disk is not read again by a model that answers; the next start asks the registry.
    for file in (asking_home / "cache" / "models").rglob("*"):
        if file.is_file():
            file.write_bytes(garbage)
    assert server.post("/predict", json=row).json()["prediction"] == before
    assert server.get("/health/detailed").status_code == 200
    assert server.post("/model/reload").status_code in (404, 503)
    assert server.post("/predict", json=row).json()["prediction"] == before


def test_the_registry_may_be_away_as_long_as_there_is_a_cache(serve, own_home, row):
    (own_home / "mlflow.db").unlink()
    server = serve(own_home)
    assert server.post("/predict", json=row).status_code == 200
    health = server.get("/health/detailed").json()
    assert (health["status"], health["dependencies"]["registry"]["status"]) == ("degraded", "down")
    assert server.post("/model/reload").status_code in (404, 503)
    assert server.post("/predict", json=row).status_code == 200


def test_requests_that_have_begun_are_finished_and_the_exit_code_is_0(serve, own_home, row):
    # Long enough for all that is asked meanwhile, on a busy machine too.
    server = serve(own_home, drain_seconds="8")
    body = json.dumps(row).encode()
    with server.connect() as client:
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % len(body) + body[:10])
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.get("/health/ready").status_code == 503)
        assert server.get("/health/live").status_code == 200
        client.sendall(body[10:])
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert server.end() == 0


def test_a_worker_that_is_killed_is_started_anew(serve, own_home, row):
    server = serve(own_home, "--workers", "2")
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    workers = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    until(lambda: "started anew" in server.log.read_text())
    for _ in range(10):
        assert httpx.post(f"{server.url}/predict", json=row, timeout=60, trust_env=False).status_code == 200
    assert server.end() == 0
    assert not list((own_home / "run").iterdir())


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--host", "0.0.0.0"), 3, "there is no API key"),  # noqa: S104
        (("--model", "nothing"), 7, "no model named 'nothing'"),
        (("--host", "300.1.1.1", "--insecure"), 3, "cannot be listened on"),
        (("--port", "70000"), 3, "port"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_is(trained, tmp_path, args, code, said):
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(trained / "mlflow.db", home)
    command = [sys.executable, "-m", "appraise", "--home", str(home), "serve", "--port", "0", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "hint:" in done.stderr
