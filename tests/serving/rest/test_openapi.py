"""The OpenAPI document against the service, by Schemathesis: every operation, every check, every phase."""

import os
import re
import subprocess
import sys
from pathlib import Path

HOOKS = Path(__file__).with_name("openapi_rules.py")


def test_schemathesis_finds_nothing(server, tmp_path):
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--checks", "all"]
    # The topics need a broker: tests/serving/streaming/test_proxy.py.
    bounds = ["--exclude-path", "/topics/{topic}", "--max-examples", "10", "--seed", "1"]
    # How long an answer takes on a machine that is busy with other tests is not what is asked here.
    bounds += ["--request-timeout", "60"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)}
    done = subprocess.run(
        [*command, *bounds, "--continue-on-failure", "--no-color"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    paths = server.get("/openapi.json").json()["paths"]
    named = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(set(named)) == len(named)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in named)
    assert paths["/predict"]["post"]["operationId"] == "predict"
    operations = sum(len(methods) for path, methods in paths.items() if path != "/topics/{topic}")
    tested = re.search(r"Tested: +(\d+)", done.stdout)
    assert tested is not None, done.stdout
    assert int(tested[1]) == operations
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases is not None, done.stdout
    assert int(cases[1]) > 300


def test_the_examples_are_what_the_service_answers(server):
    document = server.get("/openapi.json").json()
    operation = document["paths"]["/predict"]["post"]
    shown = operation["requestBody"]["content"]["application/json"]["examples"]
    assert list(shown) == ["home", "user", "by_position"]
    example = operation["responses"]["200"]["content"]["application/json"]["example"]
    for form in shown.values():
        answer = server.post("/predict", json=form["value"]).json()
        for name in (
            "prediction",
            "currency",
            "price_unit",
            "prediction_interval",
            "confidence_score",
            "confidence_grade",
        ):
            assert answer[name] == example[name]
    for status, response in operation["responses"].items():
        if status != "200":
            problem = response["content"]["application/problem+json"]["example"]
            assert problem["status"] == int(status)
            assert problem["detail"]
    assert {tag["name"] for tag in document["tags"]} >= {
        tag for methods in document["paths"].values() for operation in methods.values() for tag in operation["tags"]
    }
