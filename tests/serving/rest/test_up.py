"""`appraise up` and `appraise down`: the service in the background, as a person at a shell sees it."""

import json
import os
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


def _pasted(shown: str) -> httpx.Response:
    """Send the request that was shown as a shell would read it."""
    line = shown[shown.index("curl ") :].partition("\n\n")[0]
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:3] == ["curl", "-X", "POST"]
    headers = dict(word.split(": ") for flag, word in zip(words[4::2], words[5::2], strict=True) if flag == "-H")
    return httpx.post(words[3], headers=headers, content=words[-1], trust_env=False)


def test_the_service_goes_on_in_the_background_until_it_is_ended(appraise, own_home, register, free_port):
    port = str(free_port())
    shown = appraise("up", "--port", port)
    assert shown.returncode == 0, shown.stderr
    answer = _pasted(shown.stdout)
    assert answer.status_code == 200
    assert answer.json()["model_version"] == "1.0.0"
    assert f"http://127.0.0.1:{port}/docs" in shown.stdout
    assert f"appraise --home {own_home} down" in shown.stdout

    register(own_home, "1.1.0", promote=True)
    again = _up(appraise, "--port", port)
    assert (again["state"], again["models"]) == ("running", {"california": "1.1.0"})
    assert again["answer"]["model_version"] == "1.1.0"
    assert again["answer"]["input_features"] == again["request"]["body"]

    # With a second model `/predict` means none of them any more.
    register(own_home, "1.0.0", name="again", promote=True)
    both = _up(appraise, "--port", port)
    assert (both["state"], both["models"]) == ("running", {"again": "1.0.0", "california": "1.1.0"})
    assert both["request"]["url"] == f"{both['url']}/models/again/predict"

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        refused = appraise("up", "--port", taken)
    assert refused.returncode == 3
    assert f"127.0.0.1:{taken} cannot be listened on" in refused.stderr
    assert httpx.get(f"{again['url']}/health/ready", trust_env=False).status_code == 200

    moved = _up(appraise, "--port", port, "--workers", "2")
    assert (moved["state"], moved["url"]) == ("restarted", again["url"])
    assert _ended(again["pid"])
    assert httpx.get(f"{moved['url']}/health/ready", trust_env=False).status_code == 200

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


def test_without_a_model_nothing_is_left_running(appraise, own_home):
    (own_home / "mlflow.db").unlink()
    for manifest in (own_home / "cache").rglob("manifest.json"):
        manifest.unlink()
    done = appraise("up", "--port", "0")
    assert done.returncode == 9
    assert "the service did not start: " in done.stderr
    assert "hint:" in done.stderr
    assert "Nothing runs." in appraise("down").stdout
