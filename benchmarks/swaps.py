"""Swaps of the model while requests are answered: none may fail, and none may be answered by another version.

    python benchmarks/swaps.py --home .appraise                # a trained california: 200 swaps, 100,000 requests
    python benchmarks/swaps.py --home .appraise --swaps 5 --requests 2000 --workers 2

A copy of the home gets a second version, whose every estimate differs from that of the first. The alias `champion` goes
to and fro, and after each move `POST /model/reload` has the service follow, while connections ask for estimates all
along. Each answer must carry the estimate that the version it names gives for that home, as computed here from the
bundle. Ends with exit code 1 where one does not.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from _report import Figure, parser, say, show

from appraise.bootstrap import build_registry
from appraise.models.blend import Blend
from appraise.registry.bundle import write_bundle
from appraise.registry.version import Version
from appraise.serving.models import example_row
from appraise.serving.predictor import Predictor
from appraise.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "california"
#: Homes that are asked for.
_HOMES = 500
_RELOAD_SECONDS = 120.0
_ANSWER_SECONDS = 30.0
_SLOWEST_PACE = 0.25


@dataclass(slots=True)
class Seen:
    """What the connections saw.

    Attributes:
        expected: estimates of every home by version.
        bodies: the homes as requests.
        answered: answers by version.
        failed: answers that are no estimate, and connections that broke.
        wrong: answers whose estimate is not that of the version they name.
        seconds: how long each took.
        connections: how many there are.
        pace: seconds in which a connection asks once.
        wanted: requests to be asked in all.
        swapped: whether all swaps are done.
    """

    expected: dict[str, list[float]]
    bodies: list[bytes]
    connections: int
    answered: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    pace: float = 0.1
    wanted: int = 0
    swapped: bool = False

    @property
    def count(self) -> int:
        """Requests that were sent and ended."""
        return len(self.seconds) + len(self.failed)


def main() -> None:
    """Swap, ask, and print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, required=True, help=f"a folder with a trained {MODEL}")
    options.add_argument("--swaps", type=int, default=200)
    options.add_argument("--requests", type=int, default=100_000)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--workers", type=int, default=1)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / "home"
        shutil.copytree(args.home, home, ignore=shutil.ignore_patterns("service", "run"))
        say("registering a second version")
        predictors = _two_versions(home)
        rows = _homes(next(iter(predictors.values())))
        expected = {version: predictor.predict(rows).estimate.tolist() for version, predictor in predictors.items()}
        seen = Seen(expected, [json.dumps(row).encode() for row in rows], args.connections)
        command = [sys.executable, "-m", "appraise", "--home", str(home), "serve", "--model", MODEL]
        server = subprocess.Popen(
            [*command, "--port", "0", "--workers", str(args.workers), "--json"], stdout=subprocess.PIPE, text=True
        )
        try:
            url = _url(server)
            before = _resident(server.pid)
            began = time.perf_counter()
            asyncio.run(_swap_and_ask(url, home, seen, args.swaps, args.requests))
            took = time.perf_counter() - began
            after = _resident(server.pid)
        finally:
            server.terminate()
            code = server.wait(timeout=60)
    figures = [
        Figure("swaps", args.swaps, "swaps"),
        Figure("requests", seen.count, "requests"),
        *(Figure(f"answered by {version}", count, "requests") for version, count in sorted(seen.answered.items())),
        Figure("failed", len(seen.failed), "requests"),
        Figure("answered with an estimate of another version", len(seen.wrong), "requests"),
        Figure("p50 while swapping", float(np.percentile(seen.seconds, 50)) * 1e3, "ms"),
        Figure("p99 while swapping", float(np.percentile(seen.seconds, 99)) * 1e3, "ms"),
        Figure("slowest", max(seen.seconds) * 1e3, "ms"),
        Figure("memory before the first swap", before / 2**20, "MiB"),
        Figure("memory after the last", after / 2**20, "MiB"),
        Figure("took", took, "s"),
    ]
    show(figures, as_json=args.json)
    for text in (*seen.failed[:5], *seen.wrong[:5]):
        say(text)
    if seen.failed or seen.wrong or code != 0 or len(seen.answered) < min(2, args.swaps + 1):
        sys.exit(1)


