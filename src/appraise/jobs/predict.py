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

from appraise.datasets.s3 import SCHEME
from appraise.datasets.spec import DatasetSpec
from appraise.jobs.outputs import check_table_path, placed
from appraise.jobs.progress import Progress, Task
from appraise.jobs.workspace import Workspace
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
    """

    dataset: str
    model_version: str
    rows: int
    valued: int
    output: str
    level: float
    parts: int | None = None
    run_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        document = {
            "dataset": self.dataset,
            "model_version": self.model_version,
            "rows": self.rows,
            "valued": self.valued,
            "refused": self.rows - self.valued,
            "level": self.level,
            "output": self.output,
        }
        return document if self.parts is None else {**document, "parts": self.parts, "run_id": self.run_id}


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
    check_table_path(output)
    predictor = Predictor.load(workspace.registry.resolve(spec.name, version=version, alias=alias))
    endpoint, suffix = workspace.s3_endpoint, output.suffix.lower()
    with progress.task("data") as looking:
        looking.note(input)
        files = find_inputs(predictor.spec, input, cache=workspace.cache, endpoint=endpoint)
        layout = find_layout(predictor.spec, files, endpoint=endpoint, cells=suffix == ".csv")
        shards = plan_shards(files, layout, endpoint=endpoint)
    for note in layout.notes:
        progress.message(note)
    valuer = Valuer(predictor, layout, level)
    rows = valued = 0
    total = sum(shard.rows for shard in shards)
    with progress.task("estimates", total=total) as task, _writer(output, layout.schema) as write:
        for shard in shards:
            for unit in read_shard(shard, files, layout, endpoint=endpoint):
                table, count = valuer.value(unit)
                write(table)
                rows, valued = rows + table.num_rows, valued + count
                task.advance(table.num_rows)
    model = "" if predictor.manifest is None else str(predictor.manifest.version)
    return PredictResult(spec.name, model, rows, valued, str(output), level)


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
        manifest = _carried_out(run, _engine(engine, workers, len(run.shards)), task, overwrite=overwrite)
    return PredictResult(
        dataset=spec.name,
        model_version=manifest.model.version,
        rows=manifest.rows,
        valued=manifest.valued,
        output=run.work.output.address,
        level=level,
        parts=len(manifest.parts),
        run_id=manifest.run_id,
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


def _carried_out(run: Run, engine: Engine, task: Task, *, overwrite: bool) -> Manifest:
    done = 0

    def observe(rows: int, shards: int) -> None:
        nonlocal done
        done += shards
        task.advance(rows)
        task.note(f"{done} of {len(run.shards)} parts")

    try:
        return run.carry_out(engine, overwrite=overwrite, observe=observe)
    except KeyboardInterrupt:
        raise InterruptedRun(done, len(run.shards)) from None


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
