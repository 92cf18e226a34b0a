"""Speed and memory of batch runs, beside bare Parquet-to-Parquet and mlflow's pyfunc on the same rows.

    python benchmarks/batch.py                              # 10^5 and 10^6 rows
    python benchmarks/batch.py --rows 1000000 10000000      # half an hour
    python benchmarks/batch.py --engines pool bare          # a part of it

California rows are resampled with jitter and written as Parquet. `pool` is the process pool of `appraise predict` with
the default model: comparables, intervals, warnings, checks. `plain` is the same with a model without
comparables.
`dask` is a scheduler and worker processes on this machine. `bare` reads the same file and writes columns of the same
number and types with the same compression and row groups, each file to the disk as a part is, and computes nothing: it
makes no hash, checks nothing and starts no process. `mlflow` reads the file with pandas, has a pyfunc of a
CatBoost model of the plain columns predict it, which makes no interval and checks nothing, and writes it.

Rows/s count from the first look at the input to the manifest, the start of the workers included; the processor's time
says the same where other programs share the machine. Memory is the greatest sum of the proportional set sizes of all
processes that take part (Linux).
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from _report import Figure, held_against, parser, say, show
from pyarrow import parquet

ENGINES = ("bare", "plain", "pool", "dask", "mlflow")
_GROUP = 131_072
_MOST_MLFLOW = 1_000_000


def main() -> None:
    """Run it."""
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    arguments.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--data-dir", type=Path, default=os.environ.get("APPRAISE_DATA_DIR"))
    arguments.add_argument("--bundle", type=Path, help="the default model's bundle, where one was trained already")
    arguments.add_argument("--plain-bundle", type=Path, help="the same of the model without comparables")
    arguments.add_argument("--child", nargs=4, metavar="X", help="what this program starts itself with")
    chosen = arguments.parse_args()
    if chosen.child:
        child(*chosen.child, workers=chosen.workers)
        return
    # The reference first, whatever the order they were named in.
    engines = [engine for engine in ENGINES if engine in chosen.engines]
    with tempfile.TemporaryDirectory(prefix="appraise-benchmark-") as name:
        folder = Path(name)
        bundles = train(folder, chosen.data_dir, engines, chosen.bundle, chosen.plain_bundle)
        figures = []
        for rows in chosen.rows:
            say(f"{rows:,} rows")
            source = write_rows(folder / f"{rows}.parquet", rows, folder / "sales.parquet")
            figures += measure(source, rows, bundles, engines, chosen.workers)
            source.unlink()
    show(figures, as_json=chosen.json)


def train(
    folder: Path, data_dir: Path | None, engines: list[str], bundle: Path | None, plain: Path | None
) -> dict[str, Path]:
    """Bundles of the default model and of one without comparables, and mlflow's model."""
    from appraise.datasets.prepare import prepare
    from appraise.datasets.presets import find_spec
    from appraise.features.pipeline import FeaturePipeline
    from appraise.jobs import fitting
    from appraise.jobs.fitted import FitOptions
    from appraise.jobs.fitting import Fitting
    from appraise.jobs.progress import SilentProgress

    spec = find_spec("california")
    data = None if data_dir is None else Path(data_dir) / "california_housing.csv"
    prepared = prepare(spec, data=data, cache=folder, memory_limit=None)
    parquet.write_table(prepared.frame.to_arrow(), folder / "sales.parquet")
    frames = prepared.frame[prepared.split.train], prepared.frame[prepared.split.validation]
    threads = len(os.sched_getaffinity(0))
    made: dict[str, Path] = {}
    if bundle is not None:
        made["pool"] = bundle
    elif {"pool", "dask"} & set(engines):
        say("training the default model")
        fit = Fitting(spec, *frames, FitOptions(threads=threads), SilentProgress()).run()
        made["pool"] = save(fit.predictor, folder / "pool")
    if plain is not None:
        made["plain"] = plain
    elif "plain" in engines:
        say("training a model without comparables")
        with (
            patch.object(fitting, "FeaturePipeline", lambda *_, **__: FeaturePipeline(metrics=None)),
            patch.object(fitting, "candidate_kinds", lambda *_: (("catboost",), ())),
        ):
            fit = Fitting(spec, *frames, FitOptions(threads=threads), SilentProgress()).run()
        made["plain"] = save(fit.predictor, folder / "plain")
    if "mlflow" in engines:
        say("training a CatBoost model of the plain columns for mlflow")
        import catboost
        from mlflow.catboost import save_model

        names = [column.name for column in spec.inputs]
        model = catboost.CatBoostRegressor(iterations=1000, depth=6, verbose=False, thread_count=threads)
        model.fit(frames[0].select(names).to_pandas(), frames[0][spec.target.name].to_numpy())
        save_model(model, folder / "mlflow")
        made["mlflow"] = folder / "mlflow"
    made.setdefault("dask", made.get("pool", folder))
    return made


