"""Predict: homes in, the same rows with estimates out; into one file, or in parts into a folder or S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from appraise.datasets.paths import plain
from appraise.datasets.presets import find_spec
from appraise.datasets.s3 import SCHEME
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import spec_from_dict
from appraise.errors import SpecError, did_you_mean
from appraise.jobs.outputs import check_apart, check_table_path, placed
from appraise.jobs.progress import Progress, Task
from appraise.jobs.workspace import Workspace
from appraise.registry.bundle import read_manifest
from appraise.registry.version import Version
from appraise.serving.batch.engines import Engine, ProcessPool, ThisProcess
from appraise.serving.batch.inputs import find_inputs
from appraise.serving.batch.layout import find_layout
from appraise.serving.batch.manifest import Manifest
from appraise.serving.batch.planning import plan_shards
from appraise.serving.batch.reading import read_shard
from appraise.serving.batch.run import Run, plan_run
from appraise.serving.batch.shard import how_written
from appraise.serving.batch.valuing import Valuer
from appraise.serving.predictor import DEFAULT_LEVEL, Predictor

#: Runs of fewer parts are done in this process: to start others takes longer.
_FEW_PARTS = 2


@dataclass(frozen=True, slots=True)
class PredictResult:
    """What was written.

    Attributes:
        dataset: the dataset's name.
        model_version: the version that valued the rows.
        rows: how many there are, in and out.
        valued: how many have an estimate; the others say why not.
        output: the file, folder or address.
        level: nominal level of the intervals.
        parts: files in the output where it is a folder or an address.
        run_id: the run, where it is one.
        replaced: whether a file was there before.
        resumed: how many of the parts were there before.
        unusable: how many of the estimates have the confidence grade `none`.
    """

    dataset: str
    model_version: str
    rows: int
    valued: int
    output: str
    level: float
    parts: int | None = None
    run_id: str | None = None
    replaced: bool = False
    resumed: int = 0
    unusable: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        document = {
            "dataset": self.dataset,
            "model_version": self.model_version,
            "rows": self.rows,
            "valued": self.valued,
            "refused": self.rows - self.valued,
            "unusable": self.unusable,
            "level": self.level,
            "output": self.output,
        }
        if self.parts is None:
            return {**document, "replaced": self.replaced}
        return {**document, "parts": self.parts, "resumed": self.resumed, "run_id": self.run_id}


def find_dataset(name: str, workspace: Workspace) -> DatasetSpec:
    """The spec of a preset, of a file, or of a registered model.

    Raises:
        SpecError: there is none of that name, or the file is wrong.
        RegistryError, BundleError: what is registered cannot be had.
    """
    try:
        return find_spec(name)
    except SpecError as error:
        if Path(name).suffix:
            raise
        registered = {entry.name for entry in workspace.registry.list_models()}
        if name not in registered:
            raise SpecError(error.message, hint=did_you_mean(name, registered) or error.hint) from error
    entry = workspace.registry.list_models(name)[0]
    return spec_from_dict(read_manifest(workspace.registry.resolve(name, version=entry.version)).spec)


def is_folder(output: str) -> bool:
    """Whether an output is written in parts: an `s3://` address, a folder, or a name without a suffix."""
    path = Path(output)
    return output.startswith(SCHEME) or output.endswith(("/", os.sep)) or path.is_dir() or not path.suffix


def predict_file(
    spec: DatasetSpec,
    *,
    workspace: Workspace,
    input: str,  # noqa: A002  what the option is called
    output: Path,
    version: Version | None = None,
    alias: str = "champion",
    level: float = DEFAULT_LEVEL,
    progress: Progress,
) -> PredictResult:
    """Value the rows of an input into one file.

    Every row of the input is in the output, in its order, with an estimate or with the reason why there is none.

    Args:
        spec: the dataset.
        workspace: where models are.
        input: a file or folder as the dataset's own data may be; the price may be missing.
        output: CSV, Parquet or JSON lines, by its suffix.
        version, alias: which model.
        level: nominal level of the intervals, in (0, 1).
        progress: who watches.

    Raises:
        DataError: the input cannot be read or lacks columns.
        UnknownModelError, BundleError: there is no such model, or it is damaged.
        OutputError: the output cannot be written.
    """
    output = plain(output)
    check_table_path(output)
    replaced = output.is_file()
    predictor = Predictor.load(workspace.registry.resolve(spec.name, version=version, alias=alias))
    endpoint, suffix = workspace.s3_endpoint, output.suffix.lower()
    with progress.task("data") as looking:
        looking.note(input)
        files = find_inputs(predictor.spec, input, cache=workspace.cache, endpoint=endpoint)
        check_apart((file.address for file in files), input, output)
        layout = find_layout(predictor.spec, files, endpoint=endpoint, cells=suffix == ".csv")
        shards = plan_shards(files, layout, endpoint=endpoint)
    for note in layout.notes:
        progress.message(note)
    valuer = Valuer(predictor, layout, level)
    rows = valued = unusable = 0
    total = sum(shard.rows for shard in shards)
    with progress.task("estimates", total=total) as task, _writer(output, layout.schema) as write:
        for shard in shards:
            for unit in read_shard(shard, files, layout, endpoint=endpoint):
                made = valuer.value(unit)
                write(made.table)
                rows += made.table.num_rows
                valued, unusable = valued + made.valued, unusable + made.unusable
                task.advance(made.table.num_rows)
    model = "" if predictor.manifest is None else str(predictor.manifest.version)
    return PredictResult(spec.name, model, rows, valued, str(output), level, replaced=replaced, unusable=unusable)


def predict_folder(
    spec: DatasetSpec,
    *,
    workspace: Workspace,
    input: str,  # noqa: A002
    output: str,
    version: Version | None = None,
    alias: str = "champion",
    level: float = DEFAULT_LEVEL,
    engine: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress,
) -> PredictResult:
    """Value the rows of an input into parts, in several processes, at constant memory.

    The parts are in the order of the rows. A run that ended before it was done goes on when it is begun again.

    Args:
        spec: the dataset.
        workspace: where models are.
        input: a file, folder, glob or `s3://` address.
        output: a folder or an `s3://` address.
        version, alias: which model.
        level: nominal level of the intervals, in (0, 1).
        engine: address of a Dask scheduler; None works on this machine.
        workers: processes on this machine; None takes one for each processor.
        overwrite: begin anew where the output holds a run.
        progress: who watches.

    Raises:
        DataError: the input cannot be read, lacks columns, or has no rows.
        UnknownModelError, BundleError: there is no such model, or it is damaged.
        OutputError: the output holds something else, or cannot be written.
        BatchError: workers are lost again and again, or cannot be reached.
    """
    bundle = workspace.registry.resolve(spec.name, version=version, alias=alias)
    with progress.task("data") as looking:
        looking.note(input)
        run = plan_run(
            bundle=bundle,
            input=input,
            output=output,
            level=level,
            cache=workspace.cache,
            endpoint=workspace.s3_endpoint,
        )
    for note in run.notes:
        progress.message(note)
    with progress.task("estimates", total=run.mark.rows) as task:
        manifest, resumed = _carried_out(run, _engine(engine, workers, len(run.shards)), task, overwrite=overwrite)
    return PredictResult(
        dataset=spec.name,
        model_version=manifest.model.version,
        rows=manifest.rows,
        valued=manifest.valued,
        output=run.work.output.address,
        level=level,
        parts=len(manifest.parts),
        run_id=manifest.run_id,
        resumed=resumed,
        unusable=manifest.unusable,
    )


class InterruptedRun(KeyboardInterrupt):
    """Ctrl-C in a run that goes on when it is begun again.

    Attributes:
        done, parts: how many parts are done, and how many there are.
    """

    def __init__(self, done: int, parts: int) -> None:
        super().__init__()
        self.done = done
        self.parts = parts


def _carried_out(run: Run, engine: Engine, task: Task, *, overwrite: bool) -> tuple[Manifest, int]:
    """The manifest, and how many parts were there before."""
    done = 0
    resumed: int | None = None

    def observe(rows: int, shards: int) -> None:
        nonlocal done, resumed
        done += shards
        # What was there is told first.
        resumed = shards if resumed is None else resumed
        task.advance(rows)
        task.note(f"{done} of {len(run.shards)} parts")

    try:
        manifest = run.carry_out(engine, overwrite=overwrite, observe=observe)
    except KeyboardInterrupt:
        # Parts are told in their order, and some may be whole that were not told yet.
        raise InterruptedRun(max(done, run.parts_there()), len(run.shards)) from None
    return manifest, resumed or 0


def _engine(address: str | None, workers: int | None, parts: int) -> Engine:
    if address is not None:
        from appraise.serving.batch.cluster import DaskCluster

        return DaskCluster(address)
    workers = workers or len(os.sched_getaffinity(0))
    return ThisProcess() if workers == 1 or parts < _FEW_PARTS else ProcessPool(workers)


class _Write(Protocol):
    def __call__(self, table: pa.Table) -> None:
        """Write some rows."""


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[_Write]:
    """Writes tables of one schema into a file of the type of its suffix, which is whole or not there."""
    with placed(path) as temporary, temporary.open("wb") as stream:
        match path.suffix.lower():
            case ".parquet":
                with parquet.ParquetWriter(stream, schema, **how_written(schema)) as writer:
                    yield writer.write_table
            case ".csv":
                yield _CsvWriter(stream, schema)
            case _:
                yield lambda table: pl.DataFrame(table).write_ndjson(stream)


class _CsvWriter:
    """Writes the header with the first rows alone."""

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._stream = stream
        pl.DataFrame(schema.empty_table()).write_csv(stream)

    def __call__(self, table: pa.Table) -> None:
        """Write some rows."""
        pl.DataFrame(table).write_csv(self._stream, include_header=False)
