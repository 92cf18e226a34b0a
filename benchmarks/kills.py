"""What a service that is killed loses of its prediction log: nothing that was answered, in `sync` mode.

    python benchmarks/kills.py --home .appraise          # a home with a trained california; --kills 20 for the long run

Clients ask without a pause and note the id and the time of each answer. The service, and every other time its loader,
is killed with SIGKILL at random moments and started anew; in the middle the database is stopped for some seconds. At
the end every answer is looked for in the log: in `sync` mode each must be there once, in `async` mode each but those of
the last 100 ms before a kill. The chain is verified, and the time from a lost answer to its kill is shown.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _report import Figure, parser, say, show
from serving_load import children

from appraise.datasets.presets import find_spec
from appraise.serving.models import example_row
from appraise.store.database import Database, DatabaseOptions
from appraise.store.leadership import is_loading
from appraise.store.loader import Loader
from appraise.store.verify import verify

_ALLOWED_SECONDS = 0.1
_START_SECONDS = 60.0
_LOADER_SECONDS = 120.0


def main() -> None:
    """Kill, count and print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, required=True, help="a folder with a trained california")
    options.add_argument("--modes", nargs="+", choices=("sync", "async"), default=["sync", "async"])
    options.add_argument("--kills", type=int, default=4)
    options.add_argument("--outage", type=float, default=5.0, help="seconds for which the database is stopped")
    options.add_argument("--clients", type=int, default=8)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    figures: list[Figure] = []
    failed = False
    for mode in args.modes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            folder.chmod(0o755)
            shutil.copytree(args.home, folder / "home", ignore=shutil.ignore_patterns("log", "postgres", "run"))
            outcome = _run(folder, mode, args.kills, args.outage, args.clients, np.random.default_rng(args.seed))
        figures += outcome.figures(mode)
        failed = failed or not outcome.kept
    show(figures, as_json=args.json)
    sys.exit(1 if failed else 0)


@dataclass(slots=True)
class Outcome:
    """What one mode came to.

    Attributes:
        answered: answers that clients received.
        kills, outage: what was done.
        lost: seconds from each answer that is not in the log to the kill that followed it.
        allowed: seconds before a kill in which an answer may be lost.
        twice: records that are there more than once.
        records: in the database.
        whole: whether the chain verifies.
    """

    answered: int
    kills: int
    outage: float
    lost: list[float]
    allowed: float
    twice: int
    records: int
    whole: bool

    @property
    def kept(self) -> bool:
        """Whether it is as it should be."""
        return self.whole and self.twice == 0 and all(seconds <= self.allowed for seconds in self.lost)

    def figures(self, mode: str) -> list[Figure]:
        """The same as figures."""
        name = f"appraise/{mode}"
        return [
            Figure(f"{name}/kills", self.kills, "kills"),
            Figure(f"{name}/database stopped", self.outage, "s"),
            Figure(f"{name}/answered", self.answered, "answers"),
            Figure(f"{name}/records", self.records, "records"),
            Figure(f"{name}/lost", len(self.lost), "answers"),
            Figure(f"{name}/longest before a kill", 1e3 * max(self.lost, default=0.0), "ms"),
            Figure(f"{name}/twice", self.twice, "records"),
            Figure(f"{name}/chain whole", float(self.whole), "yes or no"),
        ]


@dataclass(slots=True)
class Clients:
    """Threads that ask for as long as they may."""

    port: int
    stop: threading.Event = field(default_factory=threading.Event)
    answers: list[tuple[float, str]] = field(default_factory=list)

    def ask(self) -> None:
        """Ask without a pause; a service that is away is asked again."""
        body = json.dumps(example_row(find_spec("california")))
        connection: http.client.HTTPConnection | None = None
        while not self.stop.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                connection = None
                self.stop.wait(0.02)
                continue
            if answer.status == http.client.OK:
                self.answers.append((time.monotonic(), json.loads(text)["prediction_id"]))


def _run(folder: Path, mode: str, kills: int, outage: float, clients: int, dice: np.random.Generator) -> Outcome:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = folder / "postgres"
    with Database(DatabaseOptions(None, place)) as database:
        database.upgrade(actor="benchmark")
    database = Database(DatabaseOptions(None, place))
    database.ping()
    asked = Clients(port)
    threads = [threading.Thread(target=asked.ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    killed: list[tuple[float, float]] = []
    process = _start(folder, mode, port)
    try:
        for turn in range(kills):
            time.sleep(dice.uniform(0.3, 2.0))
            if turn == kills // 2:
                say(f"{mode}: the database is stopped for {outage:g} s")
                database.stop()
                time.sleep(outage)
                database.close()
                database = Database(DatabaseOptions(None, place))
                database.upgrade(actor="benchmark")
            loader = children(process.pid) if turn % 2 else []
            moment = time.monotonic()
            for pid in (process.pid, *loader):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
            say(f"{mode}: kill {turn + 1} of {kills}, {len(asked.answers):,} answers so far")
            process = _start(folder, mode, port)
            killed.append((moment, time.monotonic()))
        time.sleep(1.0)
    finally:
        asked.stop.set()
        for thread in threads:
            thread.join()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    return _counted(folder, database, mode, asked.answers, killed, outage)


def _start(folder: Path, mode: str, port: int) -> subprocess.Popen[bytes]:
    """A service that takes requests."""
    command = [sys.executable, "-m", "appraise", "--home", str(folder / "home"), "--log-level", "error"]
    url = f"postgresql://appraise@/appraise?host={folder / 'postgres' / 'socket'}"
    environment = {**os.environ, "APPRAISE_PREDICTION_LOG__MODE": mode, "APPRAISE_DATABASE_URL": url}
    with (folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "serve", "--model", "california", "--port", str(port)], stdout=log, stderr=log, env=environment
        )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process
        if process.poll() is not None:
            break
        time.sleep(0.02)
    sys.exit(f"the service did not start:\n{(folder / 'serve.log').read_text()[-2000:]}")


def _await_loaders(spool: Path) -> None:
    """Wait for loaders whose service was killed: they load what is left before they end."""
    deadline = time.monotonic() + _LOADER_SECONDS
    while is_loading(spool):
        if time.monotonic() > deadline:
            sys.exit(f"a loader of {spool} has not ended within {_LOADER_SECONDS:g} s")
        time.sleep(0.1)


def _counted(
    folder: Path,
    database: Database,
    mode: str,
    answers: list[tuple[float, str]],
    killed: list[tuple[float, float]],
    outage: float,
) -> Outcome:
    spool = folder / "home" / "log"
    _await_loaders(spool)
    loader = Loader(spool, database)
    loader.load()
    loader.close()
    found = verify(spool, database)
    for finding in found.findings:
        say(f"{finding.place} {finding.segment}: {finding.message}")
    with database.connect() as connection:
        there = set(connection.exec_driver_sql("SELECT prediction_id FROM predictions").scalars())
    database.stop()
    missing = [moment for moment, name in answers if uuid.UUID(name) not in there]
    # An answer that was read after a kill and before the next start had been sent before the kill.
    lost = [
        min((max(0.0, kill - moment) for kill, again in killed if again >= moment), default=float("inf"))
        for moment in missing
    ]
    allowed = _ALLOWED_SECONDS if mode == "async" else -1.0
    return Outcome(len(answers), len(killed), outage, lost, allowed, found.unlisted, len(there), found.whole)


if __name__ == "__main__":
    main()
