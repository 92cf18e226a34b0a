"""What the prediction log costs: requests a second and latency of the service with it off, on, and in `sync` mode.

    python benchmarks/log.py --home .appraise      # a home with a trained california

The server, its loader among it, has the first processor; the load (wrk: `apt install wrk`) and the database have the
second. Modes take turns in rounds, and the median of each counts. Every request asks for another home. What was logged
is counted at the end: as many records as there were answers.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
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
            found: dict[str, list[Load]] = {mode: [] for mode in args.modes}
            for turn in range(args.rounds):
                for mode in args.modes:
                    measured = _measure(home, mode, url, bodies, args.connections, args.seconds)
                    found[mode].append(measured)
                    say(f"round {turn + 1}, {mode}: {measured.rate:,.0f} requests/s, p99 {measured.p99:.2f} ms")
    show(_figures(found), as_json=args.json)


def _measure(home: Path, mode: str, url: str, bodies: list[str], connections: int, seconds: int) -> Load:
    shutil.rmtree(home / "log", ignore_errors=True)
    command = [sys.executable, "-m", "appraise", "--home", str(home), "--log-level", "error", "serve"]
    environment = {"APPRAISE_PREDICTION_LOG__MODE": mode, "APPRAISE_DATABASE_URL": url}
    server = Server([*command, "--model", "california", "--port", "{port}"], "/predict", bodies, environment)
    with running(server) as running_server:
        load(running_server.url, bodies, connections=8, seconds=_WARM_SECONDS)
        measured = load(running_server.url, bodies, connections=connections, seconds=seconds)
        answered = _counted(running_server.url, "appraise_predictions_total")
    if measured.failed:
        sys.exit(f"{mode} failed {measured.failed} requests")
    recorded = _recorded(home / "log")
    if mode != "off" and recorded != answered:
        sys.exit(f"{mode} answered {answered:,.0f} requests and recorded {recorded:,}")
    return measured


def _counted(url: str, name: str) -> float:
    text = httpx.get(f"{url.removesuffix('/predict')}/metrics", trust_env=False).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def _recorded(folder: Path) -> int:
    found = verify(folder, None)
    if not found.whole:
        sys.exit(f"the log is not whole: {found.findings[0].message}")
    return found.records.get("spool", 0)


def _figures(found: dict[str, list[Load]]) -> list[Figure]:
    figures: list[Figure] = []
    reference: Figure | None = None
    for mode, loads in found.items():
        rate = statistics.median(one.rate for one in loads)
        if reference is None:
            reference = Figure(f"log {mode}", rate, "requests/s")
            figures.append(reference)
        else:
            figures.append(held_against(f"appraise/log {mode}", rate, "requests/s", reference))
        for name, value in (("p50", [one.p50 for one in loads]), ("p99", [one.p99 for one in loads])):
            figures.append(Figure(f"appraise/log {mode}/{name}", statistics.median(value), "ms"))
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