def _two_versions(home: Path) -> dict[str, Predictor]:
    """The champion, and the same with every estimate larger, registered as the version after it."""
    registry = build_registry(Settings(home=home))
    first = Predictor.load(registry.resolve(MODEL))
    if first.manifest is None:
        sys.exit("the model was never saved")
    version = Version(first.manifest.version.major, first.manifest.version.minor + 1, 0)
    second = dataclasses.replace(first, model=Blend((first.model,), np.array([1.1])))
    manifest = dataclasses.replace(first.manifest, version=version, kind="blend", files={})
    with registry.run(MODEL, name="swaps") as run:
        folder = home / "tmp" / "swaps"
        write_bundle(folder, manifest=manifest, parts=second.parts())
        registry.register(folder, run=run, metric="rmse", error=0.0, promote=False)
    return {str(first.manifest.version): first, str(version): Predictor.load(folder)}


def _homes(predictor: Predictor) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    row = example_row(predictor.spec)
    return [{**row, "MedInc": round(float(random.uniform(1, 9)), 4)} for _ in range(_HOMES)]


async def _swap_and_ask(url: str, home: Path, seen: Seen, swaps: int, requests: int) -> None:
    tasks = [asyncio.create_task(_ask(url, seen, number)) for number in range(seen.connections)]
    try:
        await _swap(url, _client(home), seen, swaps, requests)
        seen.pace, seen.wanted = 0.0, requests
    finally:
        seen.swapped = True
        await asyncio.gather(*tasks)


def _client(home: Path) -> MlflowClient:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home.absolute() / 'mlflow.db'}")
    # What is a challenger stays in memory, and its return would be no load.
    client.delete_registered_model_alias(MODEL, "challenger")
    return client


async def _swap(url: str, client: MlflowClient, seen: Seen, swaps: int, requests: int) -> None:
    """Move the alias and have the service follow; the requests are spread over all swaps."""
    numbers = sorted(int(one.version) for one in client.search_model_versions(f"name='{MODEL}'"))[-2:]
    versions = list(seen.expected)
    began = time.perf_counter()
    async with httpx.AsyncClient(base_url=url, timeout=_RELOAD_SECONDS, trust_env=False) as service:
        for swap in range(swaps):
            after = (swap + 1) % 2
            client.set_registered_model_alias(MODEL, "champion", str(numbers[after]))
            response = await service.post("/model/reload")
            if response.status_code != 200 or response.json()["models"] != {MODEL: versions[after]}:
                seen.failed.append(f"reload {swap}: {response.status_code} {response.text}")
            left = max(1, requests - seen.count)
            expected_seconds = (time.perf_counter() - began) / (swap + 1) * max(1, swaps - swap - 1)
            seen.pace = min(_SLOWEST_PACE, expected_seconds * seen.connections / left)
            if (swap + 1) % 20 == 0:
                say(f"{swap + 1} swaps, {seen.count:,} requests")


async def _ask(url: str, seen: Seen, number: int) -> None:
    """Ask over one connection until enough was asked."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    home = number
    while not seen.swapped or seen.count < seen.wanted:
        home = (home + 1) % len(seen.bodies)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await _exchange(reader, writer, seen.bodies[home])
        except (OSError, EOFError, ValueError) as error:
            seen.failed.append(f"home {home}: {error!r}")
            writer.close()
            reader, writer = await asyncio.open_connection(host, int(port))
            continue
        version = answer["model_version"]
        seen.seconds.append(time.perf_counter() - began)
        seen.answered[version] = seen.answered.get(version, 0) + 1
        if answer["prediction"] != seen.expected[version][home]:
            seen.wrong.append(f"home {home}: {answer['prediction']} is not of {version}")
        await asyncio.sleep(max(0.0, seen.pace - (time.perf_counter() - began)))
    writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> dict[str, Any]:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    received = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(received.partition(b"content-length: ")[2].split(b"\r\n")[0])
    content = await reader.readexactly(length)
    if not received.startswith(b"http/1.1 200 "):
        raise ValueError(content.decode())
    answer: dict[str, Any] = json.loads(content)
    return answer


def _url(server: subprocess.Popen[str]) -> str:
    """Where it serves, once it does."""
    lines = []
    for line in server.stdout or ():
        lines.append(line)
        if line.rstrip() == "}":
            url: str = json.loads("".join(lines))["url"]
            return url
    sys.exit("the server did not start")


def _resident(pid: int) -> int:
    """Resident bytes of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = Path(f"/proc/{pid}/status").read_text()
    own = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return own + sum(_resident(int(child)) for child in children)


if __name__ == "__main__":
    main()
