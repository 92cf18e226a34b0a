"""What the prediction log costs the service: requests a second, latency, and processor time of a request.

    python benchmarks/log.py --home .appraise      # a home with a trained california

Modes are `off`, `async` and `sync`; they take turns in rounds, and the median of each counts. The server, its loader
among it, has the first processor; the load (wrk: `apt install wrk`) and the database have the second. Processor time is
that of the serving process and leaves the loader out, which runs at the lowest priority; it can be trusted on a machine
that does other things too, which requests a second cannot. Every request asks for another home. The records are counted
at the end: as many as there were answers, and the chain is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
from _report import Figure, held_against, parser, say, show
from serving_load import Load, Server, load, running

from appraise.datasets.prepare import prepare
from appraise.datasets.presets import find_spec
from appraise.store.database import Database, DatabaseOptions
from appraise.store.verify import verify

MODES = ("off", "async", "sync")
_HOMES = 2_000
_WARM_SECONDS = 2


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, required=True, help="a folder with a trained california")
    options.add_argument("--data-dir", type=Path, default=os.environ.get("APPRAISE_DATA_DIR"))
    options.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--seconds", type=int, default=5, help="of each measurement")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--without-loader", action="store_true", help="let the database be away: the spool alone")
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
        with Database(DatabaseOptions(None, folder / "postgres")) as database:
            database.upgrade(actor="benchmark")
            place = folder / "postgres" / "socket"
            url = f"postgresql://appraise@/appraise?host={folder / 'away' if args.without_loader else place}"
            found: dict[str, list[Measured]] = {mode: [] for mode in args.modes}
            for turn in range(args.rounds):
                for mode in args.modes:
                    measured = _measure(home, mode, url, bodies, args.connections, args.seconds)
                    found[mode].append(measured)
                    rate, microseconds = measured.load.rate, measured.microseconds
                    say(f"round {turn + 1}, {mode}: {rate:,.0f} requests/s, {microseconds:.1f} us of processor each")
    show(_figures(found), as_json=args.json)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement.

    Attributes:
        load: what came of it.
        microseconds: of the server's processor time for a request.
    """

    load: Load
    microseconds: float


def _measure(home: Path, mode: str, url: str, bodies: list[str], connections: int, seconds: int) -> Measured:
    shutil.rmtree(home / "log", ignore_errors=True)
    command = [sys.executable, "-m", "appraise", "--home", str(home), "--log-level", "error", "serve"]
    environment = {"APPRAISE_PREDICTION_LOG__MODE": mode, "APPRAISE_DATABASE_URL": url}
    server = Server([*command, "--model", "california", "--port", "{port}"], "/predict", bodies, environment)
    with running(server) as running_server:
        load(running_server.url, bodies, connections=8, seconds=_WARM_SECONDS)
        before, used = _answered(running_server.url), _processor_seconds(running_server.pid)
        measured = load(running_server.url, bodies, connections=connections, seconds=seconds)
        used = _processor_seconds(running_server.pid) - used
        answered = _answered(running_server.url)
    if measured.failed:
        sys.exit(f"{mode} failed {measured.failed} requests")
    recorded = _recorded(home / "log")
    if mode != "off" and recorded != answered:
        sys.exit(f"{mode} answered {answered:,.0f} requests and recorded {recorded:,}")
    return Measured(measured, used / (answered - before) * 1e6)


def _answered(url: str) -> float:
    text = httpx.get(f"{url.removesuffix('/predict')}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("appraise_predictions_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
            ("processor", "us/request", [one.microseconds for one in runs]),
            ("p50", "ms", [one.load.p50 for one in runs]),
            ("p99", "ms", [one.load.p99 for one in runs]),
        ):
            value = statistics.median(values)
            if kind in references:
                figures.append(held_against(f"appraise/log {mode}/{kind}", value, unit, references[kind]))
            else:
                references[kind] = Figure(f"log {mode}/{kind}", value, unit)
                figures.append(references[kind])
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
