"""`appraise up` and `appraise down`: the service in the background, as a person at a shell sees it."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.waiting import until

from appraise.store.chain import Frame, scan
from appraise.store.segments import SpoolFolder


@pytest.fixture
def appraise(own_home: Path, database_url: str) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the program on the test's home; what it left running is ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
    environment["APPRAISE_DATABASE_URL"] = database_url

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "appraise", "--home", str(own_home), *args]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env=environment, cwd=own_home.parent
        )

    yield call
    assert call("down").returncode == 0


def _up(appraise: Callable[..., Any], *args: str) -> dict[str, Any]:
    done = appraise("up", "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _ended(pid: int) -> bool:
    """Whether a process is gone; what nobody has waited for yet is gone too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def _spooled(home: Path) -> list[bytes]:
    """The records of the log, once two are in it."""

    def found() -> list[bytes]:
        pieces = (piece for one in SpoolFolder(home / "log").segments() for piece in scan(one.path.read_bytes()))
        return [piece.body for piece in pieces if isinstance(piece, Frame) and piece.position > 0]

    return until(lambda: bodies if len(bodies := found()) >= 2 else None)


def _pasted(shown: str) -> httpx.Response:
    """Send the request that was shown as a shell would read it."""
    line = shown[shown.index("curl ") :].partition("\n\n")[0]
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:3] == ["curl", "-X", "POST"]
    headers = dict(word.split(": ") for flag, word in zip(words[4::2], words[5::2], strict=True) if flag == "-H")
    return httpx.post(words[3], headers=headers, content=words[-1], timeout=60, trust_env=False)


def test_the_service_goes_on_in_the_background_until_it_is_ended(appraise, own_home, register, free_port):
    port = str(free_port())
    shown = appraise("up", "--port", port)
    assert shown.returncode == 0, shown.stderr
    answer = _pasted(shown.stdout)
    assert answer.status_code == 200
    assert answer.json()["model_version"] == "1.0.0"
    price = answer.json()["prediction"] * answer.json()["price_unit"]
    said = re.search(r"It valued a home at ([\d,]+) USD \(90% interval: [\d,]+ to [\d,]+\)\.", shown.stdout)
    assert said is not None, shown.stdout
    assert float(said[1].replace(",", "")) == pytest.approx(price, rel=1e-3)
    assert said[1].endswith("00")
    # Its own request is no estimate of anybody's home; the one that it shows is.
    kept = [json.loads(record) for record in _spooled(own_home)]
    assert [one["arm"] for one in kept] == ["check", "champion"]
    assert f"http://127.0.0.1:{port}/docs" in shown.stdout
    assert f"appraise --home {own_home} down" in shown.stdout

    register(own_home, "1.1.0", promote=True)
    again = _up(appraise, "--port", port)
    assert (again["state"], again["models"]) == ("running", {"california": "1.1.0"})
    assert again["answer"]["model_version"] == "1.1.0"
    assert again["answer"]["input_features"] == again["request"]["body"]

    # A second model is served beside the first, which goes on to answer `/predict`, and does so after a restart.
    register(own_home, "1.0.0", name="again", promote=True)
    both = _up(appraise)
    assert (both["state"], both["models"]) == ("running", {"again": "1.0.0", "california": "1.1.0"})
    assert (both["default"], both["request"]["url"]) == ("california", f"{both['url']}/predict")

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        refused = appraise("up", "--port", taken)
    assert refused.returncode == 3
    assert f"127.0.0.1:{taken} cannot be listened on" in refused.stderr
    assert httpx.get(f"{again['url']}/health/ready", timeout=60, trust_env=False).status_code == 200

    moved = _up(appraise, "--workers", "2")
    assert (moved["state"], moved["url"], moved["default"]) == ("restarted", again["url"], "california")
    assert (moved["changes"], moved["kept"]) == (["workers 1 -> 2"], {"port": int(port)})
    assert (
        httpx.post(f"{moved['url']}/predict", json=moved["request"]["body"], timeout=60, trust_env=False).status_code
        == 200
    )
    assert _ended(again["pid"])
    assert httpx.get(f"{moved['url']}/health/ready", timeout=60, trust_env=False).status_code == 200

    ended = json.loads(appraise("down", "--json").stdout)
    assert ended == {"stopped": True, "pid": moved["pid"], "killed": False}
    assert _ended(moved["pid"])
    assert "Nothing runs." in appraise("down").stdout


def test_a_closed_service_is_asked_with_a_key_that_is_gone_afterwards(appraise):
    made = json.loads(appraise("keys", "create", "--name", "web", "--json").stdout)
    shown = appraise("up", "--port", "0")
    assert shown.returncode == 0, shown.stderr
    assert "KEY is one that appraise keys create made." in shown.stdout
    assert _pasted(shown.stdout).status_code == 401
    assert _pasted(shown.stdout.replace("KEY'", f"{made['key']}'")).status_code == 200
    kept = json.loads(appraise("keys", "list", "--json").stdout)["keys"]
    assert [(key["name"], key["revoked_at"]) for key in kept] == [("web", None)]