def save(predictor: Any, folder: Path) -> Path:
    """A predictor as a bundle."""
    import datetime as dt

    from appraise.datasets.specfile import spec_hash, spec_to_dict
    from appraise.registry.bundle import write_bundle
    from appraise.registry.manifest import Manifest
    from appraise.registry.version import FIRST

    spec = predictor.spec
    manifest = Manifest(
        name=spec.name,
        version=FIRST,
        kind="benchmark",
        created_at=dt.datetime.now(tz=dt.UTC),
        spec=spec_to_dict(spec),
        spec_hash=spec_hash(spec),
        metrics={},
        training_ranges={},
        git_commit=None,
        data_hash=None,
        libraries={},
        extra={"scale": predictor.scale, "last_sale": None, "window_days": predictor.window_days},
    )
    write_bundle(folder, manifest=manifest, parts=predictor.parts())
    return folder


def write_rows(path: Path, rows: int, sales: Path) -> Path:
    """Homes without prices: real ones, each moved a little."""
    table = parquet.read_table(sales).drop_columns(["MedHouseVal"])
    random = np.random.default_rng(0)
    with parquet.ParquetWriter(path, table.schema) as writer:
        for start in range(0, rows, _GROUP):
            count = min(_GROUP, rows - start)
            some = table.take(random.integers(0, table.num_rows, count))
            for name, spread in (("Latitude", 0.0002), ("Longitude", 0.0002), ("MedInc", 0.02)):
                moved = some.column(name).to_numpy() * (1 + random.normal(0, spread, count))
                some = some.set_column(some.column_names.index(name), name, pa.array(moved))
            writer.write_table(some)
    return path


def measure(source: Path, rows: int, bundles: dict[str, Path], engines: list[str], workers: int) -> list[Figure]:
    """Figures of each engine on one file."""
    figures: list[Figure] = []
    references: dict[str, Figure] = {}
    for engine in engines:
        if engine == "mlflow" and rows > _MOST_MLFLOW:
            continue
        took = run(engine, bundles.get(engine, source), source, workers)
        ours = engine not in ("bare", "mlflow")
        name = f"{'appraise/' if ours else ''}{engine}/{rows}"
        found = {"": (rows / took.seconds, "rows/s"), "/memory": (took.memory, "MB")}
        if engine != "dask":
            found["/processor"] = took.processor / rows * 1e6, "us/row"
        for part, (value, unit) in found.items():
            reference = references.get(part)
            plain = Figure(name + part, value, unit)
            figures.append(plain if reference is None else held_against(plain.name, value, unit, reference))
            if engine == "bare":
                references[part] = plain
    return figures


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took: seconds by the clock and of the processors, the greatest memory in MB."""

    seconds: float
    processor: float
    memory: float


def run(engine: str, model: Path, source: Path, workers: int) -> Run:
    """Value the rows in a process of its own."""
    say(f"  {engine}")
    with tempfile.TemporaryDirectory(dir=source.parent) as output, cluster(engine, workers) as (address, others):
        command = [sys.executable, __file__, "--workers", str(workers), "--child", engine, str(model), str(source)]
        with subprocess.Popen([*command, f"{output}/out {address}"], stdout=subprocess.PIPE, text=True) as process:
            memory = Memory([process.pid, *others])
            answer = json.loads(process.communicate()[0])
            return Run(answer["seconds"], answer["processor"], memory.end())


class Memory:
    """Watches the memory of processes and of those that they start."""

    def __init__(self, roots: list[int]) -> None:
        self._roots = roots
        self._greatest = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._greatest = max(self._greatest, sum(map(proportional, family(self._roots))))

    def end(self) -> float:
        """The greatest sum, MB."""
        self._ended.set()
        self._thread.join()
        return self._greatest / 1e6


def family(roots: list[int]) -> list[int]:
    """The processes and all that they started."""
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def proportional(pid: int) -> int:
    """Bytes of a process, those that it shares divided among those that share them."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.partition("\nPss:")[2].split()[0]) * 1024


