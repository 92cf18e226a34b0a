"""What the prediction log costs the service: requests a second, latency, and processor time of a request.

    python benchmarks/log.py --home .appraise      # a home with a trained california

Modes are `off`, `async` and `sync`; they take turns in rounds, and the median of each counts. The server has the first
processor, its loader and its embedded PostgreSQL with it; the load (wrk: `apt install wrk`) has the second. With
`--database apart` the database is one that was given, and has the second processor too, as where it is on another
machine. Processor time of a request is told by what took it: the event loop, the serving process's other threads (which
write the log), the loader, and the embedded PostgreSQL. It can be held against other modes of the same run on a machine
that does other things too, which requests a second cannot. Every request asks for another home. `loaded` is the part of
the records that is in the database when the load ends; the rest waits in the spool. The records are counted at the end:
as many as there were answers, and the chain is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from _report import Figure, held_against, parser, say, show
from serving_load import Load, Server, children, load, running

from appraise.datasets.prepare import prepare
from appraise.datasets.presets import find_spec
from appraise.store.database import Database, DatabaseOptions
from appraise.store.verify import verify

MODES = ("off", "async", "sync")
_HOMES = 2_000
_WARM_SECONDS = 2
_REGISTRY_SECONDS = 60.0


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, required=True, help="a folder with a trained california")
    options.add_argument("--data-dir", type=Path, default=os.environ.get("APPRAISE_DATA_DIR"))
    options.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--seconds", type=int, default=5, help="of each measurement")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument(
        "--database",
        choices=("own", "apart", "away"),
        default="own",
        help="the service's own, one apart, or none there",
    )
    args = options.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt install wrk")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two processors are needed, one for the server and one for the load")
    bodies = _bodies(args.data_dir)
    # The database's processes keep to the processor of whoever starts it.
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        home = folder / "home"
        shutil.copytree(args.home, home, ignore=shutil.ignore_patterns("log", "postgres", "run"))
        with contextlib.ExitStack() as stack:
            url = ""
            if args.database != "own":
                place = folder / ("postgres/socket" if args.database == "apart" else "away")
                url = f"postgresql://appraise@/appraise?host={place}"
            if args.database == "apart":
                stack.enter_context(Database(DatabaseOptions(None, folder / "postgres"))).upgrade(actor="benchmark")
            found: dict[str, list[Measured]] = {mode: [] for mode in args.modes}
            for turn in range(args.rounds):
                for mode in args.modes:
                    measured = _measure(home, mode, url, bodies, args.connections, args.seconds)
                    found[mode].append(measured)
                    parts = ", ".join(f"{name} {one:.1f}" for name, one in measured.microseconds.items())
                    say(
                        f"round {turn + 1}, {mode}: {measured.load.rate:,.0f} requests/s, us each: {parts},"
                        f" p99 {measured.load.p99:.1f} ms, {measured.loaded:.0%} loaded"
                    )
    show(_figures(found), as_json=args.json)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement.

    Attributes:
        load: what came of it.
        microseconds: of processor time for a request, by what took it.
        loaded: part of the records that is in the database when the load ends.
    """

    load: Load
    microseconds: dict[str, float]
    loaded: float


def _measure(home: Path, mode: str, url: str, bodies: list[str], connections: int, seconds: int) -> Measured:
    shutil.rmtree(home / "log", ignore_errors=True)
    command = [sys.executable, "-m", "appraise", "--home", str(home), "--log-level", "error", "serve"]
    environment = {"APPRAISE_PREDICTION_LOG__MODE": mode, "APPRAISE_DATABASE_URL": url}
    server = Server([*command, "--model", "california", "--port", "{port}"], "/predict", bodies, environment)
    with running(server) as running_server:
        load(running_server.url, bodies, connections=8, seconds=_WARM_SECONDS)
        _await_registry(running_server.pid, 0 if mode == "off" else 1)
        before, used = _answered(running_server.url), _used(running_server.pid, home)
        measured = load(running_server.url, bodies, connections=connections, seconds=seconds)
        used = {name: after - used[name] for name, after in _used(running_server.pid, home).items()}
        answered = _answered(running_server.url)
        loaded = _metric(running_server.url, "appraise_log_loaded_records_total") / answered
    if measured.failed:
        sys.exit(f"{mode} failed {measured.failed} requests")
    recorded = _recorded(home / "log")
    if mode != "off" and recorded != answered:
        sys.exit(f"{mode} answered {answered:,.0f} requests and recorded {recorded:,}")
    count = answered - before
    return Measured(measured, {name: one / count * 1e6 for name, one in used.items()}, loaded)


