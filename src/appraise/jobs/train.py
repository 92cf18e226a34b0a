"""Train: from a dataset spec to a compared, registered model."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from appraise.datasets.prepare import Prepared
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import spec_hash, spec_to_dict
from appraise.datasets.summary import DataSummary
from appraise.evaluation.evaluation import Candidate
from appraise.evaluation.metrics import measure
from appraise.jobs.fitted import Fit, FitOptions, FittedCandidate, Rows, encode
from appraise.jobs.fitting import Fitting
from appraise.jobs.progress import Progress
from appraise.jobs.tuned import tuned_parameters
from appraise.jobs.workspace import Quality, Workspace
from appraise.models.base import LearningCurve
from appraise.models.blend import Blend
from appraise.models.candidates import ERROR_METRIC, objective_error
from appraise.models.catalogue import model_state
from appraise.registry.bundle import write_bundle
from appraise.registry.entries import ModelEntry
from appraise.registry.manifest import Manifest
from appraise.registry.provenance import git_commit, library_versions
from appraise.registry.runs import Run
from appraise.registry.version import Version

#: Metrics of prices that are not all positive.
_UNDIVIDED = ("rmse", "mae", "r2")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What a person may say about one training; None takes the workspace's setting.

    Attributes:
        quality: `fast` takes the cheapest model within the row-time budget whose error is within 1% of the least,
            `best` the best of all.
        row_budget_us: what one row may take, microseconds, everything included.
        seed: of every random choice.
        promote: True makes the model the champion, False the challenger; None compares it with the champion.
        parameters: hyperparameters by kind; where there are none, those that tuning found.
    """

    quality: Quality | None = None
    row_budget_us: float | None = None
    seed: int | None = None
    promote: bool | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training came to.

    Attributes:
        entry: the registered version.
        alias: the alias it was given.
        reason: why, in one sentence.
        candidates: what was compared, best validation error first.
        left_out: kinds that were not tried, because there are too many rows.
        summary: what happened to the data.
        rejects: the file of dropped rows, with the reason of each.
        error_metric: what models were compared by.
        row_budget_us: the row-time budget.
        quality: which model was asked for.
    """

    entry: ModelEntry
    alias: str
    reason: str
    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...]
    summary: DataSummary
    rejects: Path
    error_metric: str
    row_budget_us: float
    quality: str

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "model": self.entry.to_dict(),
            "alias": self.alias,
            "reason": self.reason,
            "error_metric": self.error_metric,
            "quality": self.quality,
            "row_budget_microseconds": self.row_budget_us,
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "left_out": list(self.left_out),
            "data": self.summary.to_dict(),
            "rejects": str(self.rejects),
        }


def train(
    spec: DatasetSpec, *, workspace: Workspace, data: str | None, options: TrainOptions, progress: Progress
) -> TrainResult:
    """Load, check, clean and split a dataset; fit, compare and choose models; register the best.

    Nothing is registered before everything has succeeded, so that an interruption leaves no half of a model.

    Args:
        spec: the dataset.
        workspace: where state is kept, and defaults.
        data: where the data are; None takes what the workspace knows, or the spec's own source.
        options: what differs from the defaults.
        progress: who watches.

    Raises:
        DataError: the data cannot be read or do not fit the spec.
        FitError: no model can be fitted on them.
        RegistryError: the registry cannot be reached or refuses.
        OutputError: a result cannot be written, or what tuning kept cannot be read.
    """
    with progress.task("data") as task:
        task.note(spec.name)
        prepared = workspace.prepare(spec, data)
    if not options.parameters:
        options = replace(options, parameters=tuned_parameters(workspace, spec))
    fit_options = fit_options_of(workspace, options)
    frame, split = prepared.frame, prepared.split
    fit = Fitting(spec, frame[split.train], frame[split.validation], fit_options, progress).run()
    with progress.task("registration", total=3) as task:
        holdout = encode(spec, fit.predictor.vocabulary, frame[split.holdout])
        candidates = comparison(spec, fit, fit_options, holdout)
        task.advance()
        fingerprint = spec_hash(spec)
        version = workspace.registry.next_version(spec.name, spec_hash=fingerprint)
        manifest = _manifest(spec, fingerprint, version, prepared, fit, fit_options, candidates, holdout)
        with (
            workspace.scratch() as scratch,
            workspace.registry.run(spec.name, name=f"train {version}", tags=_tags(fit)) as run,
        ):
            folder = scratch / "bundle"
            write_bundle(folder, manifest=manifest, parts=fit.predictor.parts())
            task.advance()
            _log(run, fit, fit_options, prepared, candidates, manifest)
            registration = workspace.registry.register(
                folder,
                run=run,
                metric=ERROR_METRIC[spec.objective],
                error=fit.chosen.error,
                promote=options.promote,
            )
            task.advance()
    return TrainResult(
        entry=registration.entry,
        alias=registration.alias,
        reason=registration.reason,
        candidates=candidates,
        left_out=fit.left_out,
        summary=prepared.summary,
        rejects=workspace.rejects / f"{spec.name}.csv",
        error_metric=ERROR_METRIC[spec.objective],
        row_budget_us=fit_options.row_budget_us,
        quality=fit_options.quality,
    )


def fit_options_of(workspace: Workspace, options: TrainOptions) -> FitOptions:
    """The workspace's settings, and what the person said instead."""
    return FitOptions(
        quality=options.quality or workspace.quality,
        row_budget_us=workspace.row_budget_us if options.row_budget_us is None else options.row_budget_us,
        seed=workspace.seed if options.seed is None else options.seed,
        threads=workspace.threads,
        recording_lag_days=workspace.recording_lag_days,
        window_days=workspace.window_days,
        parameters=options.parameters,
    )


