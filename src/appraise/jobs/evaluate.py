"""Evaluate: how good a registered model is on rows that it has not seen, by every split that its data allow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.prepare import Prepared
from appraise.datasets.spec import DatasetSpec, TimeSplit
from appraise.datasets.specfile import spec_hash
from appraise.datasets.splitting import fold_of_blocks, regions, spatial_blocks
from appraise.errors import BundleError
from appraise.evaluation.evaluation import (
    Baseline,
    Candidate,
    Evaluation,
    Importance,
    LearningCurve,
    ModelCard,
    SplitResult,
)
from appraise.evaluation.metrics import measure
from appraise.evaluation.provenance import Provenance
from appraise.evaluation.splits import evaluate_split
from appraise.features.pipeline import FeaturePipeline
from appraise.jobs.fitted import FitOptions, Rows, encode, fit_context
from appraise.jobs.progress import Progress
from appraise.jobs.workspace import Workspace
from appraise.models.base import TrainingData
from appraise.models.trees import LightGBM
from appraise.registry.bundle import verify_bundle
from appraise.registry.manifest import Manifest
from appraise.registry.version import Version
from appraise.serving.predictor import Predictor

#: Nominal levels whose coverage is measured.
LEVELS = (0.80, 0.90, 0.95)

#: Folds of the spatial score, each of several blocks.
_FOLDS = 4

#: Share of the newest rows that the out-of-time score of an undated split is made on.
_NEWEST = 0.2

#: Categories of at most so many levels are cut by.
_SLICED_LEVELS = 30

Bounds = dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class _Valued:
    """Estimates of some rows of the frame."""

    rows: NDArray[np.int64]
    estimate: NDArray[np.float64]
    bounds: Bounds


def evaluate(
    spec: DatasetSpec,
    *,
    workspace: Workspace,
    data: str | None,
    version: Version | None = None,
    alias: str = "champion",
    progress: Progress,
) -> Evaluation:
    """Measure a registered model.

    The holdout is valued by the model as it was registered. Dated data are also valued walking forward: each row by the
    model's trees with the sales known on its day. The spatial score comes from models of the same form that were fitted
    without the row's part of the map.

    Raises:
        UnknownModelError: no such version or alias.
        BundleError: the model is damaged, or was trained for another spec.
        DataError: the data cannot be read or do not fit the spec.
    """
    folder = workspace.registry.resolve(spec.name, version=version, alias=alias)
    predictor = Predictor.load(folder)
    manifest = predictor.manifest
    assert manifest is not None  # noqa: S101  a loaded predictor has one
    if manifest.spec_hash != spec_hash(spec):
        raise BundleError(
            f"the model {manifest.name} {manifest.version} was trained for another spec of {manifest.name}",
            hint=f"train it again: appraise train {spec.path or spec.name}",
        )
    with progress.task("data") as task:
        task.note(spec.name)
        prepared = workspace.prepare(spec, data)
    evaluation = _Evaluator(predictor, manifest, prepared, workspace, progress).run()
    return replace(evaluation, provenance=_provenance(manifest, spec, verify_bundle(folder)))


class _Evaluator:
    """One evaluation under way."""

    def __init__(
        self, predictor: Predictor, manifest: Manifest, prepared: Prepared, workspace: Workspace, progress: Progress
    ) -> None:
        self.predictor = predictor
        self.manifest = manifest
        self.spec = predictor.spec
        self.frame = prepared.frame
        self.split = prepared.split
        self.options = FitOptions(
            seed=workspace.seed,
            threads=workspace.threads,
            recording_lag_days=workspace.recording_lag_days,
            window_days=workspace.window_days,
        )
        self.progress = progress
        self.rows = encode(self.spec, predictor.vocabulary, self.frame)
        self.region_labels, self.region_codes = regions(self.spec, self.frame)

    def run(self) -> Evaluation:
        splits: dict[str, SplitResult] = {}
        with self.progress.task("evaluation", total=5) as task:
            for name, work in (
                ("holdout", self.holdout),
                ("walk_forward", self.walk_forward),
                ("spatial", self.spatial),
                ("time", self.out_of_time),
            ):
                task.note(name.replace("_", " "))
                result = work()
                if result is not None:
                    splits[name] = result
                task.advance()
            task.note("plain LightGBM")
            baselines = self.baselines()
            task.advance()
        extra = self.manifest.extra
        return Evaluation(
            dataset=self.spec.name,
            model=ModelCard(self.manifest.name, str(self.manifest.version), self.manifest.kind),
            splits=splits,
            candidates=tuple(Candidate(**entry) for entry in extra["candidates"]),
            error_metric=extra["error_metric"],
            row_budget_microseconds=extra["row_budget_us"],
            importances=_importances(extra),
            learning=tuple(_learning(entry, extra["scale"]) for entry in extra["learning"]),
            baselines=baselines,
            unit=_unit(self.spec),
            created=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        )

    def holdout(self) -> SplitResult:
        """The registered model on the holdout."""
        if isinstance(self.spec.split, TimeSplit):
            note = f"Sales from {self.spec.split.holdout_from}, valued by the model as it stood before them."
        else:
            note = "A random part of the rows, which took no part in training or in any choice."
        return self._result(self._value(self.predictor, self.split.holdout), note)

    def walk_forward(self) -> SplitResult | None:
        """The same rows, each valued with the sales known on its day; the trees stay as they are."""
        if not isinstance(self.spec.split, TimeSplit):
            return None
        held = self._part(self.split.holdout)
        live = self.predictor.with_sales(held.columns, held.prices)
        note = (
            "The same sales, each valued with what had become known up to the recording lag before it; the trees are "
            "the same."
        )
        return self._result(self._value(live, self.split.holdout), note)

    def spatial(self) -> SplitResult | None:
        """Rows valued by models that were fitted without their part of the map."""
        blocks = self._blocks()
        known = np.concatenate((self.split.train, self.split.validation))
        folds = fold_of_blocks(blocks[known], folds=_FOLDS)
        if len(np.unique(folds[folds >= 0])) < 2:
            return None
        valued = [
            self._value_by_fold(known[folds != fold], known[folds == fold]) for fold in np.unique(folds[folds >= 0])
        ]
        note = f"Training and validation rows, valued by {_FOLDS} models each fitted without that part of the map."
        return self._result(_joined(valued), note)

    def out_of_time(self) -> SplitResult | None:
        """The newest fifth by a model of the rest, where the split is random but there are dates."""
        if isinstance(self.spec.split, TimeSplit) or self.spec.sale_date is None:
            return None
        days = self.rows.table.column(self.spec.sale_date.name)
        cut = np.nanquantile(days, 1 - _NEWEST)
        known, newest = np.flatnonzero(days < cut), np.flatnonzero(days >= cut)
        if not len(known) or not len(newest):
            return None
        return self._result(
            self._value_by_fold(known, newest), "The newest fifth of the sales, valued by a model of those before."
        )

    def baselines(self) -> tuple[Baseline, ...]:
        """Plain LightGBM on the same columns and rows: what a person would try first."""
        known = np.concatenate((self.split.train, self.split.validation))
        log = self.rows.prices.min() > 0 and self.spec.objective == "relative"
        y = np.log(self.rows.prices) if log else self.rows.prices
        model = LightGBM({"n_estimators": 500, "learning_rate": 0.05, "colsample_bytree": 1.0, "subsample": 1.0})
        X = self.rows.table.values
        data = self._data(self.rows.table.names, X[known], y[known])
        model.grow(data, X[known], y[known], iterations=500)
        centre = model.predict(X[self.split.holdout])
        estimate = np.exp(centre) if log else centre
        measured = measure(self.rows.prices[self.split.holdout], estimate, resamples=0)
        return (Baseline("plain LightGBM", "holdout", {key: one.value for key, one in measured.items()}),)

    def _blocks(self) -> NDArray[np.int64]:
        latitude, longitude = self.spec.latitude, self.spec.longitude
        if latitude is None or longitude is None:
            return self.region_codes
        table = self.rows.table
        return spatial_blocks(table.column(latitude.name), table.column(longitude.name))

    def _part(self, rows: NDArray[np.int64]) -> Rows:
        return encode(self.spec, self.predictor.vocabulary, self.frame[rows])

    def _value(self, predictor: Predictor, rows: NDArray[np.int64]) -> _Valued:
        table = self.rows.table.rows(rows)
        bounds: Bounds = {}
        estimate = np.empty(0)
        for level in LEVELS:
            estimates = predictor.value(table, level=level)
            estimate = estimates.estimate
            bounds[level] = (estimates.lower, estimates.upper)
        return _Valued(rows, estimate, bounds)

    def _value_by_fold(self, known: NDArray[np.int64], unknown: NDArray[np.int64]) -> _Valued:
        """Estimates of `unknown` by a model of the same form that was fitted on `known`."""
        predictor = self.predictor
        y = predictor.to_scale(self.rows.prices)
        pipeline = FeaturePipeline(predictor.pipeline.metrics)
        context = fit_context(self.spec, predictor.vocabulary, y[known], self.options)
        table = self.rows.table.rows(known)
        X = pipeline.fit_transform(table, self.rows.prices[known], context)
        # The fitted model says how many iterations and which hyperparameters; it is grown anew on these rows alone.
        model = predictor.model.refit(self._data(pipeline.output_names_, X, y[known]))
        return self._value(replace(predictor, pipeline=pipeline, model=model, level=None), unknown)

    def _data(self, names: tuple[str, ...], X: NDArray[np.float64], y: NDArray[np.float64]) -> TrainingData:
        return TrainingData(
            names=names, X=X, y=y, X_val=X[:0], y_val=y[:0], seed=self.options.seed, threads=self.options.threads
        )

    def _result(self, valued: _Valued, note: str) -> SplitResult:
        frame = self.frame[valued.rows]
        latitude, longitude, date = self.spec.latitude, self.spec.longitude, self.spec.sale_date
        table = self.rows.table.rows(valued.rows)
        return evaluate_split(
            self.rows.prices[valued.rows],
            valued.estimate,
            bounds=valued.bounds,
            region=[self.region_labels[code] if code >= 0 else "elsewhere" for code in self.region_codes[valued.rows]]
            if self.region_labels
            else None,
            date=None if date is None else frame[date.name].to_numpy().astype("datetime64[D]"),
            latitude=None if latitude is None else table.column(latitude.name),
            longitude=None if longitude is None else table.column(longitude.name),
            categories=self._categories(frame),
            note=note,
            seed=self.options.seed,
        )

    def _categories(self, frame: pl.DataFrame) -> Mapping[str, list[str | None]]:
        few = {name for name, levels in self.predictor.vocabulary.levels_.items() if len(levels) <= _SLICED_LEVELS}
        return {name: frame[name].to_list() for name in few if name != self.spec.region}


def _joined(parts: list[_Valued]) -> _Valued:
    return _Valued(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.estimate for part in parts]),
        {
            level: (
                np.concatenate([part.bounds[level][0] for part in parts]),
                np.concatenate([part.bounds[level][1] for part in parts]),
            )
            for level in LEVELS
        },
    )


def _provenance(manifest: Manifest, spec: DatasetSpec, digest: str) -> Provenance:
    split = (
        f"By time: trained on sales before {spec.split.train_before}, held out from {spec.split.holdout_from}."
        if isinstance(spec.split, TimeSplit)
        else f"By chance with seed {spec.split.seed}: {spec.split.holdout:.0%} held out, {spec.split.validation:.0%} "
        "to choose by."
    )
    numeric = {column.name for column in spec.columns if column.kind in ("number", "integer")}
    ranges = {name: (ends.get("low"), ends.get("high")) for name, ends in manifest.training_ranges.items()}
    return Provenance(
        trained_at=manifest.created_at.isoformat(timespec="seconds"),
        rows=manifest.extra["rows"],
        split=split,
        digest=digest,
        data_hash=manifest.data_hash,
        spec_hash=manifest.spec_hash,
        git_commit=manifest.git_commit,
        libraries=manifest.libraries,
        ranges={
            name: (low, high)
            for name, (low, high) in ranges.items()
            if name in numeric and low is not None and high is not None
        },
    )


def _importances(extra: Mapping[str, Any]) -> tuple[Importance, ...]:
    pairs = zip(extra["features"], extra["importances"], strict=True)
    return tuple(Importance(name, share) for name, share in sorted(pairs, key=lambda pair: -pair[1]) if share > 0)


def _learning(entry: Mapping[str, Any], scale: str) -> LearningCurve:
    validation = entry["validation"]
    return LearningCurve(
        kind=entry["kind"],
        metric="RMSE of the log price" if scale == "log" else "RMSE",
        iterations=tuple(entry["iterations"]),
        train=tuple(entry["train"]),
        validation=tuple(validation),
        best_iteration=entry["iterations"][int(np.argmin(validation))],
    )


def _unit(spec: DatasetSpec) -> str:
    if spec.price_unit == 1.0:
        return spec.currency or ""
    return f"{spec.price_unit:,.0f} {spec.currency or ''}".strip()