def _await_registry(pid: int, loaders: int) -> None:
    """Wait until the process that asks the registry has ended, which a start makes."""
    deadline = time.monotonic() + _REGISTRY_SECONDS
    while time.monotonic() < deadline:
        commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children(pid)]
        if sum(b"resource_tracker" not in command for command in commands) <= loaders:
            return
        time.sleep(0.2)


def _answered(url: str) -> float:
    return _metric(url, "appraise_predictions_total")


def _metric(url: str, name: str) -> float:
    text = httpx.get(f"{url.removesuffix('/predict')}/metrics", trust_env=False).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def _used(pid: int, home: Path) -> dict[str, float]:
    """Seconds of processor time by what took them."""
    threads = _thread_seconds(pid)
    event_loop = threads.pop(pid)
    postgres = home / "postgres" / "data" / "postmaster.pid"
    database = _family(int(postgres.read_text(encoding="utf-8").splitlines()[0])) if postgres.exists() else []
    return {
        "event loop": event_loop,
        "other threads": sum(threads.values()),
        "loader": _seconds(_family(pid)[1:]),
        "database": _seconds(database),
    }


def _family(pid: int) -> list[int]:
    """A process and all that come from it."""
    return [pid, *(one for child in children(pid) for one in _family(child))]


def _seconds(pids: list[int]) -> float:
    return sum(sum(_thread_seconds(pid).values()) for pid in pids)


def _thread_seconds(pid: int) -> dict[int, float]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): int((task / "schedstat").read_text(encoding="utf-8").split()[0]) / 1e9 for task in tasks}


def _recorded(folder: Path) -> int:
    found = verify(folder, None)
    if not found.whole:
        sys.exit(f"the log is not whole: {found.findings[0].message}")
    return found.records.get("spool", 0)


def _figures(found: dict[str, list[Measured]]) -> list[Figure]:
    figures: list[Figure] = []
    references: dict[str, Figure] = {}
    for mode, runs in found.items():
        for kind, unit, values in (
            ("requests", "requests/s", [one.load.rate for one in runs]),
            ("processor", "us/request", [sum(one.microseconds.values()) for one in runs]),
            ("p50", "ms", [one.load.p50 for one in runs]),
            ("p99", "ms", [one.load.p99 for one in runs]),
        ):
            value = statistics.median(values)
            if kind in references:
                figures.append(held_against(f"appraise/log {mode}/{kind}", value, unit, references[kind]))
            else:
                references[kind] = Figure(f"log {mode}/{kind}", value, unit)
                figures.append(references[kind])
        for name in runs[0].microseconds:
            value = statistics.median(one.microseconds[name] for one in runs)
            figures.append(Figure(f"appraise/log {mode}/processor, {name}", value, "us/request"))
        if mode != "off":
            figures.append(Figure(f"appraise/log {mode}/loaded", statistics.median(one.loaded for one in runs), "of 1"))
    return figures


def _bodies(data_dir: Path | None) -> list[str]:
    """Homes of the holdout, as requests."""
    spec = find_spec("california")
    data = None if data_dir is None else Path(data_dir).absolute() / "california_housing.csv"
    with tempfile.TemporaryDirectory() as cache:
        prepared = prepare(spec, data=data, cache=Path(cache), memory_limit=None)
    names = [column.name for column in spec.inputs]
    homes = prepared.frame.select(names)[prepared.split.holdout[:_HOMES]]
    return [json.dumps(row) for row in homes.iter_rows(named=True)]


if __name__ == "__main__":
    main()