def comparison(spec: DatasetSpec, fit: Fit, options: FitOptions, holdout: Rows) -> tuple[Candidate, ...]:
    """The candidates as reports show them, with their errors on the holdout, which chose nothing."""
    X = fit.predictor.pipeline.transform(holdout.table)
    entries = []
    for one in fit.candidates:
        centre = one.model.predict(X)
        estimate = np.exp(centre) if fit.predictor.scale == "log" else centre
        entries.append(
            Candidate(
                kind=one.kind,
                validation_error=one.error,
                holdout_error=objective_error(spec.objective, holdout.prices, estimate),
                fit_seconds=one.fit_seconds,
                size_bytes=sum(array.nbytes for array in model_state(one.model).arrays.values()),
                row_microseconds=one.row_us,
                within_budget=one.row_us <= options.row_budget_us,
                chosen=one is fit.chosen,
            )
        )
    return tuple(entries)


def _manifest(
    spec: DatasetSpec,
    fingerprint: str,
    version: Version,
    prepared: Prepared,
    fit: Fit,
    options: FitOptions,
    candidates: tuple[Candidate, ...],
    holdout: Rows,
) -> Manifest:
    predictor = fit.predictor
    names = predictor.vocabulary.names_
    estimates = predictor.predict_columns(holdout.columns)
    # A ratio study divides by the price.
    keys = None if holdout.prices.min() > 0 else _UNDIVIDED
    holdout_metrics = measure(holdout.prices, estimates.estimate, resamples=0, keys=keys)
    inside = (estimates.lower <= holdout.prices) & (holdout.prices <= estimates.upper)
    return Manifest(
        name=spec.name,
        version=version,
        kind=fit.chosen.kind,
        created_at=dt.datetime.now(tz=dt.UTC),
        spec=spec_to_dict(spec),
        spec_hash=fingerprint,
        metrics={
            "validation": {ERROR_METRIC[spec.objective]: fit.chosen.error},
            "holdout": {key: measured.value for key, measured in holdout_metrics.items()},
            "coverage_90": float(inside.mean()),
        },
        training_ranges={
            name: {"low": _finite(low), "high": _finite(high)}
            for name, (low, high) in zip(names, predictor.ranges.tolist(), strict=True)
            if name not in predictor.vocabulary.levels_
        },
        git_commit=git_commit(Path.cwd()),
        data_hash=_data_hash(prepared.frame),
        libraries=library_versions(),
        extra={
            "scale": predictor.scale,
            "last_sale": _finite(predictor.last_sale),
            "window_days": predictor.window_days,
            "quality": options.quality,
            "row_budget_us": options.row_budget_us,
            "error_metric": ERROR_METRIC[spec.objective],
            "candidates": [asdict(candidate) for candidate in candidates],
            "learning": [_curve_entry(one, curve) for one in fit.candidates for curve in _curves(one)],
            "features": list(predictor.pipeline.output_names_),
            "importances": [float(share) for share in predictor.model.importances()],
            "rows": {
                "train": len(prepared.split.train),
                "validation": len(prepared.split.validation),
                "holdout": len(prepared.split.holdout),
            },
        },
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _curves(one: FittedCandidate) -> list[LearningCurve]:
    return [] if isinstance(one.model, Blend) or one.model.curve_ is None else [one.model.curve_]


def _curve_entry(one: FittedCandidate, curve: LearningCurve) -> dict[str, Any]:
    return {"kind": one.kind, **asdict(curve)}


def _data_hash(frame: pl.DataFrame) -> str:
    """SHA-256 of the canonical rows as an Arrow file."""
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="uncompressed")
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def _tags(fit: Fit) -> dict[str, str]:
    return {"appraise.kind": fit.chosen.kind, "appraise.scale": fit.predictor.scale}


def _log(
    run: Run,
    fit: Fit,
    options: FitOptions,
    prepared: Prepared,
    candidates: tuple[Candidate, ...],
    manifest: Manifest,
) -> None:
    run.log_params(
        {
            "quality": options.quality,
            "row_budget_us": options.row_budget_us,
            "seed": options.seed,
            "scale": fit.predictor.scale,
            "kind": fit.chosen.kind,
            "rows_kept": prepared.summary.rows_kept,
            "data_hash": manifest.data_hash,
            "features": len(fit.predictor.pipeline.output_names_),
        }
    )
    metric = manifest.extra["error_metric"]
    run.log_metrics({f"validation_{metric}": fit.chosen.error, "row_microseconds": fit.chosen.row_us})
    run.log_metrics(
        {f"holdout_{key}": value for key, value in manifest.metrics["holdout"].items() if math.isfinite(value)}
    )
    for candidate, fitted in zip(candidates, fit.candidates, strict=True):
        with run.child(candidate.kind, tags={"appraise.chosen": str(candidate.chosen).lower()}) as child:
            child.log_params({"kind": candidate.kind, **getattr(fitted.model, "parameters", {})})
            child.log_metrics(
                {
                    f"validation_{metric}": candidate.validation_error,
                    f"holdout_{metric}": candidate.holdout_error or math.nan,
                    "fit_seconds": candidate.fit_seconds,
                    "row_microseconds": candidate.row_microseconds or math.nan,
                    "size_bytes": candidate.size_bytes,
                }
            )
            for curve in _curves(fitted):
                child.log_curve("validation_curve", curve.iterations, curve.validation)
