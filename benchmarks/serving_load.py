"""A server on one processor and load on the other, for `serving.py`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_START_SECONDS = 60.0

#: Requests are formatted before the load begins, and taken in turn: each asks for another home.
_SCRIPT = """
local requests, position = {}, 0
init = function()
  for body in io.lines("%s") do
    requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
  end
end
request = function()
  position = position %% #requests + 1
  return requests[position]
end
"""


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is started and asked.

    Attributes:
        command: with `{port}` where its port goes.
        path: where it predicts.
        bodies: of requests, each for another home.
        environment: variables beside those of this process.
    """

    command: Sequence[str]
    path: str
    bodies: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        url: where it predicts.
        pid: its process.
        ready: seconds from its start to its first answer.
    """

    url: str
    pid: int
    ready: float


@dataclass(frozen=True, slots=True)
class Load:
    """What one load came to.

    Attributes:
        requests: how many were answered.
        rate: of them a second.
        p50, p99: latency, milliseconds.
        failed: answers other than 2xx, and broken connections.
    """

    requests: int
    rate: float
    p50: float
    p99: float
    failed: int


class ServerError(Exception):
    """A server that does not do what it was started for."""


@contextlib.contextmanager
def running(server: Server) -> Iterator[Running]:
    """A server on the first processor, from its first answer on.

    Raises:
        ServerError: it ended, refused the request or took too long.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}{server.path}"
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "-c", "0", *(word.format(port=port) for word in server.command)],
            cwd=Path(__file__).parent,
            env={**os.environ, **server.environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            try:
                _await_answer(process, url, server.bodies[0])
            except ServerError as error:
                output.seek(0)
                raise ServerError(f"{error}\n{output.read().decode(errors='replace')[-2000:]}") from None
            yield Running(url, process.pid, time.perf_counter() - started)
        finally:
            _end(process)


def _await_answer(process: subprocess.Popen[bytes], url: str, body: str) -> None:
    deadline, last = time.monotonic() + _START_SECONDS, "nothing"
    with httpx.Client(trust_env=False, headers={"Content-Type": "application/json"}, timeout=30) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                answer = client.post(url, content=body)
                if answer.is_success:
                    return
                # Some listen before their model is loaded, and call the request wrong until then.
                last = f"{answer.status_code}: {answer.text[:500]}"
            if process.poll() is not None:
                raise ServerError(f"it ended with {process.returncode}")
            time.sleep(0.02)
    raise ServerError(f"it did not answer within {_START_SECONDS:g} s, but {last}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and the processes of its session; some leave theirs behind."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def load(url: str, bodies: Sequence[str], *, connections: int, seconds: int) -> Load:
    """Put load on a server from the second processor, by wrk."""
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "bodies", Path(folder) / "load.lua"
        lines.write_text("\n".join(bodies), encoding="utf-8")
        script.write_text(_SCRIPT % lines, encoding="utf-8")
        command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        text = subprocess.run(
            [*command, "--latency", "-s", str(script), url], capture_output=True, text=True, check=True
        ).stdout
    requests = int(re.search(r"(\d+) requests in", text)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    failed = sum(int(found) for found in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    failed += sum(int(found) for found in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    return Load(requests, rate, _percentile(text, 50), _percentile(text, 99), failed)


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)\s*$", text, flags=re.MULTILINE)
    if found is None:
        raise ServerError(f"wrk gave no {percent}th percentile:\n{text}")
    return float(found[1]) * _UNITS[found[2]]


def resident(pid: int) -> int:
    """Resident bytes of a process and of those that it started."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 + sum(map(resident, children(pid)))


def processor_seconds(pid: int) -> float:
    """Processor time that a process and those that it started have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(processor_seconds, children(pid)))


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text(encoding="utf-8").split()
    ]