def test_only_what_was_started_here_is_ended_and_what_died_is_started_anew(appraise, own_home):
    first = _up(appraise, "--port", "0")
    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: _ended(first["pid"]))
    # Meanwhile the system has given the number to somebody else.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        record = own_home / "service" / "service.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "pid": other.pid}))
        assert "Nothing runs." in appraise("down").stdout
        assert other.poll() is None
        second = _up(appraise, "--port", "0")
        assert second["state"] == "started"
        assert other.poll() is None
        other.communicate(b"\n")


def test_what_a_service_was_given_outlives_its_crash_and_a_start_that_fails_but_not_its_end(
    appraise, own_home, register, free_port
):
    register(own_home, "1.0.0", name="again", promote=True)
    port = free_port()
    given = {"model": ["california"], "port": port, "workers": 2}
    first = _up(appraise, "--model", "california", "--port", str(port), "--workers", "2")
    os.kill(first["pid"], signal.SIGKILL)
    # Its workers end when they notice.
    until(lambda: _ended(first["pid"]) and _is_free(port))
    # A home whose log is a file cannot be served from, which only the start itself finds out.
    (own_home / "log").rename(own_home / "log-aside")
    (own_home / "log").write_text("")
    failed = appraise("up", "--workers", "1")
    assert failed.returncode == 9, failed.stderr
    (own_home / "log").unlink()
    (own_home / "log-aside").rename(own_home / "log")
    second = _up(appraise)
    assert (second["state"], second["kept"], second["url"]) == ("started", given, first["url"])
    assert second["models"] == {"california": "1.0.0"}
    os.kill(second["pid"], signal.SIGKILL)
    until(lambda: _ended(second["pid"]))
    assert "Nothing runs." in appraise("down").stdout
    third = _up(appraise, "--port", "0")
    assert (third["kept"], sorted(third["models"])) == ({}, ["again", "california"])


def test_without_a_model_nothing_is_left_running(appraise, own_home):
    (own_home / "mlflow.db").unlink()
    for manifest in (own_home / "cache").rglob("manifest.json"):
        manifest.unlink()
    done = appraise("up", "--port", "0")
    assert done.returncode == 7
    assert "no model is registered" in done.stderr
    assert "hint:" in done.stderr
    assert "Nothing runs." in appraise("down").stdout


def test_a_start_that_cannot_succeed_leaves_the_service_as_it_is(appraise, free_port):
    first = _up(appraise, "--port", str(free_port()))
    for args, reason in (
        (("--model", "californa"), "did you mean 'california'?"),
        (("--default", "californa"), "did you mean 'california'?"),
        (("--model", "california", "--default", "other"), "not among the models"),
        (("--host", "0.0.0.0"), "--insecure"),  # noqa: S104
        (("--host", "203.0.113.1", "--insecure"), "cannot be listened on"),
        (("--port", "70000"), "--port"),
    ):
        refused = appraise("up", *args)
        assert refused.returncode not in (0, 9), args
        assert reason in refused.stderr
    assert _up(appraise)["pid"] == first["pid"]
    refused = appraise("serve", "--port", first["url"].rpartition(":")[2])
    assert refused.returncode == 3
    assert f"this home's own service runs (process {first['pid']})" in refused.stderr
    assert "appraise down" in refused.stderr


def test_where_the_new_service_does_not_start_the_old_one_runs_again(appraise, free_port):
    port = free_port()
    first = _up(appraise, "--port", str(port))
    # Every address of the machine is more than what the first one has, which only the start itself finds out.
    with socket.create_server(("127.0.0.2", port)):
        failed = appraise("up", "--host", "0.0.0.0", "--insecure")  # noqa: S104
    assert failed.returncode == 9
    assert f"the service runs again as it was, at {first['url']}" in failed.stderr
    assert httpx.get(f"{first['url']}/health/ready", timeout=60, trust_env=False).status_code == 200
    again = _up(appraise)
    assert (again["state"], again["url"]) == ("running", first["url"])
    assert again["kept"] == {"port": port}


def test_with_several_models_and_no_default_it_is_said_that_predict_answers_nobody(appraise, own_home, register):
    register(own_home, "1.0.0", name="again", promote=True)
    for manifest in (own_home / "cache").rglob("manifest.json"):
        manifest.unlink()
    shown = appraise("up", "--port", "0")
    assert shown.returncode == 0, shown.stderr
    assert "/predict answers nobody" in shown.stdout
    assert "appraise up --default again" in shown.stdout
    assert _pasted(shown.stdout).status_code == 200
    chosen = _up(appraise, "--default", "california")
    assert (chosen["state"], chosen["default"]) == ("restarted", "california")
    assert chosen["changes"] == ["default california"]