@contextmanager
def cluster(engine: str, workers: int) -> Iterator[tuple[str, list[int]]]:
    """A Dask scheduler with workers where they are asked for."""
    if engine != "dask":
        yield "", []
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    processes = [
        subprocess.Popen(
            [*dask, "scheduler", *options, "--port", str(port), "--dashboard-address", "127.0.0.1:0"], **quiet
        )
    ]
    processes += [
        subprocess.Popen([*dask, "worker", address, *options, "--nthreads", "1", "--no-nanny"], **quiet)
        for _ in range(workers)
    ]
    try:
        yield address, [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def child(engine: str, model: str, source: str, place: str, *, workers: int) -> None:
    """What is measured, in a process of its own."""
    output, _, address = place.partition(" ")
    if engine == "dask":
        from distributed import Client

        with Client(address, timeout=60) as client:
            client.wait_for_workers(workers, timeout=60)
    if engine == "mlflow":
        import pandas as pd  # noqa: F401  imports are not what is measured
    else:
        from appraise.serving.batch import run as _run  # noqa: F401
    usage = resource.getrusage(resource.RUSAGE_SELF)
    before = usage.ru_utime + usage.ru_stime
    started = time.perf_counter()
    if engine == "bare":
        bare(Path(source), Path(output), workers)
    elif engine == "mlflow":
        pyfunc(Path(model), Path(source), Path(output))
    else:
        from appraise.serving.batch.cluster import DaskCluster
        from appraise.serving.batch.engines import ProcessPool
        from appraise.serving.batch.run import plan_run

        run = plan_run(
            bundle=Path(model), input=source, output=output, level=0.9, cache=Path(output).parent, endpoint=None
        )
        run.carry_out(DaskCluster(address) if engine == "dask" else ProcessPool(workers))
    seconds = time.perf_counter() - started
    used = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    print(json.dumps({"seconds": seconds, "processor": used - before}))


def bare(source: Path, output: Path, threads: int) -> None:
    """Read, add columns of the types that are added to estimates, write as parts are written."""
    from appraise.serving.batch.layout import ADDED
    from appraise.serving.batch.shard import how_written

    output.mkdir()
    groups = parquet.ParquetFile(source).num_row_groups

    def copy(group: int) -> None:
        table = parquet.ParquetFile(source).read_row_group(group, use_threads=False)
        random = np.random.default_rng(group)
        for field in ADDED:
            floating = pa.types.is_floating(field.type)
            column = pa.array(random.random(table.num_rows)) if floating else pa.nulls(table.num_rows, field.type)
            table = table.append_column(field, column)
        with (output / f"{group}.parquet").open("wb") as file:
            parquet.write_table(table, file, row_group_size=65_536, **how_written(table.schema))
            file.flush()
            os.fsync(file.fileno())

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(copy, range(groups)))


def pyfunc(model: Path, source: Path, output: Path) -> None:
    """The usual way: the whole file as a frame."""
    import mlflow
    import pandas as pd

    frame = pd.read_parquet(source)
    frame["estimate"] = mlflow.pyfunc.load_model(str(model)).predict(frame)
    frame.to_parquet(output)


if __name__ == "__main__":
    main()
