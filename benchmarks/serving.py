"""Requests a second and latency of the REST service, beside a plain FastAPI echo on uvicorn in the same run.

Each server runs on one processor, the load on another. It needs wrk (`apt install wrk`) and a registered `california`:

    appraise train california --data california_housing.csv
    python benchmarks/serving.py
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from _report import Figure, held_against, parser, say, show

ROW = {
    "MedInc": 8.3252,
    "HouseAge": 41.0,
    "AveRooms": 6.984127,
    "AveBedrms": 1.02381,
    "Population": 322.0,
    "AveOccup": 2.555556,
    "Latitude": 37.88,
    "Longitude": -122.23,
}
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Load:
    """What one load came to.

    Attributes:
        rate: requests a second.
        p50, p99: latency, milliseconds.
        failed: answers other than 2xx, and broken connections.
    """

    rate: float
    p50: float
    p99: float
    failed: int


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, default=Path(os.environ.get("APPRAISE_HOME", ".appraise")))
    options.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--path", default="/predict", help="what is asked of our service")
    args = options.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt install wrk")
    appraise = [
        sys.executable,
        "-m",
        "appraise",
        "--home",
        str(args.home.absolute()),
        "--log-level",
        "warning",
        "serve",
    ]
    uvicorn = [sys.executable, "-m", "uvicorn", "serving_echo:app", "--loop", "uvloop", "--http", "httptools"]
    servers = {
        "fastapi echo": ([*uvicorn, "--no-access-log", "--port", "{port}"], "/predict"),
        "appraise": ([*appraise, "--model", "california", "--port", "{port}"], args.path),
    }
    figures: list[Figure] = []
    references: dict[str, Figure] = {}
    for name, (command, path) in servers.items():
        with running(command) as (url, pid, ready):
            say(f"{name}: ready after {ready:.2f} s")
            figures.append(Figure(f"{name}/ready", ready, "s"))
            load(url + path, connections=8, seconds=2)
            for connections in args.connections:
                measured = load(url + path, connections=connections, seconds=args.seconds)
                if measured.failed:
                    sys.exit(f"{name} failed {measured.failed} requests")
                key = f"{connections} connections"
                if name == "appraise":
                    figures.append(held_against(f"{name}/{key}", measured.rate, "requests/s", references[key]))
                else:
                    references[key] = Figure(f"{name}/{key}", measured.rate, "requests/s")
                    figures.append(references[key])
                figures.append(Figure(f"{name}/{key}/p50", measured.p50, "ms"))
                figures.append(Figure(f"{name}/{key}/p99", measured.p99, "ms"))
            figures.append(Figure(f"{name}/memory", resident(pid) / 2**20, "MB"))
    show(figures, as_json=args.json)


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[tuple[str, int, float]]:
    """A server on the first processor: its address, process and seconds until it was ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "-c", "0", *(word.format(port=port) for word in command)],
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
    )
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.post(f"{url}/predict", json=ROW, trust_env=False).raise_for_status()
                break
            if process.poll() is not None:
                sys.exit(f"{command[2]} ended before it was ready")
            time.sleep(0.02)
        yield url, process.pid, time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def load(url: str, *, connections: int, seconds: int) -> Load:
    """Put load on a server from the second processor."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        body = json.dumps(ROW)
        script.write(f"wrk.method='POST'\nwrk.headers['Content-Type']='application/json'\nwrk.body='{body}'\n")
        script.flush()
        command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s"]
        text = subprocess.run([*command, script.name, url], capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    failed = sum(int(found) for found in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    failed += sum(int(found) for found in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    return Load(rate, _percentile(text, 50), _percentile(text, 99), failed)


def resident(pid: int) -> int:
    """Resident bytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)$", text, flags=re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]]


if __name__ == "__main__":
    main()
