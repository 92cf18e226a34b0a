"""Predict: a file of homes in, the same rows with estimates out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from appraise.datasets.frames import input_columns
from appraise.datasets.loading import Loaded, load
from appraise.datasets.prepare import clean
from appraise.datasets.rejects import Sifted
from appraise.datasets.spec import DatasetSpec
from appraise.jobs.outputs import check_table_path, write_table
from appraise.jobs.progress import Progress
from appraise.jobs.workspace import Workspace
from appraise.registry.version import Version
from appraise.serving.predictor import DEFAULT_LEVEL, Estimates, Predictor

#: Rows valued at a time.
_BATCH = 50_000

#: Columns that are added to those of the input.
ADDED = ("estimate", "lower", "upper", "confidence", "warnings", "model_version", "error")

#: Which row of the input a row is, while tables are put together.
_POSITION = "row position"


@dataclass(frozen=True, slots=True)
class PredictResult:
    """What was written.

    Attributes:
        dataset: the dataset's name.
        model_version: the version that valued the rows.
        rows: how many there are, in and out.
        valued: how many have an estimate; the others say why not.
        output: the file.
        level: nominal level of the intervals.
    """

    dataset: str
    model_version: str
    rows: int
    valued: int
    output: Path
    level: float

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "dataset": self.dataset,
            "model_version": self.model_version,
            "rows": self.rows,
            "valued": self.valued,
            "refused": self.rows - self.valued,
            "level": self.level,
            "output": str(self.output),
        }


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
    """Value the rows of a file.

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
    with progress.task("data") as task:
        task.note(str(input))
        loaded = load(
            predictor.spec,
            data=input,
            cache=workspace.cache,
            memory_limit=workspace.memory_limit,
            s3_endpoint=workspace.s3_endpoint,
            target_needed=False,
        )
        rows = clean(predictor.spec, loaded.rows, target_needed=False)
    for note in loaded.notes:
        progress.message(note)
    estimates = _value(predictor, rows.frame, level, progress)
    written = _table(predictor, rows, loaded, estimates)
    write_table(written, output)
    return PredictResult(
        dataset=spec.name,
        model_version=_version(predictor),
        rows=written.height,
        valued=rows.frame.height,
        output=output,
        level=level,
    )


def _version(predictor: Predictor) -> str:
    return "" if predictor.manifest is None else str(predictor.manifest.version)


def _value(predictor: Predictor, frame: pl.DataFrame, level: float, progress: Progress) -> list[Estimates]:
    estimates = []
    with progress.task("estimates", total=frame.height) as task:
        for batch in frame.iter_slices(_BATCH):
            estimates.append(predictor.predict_columns(input_columns(predictor.spec, batch), level=level))
            task.advance(batch.height)
    return estimates


def _table(predictor: Predictor, rows: Sifted, loaded: Loaded, estimates: list[Estimates]) -> pl.DataFrame:
    """The rows as they came, in their order, with what was added."""
    came = pl.concat([file.frame for file in loaded.files], how="diagonal_relaxed")
    came = came.rename(_apart(came.columns))
    valued = pl.DataFrame(
        {
            _POSITION: rows.position,
            "estimate": _joined([one.estimate for one in estimates]),
            "lower": _joined([one.lower for one in estimates]),
            "upper": _joined([one.upper for one in estimates]),
            "confidence": _joined([one.confidence for one in estimates]),
            "warnings": pl.Series(
                ["; ".join(entries) or None for one in estimates for entries in one.warnings], dtype=pl.String
            ),
            "model_version": pl.Series([_version(predictor)] * rows.frame.height, dtype=pl.String),
        }
    )
    refused = rows.rejected.select(pl.col("position").cast(pl.Int64).alias(_POSITION), pl.col("reason").alias("error"))
    return (
        came.with_row_index(_POSITION)
        .with_columns(pl.col(_POSITION).cast(pl.Int64))
        .join(valued, on=_POSITION, how="left", maintain_order="left")
        .join(refused, on=_POSITION, how="left", maintain_order="left")
        .drop(_POSITION)
    )


def _apart(names: list[str]) -> dict[str, str]:
    """New names for the input's columns that are called like an added one, which no other column has."""
    renamed: dict[str, str] = {}
    taken = {*names, *ADDED}
    for name in names:
        if name in ADDED or name == _POSITION:
            other = f"{name} (column)"
            while other in taken:
                other += " (column)"
            taken.add(other)
            renamed[name] = other
    return renamed


def _joined(parts: list[Any]) -> Any:
    return np.concatenate(parts) if parts else np.empty(0)
