"""Requests a second and latency of the REST service with the default model of `california`, beside other servers.

    python benchmarks/serving.py                                # trains into a temporary folder, all peers
    python benchmarks/serving.py --home .appraise --peers echo  # a trained home, the FastAPI echo alone

Each server has the first processor, the load (wrk: `apt install wrk`) the second; every request asks for another home.
Peers: `echo` (FastAPI, no model), `sklearn` (FastAPI, pandas frame, scikit-learn pipeline), `mlserver` (as it comes),
`mlserver-lean` (one process, no log, no metrics), `mlflow` (`mlflow models serve`). All but the echo serve one CatBoost
model with as many trees as ours on the bare columns; ours makes features of known sales, evaluates a blend, and gives
an interval, a confidence score and warnings. MLServer is installed into an environment of its own in the cache folder.
The data come from `--data-dir`, else from `APPRAISE_DATA_DIR`, else from scikit-learn.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _report import Figure, held_against, parser, say, show
from serving_load import Server, ServerError, children, load, processor_seconds, resident, running
from serving_peers import PEERS, Bench

from appraise.datasets.prepare import Prepared, prepare
from appraise.datasets.presets import find_spec

OURS = "appraise"

#: Homes that are asked for.
_HOMES = 2_000
#: Trees of the peers' booster: as many as the first part of our blend has.
_TREES = 716
_REGISTRY_SECONDS = 60.0


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, help="a folder with a trained california; trained anew where not given")
    options.add_argument("--data-dir", type=Path, default=os.environ.get("APPRAISE_DATA_DIR"))
    options.add_argument("--peers", nargs="*", choices=tuple(PEERS), default=tuple(PEERS))
    options.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    options.add_argument("--seconds", type=int, default=5, help="of each measurement")
    options.add_argument("--path", default="/predict", help="what is asked of our service")
    args = options.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt install wrk")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two processors are needed, one for the server and one for the load")
    # So that servers end with it, whoever ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = None if args.data_dir is None else Path(args.data_dir).absolute() / "california_housing.csv"
        bench = _bench(folder, data)
        home = folder / "home" if args.home is None else args.home.absolute()
        if args.home is None:
            _train(home, data)
        servers = {name: PEERS[name](bench) for name in args.peers} | {OURS: _ours(home, args.path, bench)}
        figures: list[Figure] = []
        for name, server in servers.items():
            try:
                figures += _measure(name, server, args.connections, args.seconds)
            except ServerError as error:
                sys.exit(f"{name}: {error}")
    show(_with_ratios(figures), as_json=args.json)


def _bench(folder: Path, data: Path | None) -> Bench:
    spec = find_spec("california")
    prepared: Prepared = prepare(spec, data=data, cache=folder / "data", memory_limit=None)
    names = tuple(column.name for column in spec.inputs)
    X = prepared.frame.select(names).to_numpy().astype(np.float64)
    y = prepared.frame[spec.target.name].to_numpy().astype(np.float64)
    train = np.asarray(prepared.split.train)
    asked = np.random.default_rng(0).permutation(np.asarray(prepared.split.holdout))[:_HOMES]
    return Bench(folder, names, X[asked], X[train], y[train], _TREES, os.cpu_count() or 1)


def _train(home: Path, data: Path | None) -> None:
    say("training california")
    source = () if data is None else ("--data", str(data))
    subprocess.run(
        [sys.executable, "-m", "appraise", "--home", str(home), "train", "california", *source],
        check=True,
        stdout=sys.stderr,
    )


def _ours(home: Path, path: str, bench: Bench) -> Server:
    command = [sys.executable, "-m", "appraise", "--home", str(home), "--log-level", "warning"]
    return Server([*command, "serve", "--model", "california", "--port", "{port}"], path, bench.objects())


def _measure(name: str, server: Server, connections: list[int], seconds: int) -> list[Figure]:
    """Everything about one server, which is started once before, so that its caches are filled."""
    with running(server):
        pass
    figures = []
    with running(server) as found:
        say(f"{name}: ready after {found.ready:.2f} s")
        figures.append(Figure(f"{name}/ready", found.ready, "s"))
        if name == OURS:
            _await_registry(found.pid)
        load(found.url, server.bodies, connections=8, seconds=2)
        for count in connections:
            before = processor_seconds(found.pid)
            measured = load(found.url, server.bodies, connections=count, seconds=seconds)
            processor = (processor_seconds(found.pid) - before) / measured.requests * 1e6
            if measured.failed:
                raise ServerError(f"{measured.failed} requests of {count} connections failed")
            told = f"{measured.rate:,.0f} requests/s, p99 {measured.p99:.2f} ms, {processor:.0f} us of processor each"
            say(f"{name}: {count} connections, {told}")
            figures.append(Figure(f"{name}/{count} connections", measured.rate, "requests/s"))
            figures.append(Figure(f"{name}/{count} connections/processor", processor, "us a request"))
            figures.append(Figure(f"{name}/{count} connections/p50", measured.p50, "ms"))
            figures.append(Figure(f"{name}/{count} connections/p99", measured.p99, "ms"))
        figures.append(Figure(f"{name}/memory", resident(found.pid) / 2**20, "MB"))
    return figures


def _await_registry(pid: int) -> None:
    """Wait for the process by which a service that began with cached models asks the registry for news."""
    deadline = time.monotonic() + _REGISTRY_SECONDS
    # The other two, multiprocessing's tracker of resources and the loader of the prediction log, stay.
    while len(children(pid)) > 2 and time.monotonic() < deadline:
        time.sleep(0.1)


def _with_ratios(figures: list[Figure]) -> list[Figure]:
    """The peers' figures, and ours once against each peer."""
    theirs = [figure for figure in figures if not figure.name.startswith(f"{OURS}/")]
    shown = list(theirs)
    for ours in figures:
        if ours in theirs:
            continue
        peers = [other for other in theirs if other.name.partition("/")[2] == ours.name.partition("/")[2]]
        shown += [held_against(ours.name, ours.value, ours.unit, other) for other in peers] or [ours]
    return shown


if __name__ == "__main__":
    main()
