"""From prepared rows to a fitted `Predictor`: features, candidates, the choice, intervals, market level."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.frames import input_columns, prices
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import Table
from appraise.errors import FitError
from appraise.features.base import FitContext
from appraise.features.pipeline import FeaturePipeline
from appraise.features.vocabulary import Vocabulary
from appraise.jobs.progress import Progress, Task
from appraise.models.base import Model, TrainingData
from appraise.models.blend import Blend, blend_weights
from appraise.models.candidates import BLENDED, FAST_BLENDED, candidate_kinds, make, objective_error
from appraise.models.intervals import (
    CalibrationRows,
    ConformalIntervals,
    calibrate,
    fit_scale,
    out_of_fold_estimates,
)
from appraise.models.level import MarketLevel
from appraise.models.trees import CatBoost
from appraise.serving.predictor import Predictor, Scale, training_ranges
from appraise.serving.rows import RowChecker

#: A category with at most so many levels is told apart by its target encoding alone.
_FEW_LEVELS = 30

#: Iterations of the quick model by which the scale is chosen.
_SCALE_TRIAL = {"learning_rate": 0.1, "depth": 6, "rsm": 0.5}
_SCALE_TRIAL_ITERATIONS = 300

#: The out-of-fold models.
_OUT_OF_FOLD = {"learning_rate": 0.07, "depth": 6, "rsm": 0.25}
_OUT_OF_FOLD_ITERATIONS = 400

#: Models by which the intervals of dated data are calibrated.
_CALIBRATION_FOLDS = 3

#: Rows that single-row time is measured on.
_TIMED_ROWS = 150


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit.

    Attributes:
        quality: `fast` takes the best model within the row-time budget, `best` the best of all.
        row_budget_us: what one row may take, microseconds, everything included.
        seed: of every random choice.
        threads: how many may be used.
        recording_lag_days: days until a sale is known.
        window_days: days of sales that the market level is made of.
        parameters: hyperparameters by kind, where tuning found some.
    """

    quality: str = "fast"
    row_budget_us: float = 250.0
    seed: int = 0
    threads: int = 1
    recording_lag_days: int = 1
    window_days: int = 30
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one set, encoded.

    Attributes:
        columns: input columns, as `Predictor.predict_columns` takes them.
        table: the same, encoded.
        prices: (n,) in the target's unit.
    """

    columns: dict[str, Any]
    table: Table
    prices: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.prices)


@dataclass(frozen=True, slots=True)
class FittedCandidate:
    """One model that was fitted and compared.

    Attributes:
        kind: what it is; blends name their parts.
        model: the fitted model.
        validation: (m,) its estimates of the validation rows on its scale.
        error: the objective's error on validation rows, in money.
        fit_seconds: wall time of fitting.
        row_us: median time of one row through the whole predictor, microseconds.
    """

    kind: str
    model: Model
    validation: NDArray[np.float64]
    error: float
    fit_seconds: float
    row_us: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What fitting came to.

    Attributes:
        predictor: ready to answer; its pool holds training and validation rows.
        candidates: everything that was compared, best validation error first.
        chosen: the one that was taken.
        left_out: kinds that were not tried, because there are too many rows.
        trial: the predictor of the chosen model as it was on validation, before it was refitted.
    """

    predictor: Predictor
    candidates: tuple[FittedCandidate, ...]
    chosen: FittedCandidate
    left_out: tuple[str, ...]


def encode(spec: DatasetSpec, vocabulary: Vocabulary, frame: pl.DataFrame) -> Rows:
    """Rows of a canonical frame."""
    columns = input_columns(spec, frame)
    return Rows(columns, vocabulary.encode(columns), prices(spec, frame))


def fit_context(
    spec: DatasetSpec, vocabulary: Vocabulary, target: NDArray[np.float64], options: FitOptions
) -> FitContext:
    """What transformations may know: roles, and how each category is encoded."""
    categories = tuple(vocabulary.levels_)
    auto = {name: spec.column(name).encoding for name in categories}
    many = {name for name, levels in vocabulary.levels_.items() if len(levels) > _FEW_LEVELS}
    return FitContext(
        target=target,
        seed=options.seed,
        latitude=spec.latitude.name if spec.latitude else None,
        longitude=spec.longitude.name if spec.longitude else None,
        sale_date=spec.sale_date.name if spec.sale_date else None,
        categories=categories,
        booleans=tuple(column.name for column in spec.inputs if column.kind == "boolean"),
        frequency_encoded=tuple(
            name for name in categories if auto[name] == "frequency" or (auto[name] == "auto" and name in many)
        ),
        target_encoded=tuple(name for name in categories if auto[name] in ("target", "auto")),
        recording_lag=options.recording_lag_days,
    )


class Fitting:
    """Fits a predictor on a training and a validation set.

    Args:
        spec: the dataset.
        train, validation: canonical frames; what the choice is made by never includes the holdout.
        options: how.
        progress: who watches.
    """

    def __init__(
        self, spec: DatasetSpec, train: pl.DataFrame, validation: pl.DataFrame, options: FitOptions, progress: Progress
    ) -> None:
        self.spec = spec
        self.options = options
        self.progress = progress
        self.vocabulary = Vocabulary().fit(spec, input_columns(spec, train))
        self.train = encode(spec, self.vocabulary, train)
        self.validation = encode(spec, self.vocabulary, validation)
        self._check_prices()

    def _check_prices(self) -> None:
        if float(np.ptp(self.train.prices)) == 0.0:
            only = f"{self.train.prices[0]:g}"
            raise FitError(
                f"all {len(self.train):,} training rows have the same {self.spec.target.name}, {only}",
                hint="check that the target is the right column; a model needs prices that differ",
            )

    def run(self) -> Fit:
        """Fit and compare the candidates, choose, and make the predictor."""
        self.prepare()
        self._fit_uncertainty()
        candidates, left_out = self._compare()
        chosen = self._choose(candidates)
        predictor = self._finish(chosen)
        return Fit(predictor, tuple(sorted(candidates, key=lambda one: one.error)), chosen, left_out)

    def try_parameters(self, kind: str, parameters: Mapping[str, Any]) -> FittedCandidate:
        """Fit one kind with these hyperparameters, after `prepare`; its row time is not measured."""
        started = time.perf_counter()
        model = make(kind, parameters).fit(self.data)
        seconds = time.perf_counter() - started
        validation = model.predict(self.data.X_val)
        error = objective_error(self.spec.objective, self.validation.prices, self._from(validation))
        return FittedCandidate(kind, model, validation, error, seconds, np.nan)

    def _choose_scale(self) -> Scale:
        """Logarithms of prices where a quick model validates better on them."""
        if min(self.train.prices.min(), self.validation.prices.min()) <= 0:
            return "linear"
        errors: dict[Scale, float] = {}
        with self.progress.task("scale of the target", total=2) as task:
            for scale in ("linear", "log"):
                to_scale, from_scale = _scaling(scale)
                pipeline = FeaturePipeline(metrics=None)
                y = to_scale(self.train.prices)
                context = fit_context(self.spec, self.vocabulary, y, self.options)
                X = pipeline.fit_transform(self.train.table, self.train.prices, context)
                model = CatBoost(_SCALE_TRIAL)
                model.grow(self._data(pipeline, X, y, X[:0], y[:0]), X, y, iterations=_SCALE_TRIAL_ITERATIONS)
                estimate = from_scale(model.predict(pipeline.transform(self.validation.table)))
                errors[scale] = objective_error(self.spec.objective, self.validation.prices, estimate)
                task.advance()
        return "log" if errors["log"] <= errors["linear"] else "linear"

    def prepare(self) -> None:
        """Choose the scale and fit the features; of validation rows as of their own day, and of the end of training."""
        self.scale = scale = self._choose_scale()
        self._to, self._from = _scaling(scale)
        y, y_val = self._to(self.train.prices), self._to(self.validation.prices)
        with self.progress.task("features", total=3) as task:
            self.pipeline = FeaturePipeline("best" if self.options.quality == "best" else "fast")
            context = fit_context(self.spec, self.vocabulary, y, self.options)
            X = self.pipeline.fit_transform(self.train.table, self.train.prices, context)
            task.advance()
            self.stale_X = self.pipeline.transform(self.validation.table)
            task.advance()
            self.known = self.pipeline.with_sales(self.validation.table, self.validation.prices, y_val)
            # Undated sales have no before and after: a validation row would be its own comparable.
            fresh_X = self.stale_X if self.spec.sale_date is None else self.known.transform(self.validation.table)
            task.advance()
        self.data = self._data(self.pipeline, X, y, fresh_X, y_val)

    def _data(
        self,
        pipeline: FeaturePipeline,
        X: NDArray[np.float64],
        y: NDArray[np.float64],
        X_val: NDArray[np.float64],
        y_val: NDArray[np.float64],
    ) -> TrainingData:
        return TrainingData(
            names=pipeline.output_names_,
            X=X,
            y=y,
            X_val=X_val,
            y_val=y_val,
            seed=self.options.seed,
            threads=self.options.threads,
        )

    def _fit_uncertainty(self) -> None:
        """Learn where a boosted model errs, from rows that it had not seen. Which model is chosen changes it little."""
        with self.progress.task("uncertainty", total=2) as task:
            out_of_fold = out_of_fold_estimates(self.data, _OUT_OF_FOLD, iterations=_OUT_OF_FOLD_ITERATIONS)
            task.advance()
            # Its scores come from validation once the model is chosen; its time counts before.
            self._uncalibrated = ConformalIntervals(fit_scale(self.data, out_of_fold), np.ones(1), np.ones(1))
            task.advance()

    def _compare(self) -> tuple[list[FittedCandidate], tuple[str, ...]]:
        kinds, left_out = candidate_kinds(self.options.quality, len(self.train))
        candidates: list[FittedCandidate] = []
        with self.progress.task("candidates", total=len(kinds) + 1) as task:
            candidates += [self._fit_candidate(kind, task) for kind in kinds]
            task.note("blends")
            candidates += self._blends(candidates)
            task.advance()
        return candidates, left_out

    def _fit_candidate(self, kind: str, task: Task) -> FittedCandidate:
        done = 0.0

        def report(step: int, total: int) -> None:
            nonlocal done
            task.note(f"{kind} {step:,}")
            share = min(step / total, 1.0)
            task.advance(share - done)
            done = share

        task.note(kind)
        started = time.perf_counter()
        model = make(kind, self.options.parameters.get(kind)).fit(replace(self.data, report=report))
        seconds = time.perf_counter() - started
        task.advance(1.0 - done)
        return self._candidate(kind, model, seconds)

    def _candidate(self, kind: str, model: Model, seconds: float) -> FittedCandidate:
        validation = model.predict(self.data.X_val)
        error = objective_error(self.spec.objective, self.validation.prices, self._from(validation))
        return FittedCandidate(kind, model, validation, error, seconds, self._row_time(model))

    def _row_time(self, model: Model) -> float:
        """Median microseconds of one row through a whole predictor with this model.

        It is the thread's processor time, so that what else the machine does has no say in which model is chosen.
        """
        predictor = self._predictor(model, self._uncalibrated, None)
        rows = [
            {name: _plain(values[i]) for name, values in self.validation.columns.items()}
            for i in range(min(_TIMED_ROWS, len(self.validation)))
        ]
        predictor.predict(rows[:1])
        times = []
        for row in rows:
            started = time.thread_time_ns()
            predictor.predict([row])
            times.append(time.thread_time_ns() - started)
        return float(np.median(times)) / 1e3

    def _predictor(self, model: Model, intervals: ConformalIntervals, level: MarketLevel | None) -> Predictor:
        date = self.spec.sale_date
        last = np.nan if date is None else _newest(self.train.table.column(date.name))
        return Predictor(
            spec=self.spec,
            vocabulary=self.vocabulary,
            pipeline=self.pipeline,
            model=model,
            intervals=intervals,
            level=level,
            scale=self.scale,
            ranges=training_ranges(self.vocabulary, Table.stack((self.train.table, self.validation.table))),
            last_sale=last,
            window_days=self.options.window_days,
            checker=RowChecker(self.spec),
        )

    def _blends(self, candidates: list[FittedCandidate]) -> list[FittedCandidate]:
        """Blends worth having: of what fits the row-time budget together, and of everything."""
        able = sorted((one for one in candidates if one.kind in BLENDED), key=lambda one: one.error)
        if len(able) < 2:
            return []
        base = min(one.row_us for one in candidates)
        affordable: list[FittedCandidate] = []
        spent = base
        for one in (one for one in able if one.kind in FAST_BLENDED):
            cost = one.row_us - base
            if spent + cost <= self.options.row_budget_us:
                affordable.append(one)
                spent += cost
        pools = [affordable] if self.options.quality == "fast" else [affordable, able]
        blends: dict[str, FittedCandidate] = {}
        for pool in pools:
            made = self._blend(pool)
            if made is not None:
                blends.setdefault(made.kind, made)
        return list(blends.values())

    def _blend(self, pool: list[FittedCandidate]) -> FittedCandidate | None:
        if len(pool) < 2:
            return None
        weights = blend_weights(np.stack([one.validation for one in pool], axis=1), self.data.y_val)
        kept = [(one, weight) for one, weight in zip(pool, weights, strict=True) if weight > 0]
        if len(kept) < 2:
            return None
        model = Blend(tuple(one.model for one, _ in kept), np.array([weight for _, weight in kept]))
        name = " + ".join(one.kind for one, _ in kept)
        return self._candidate(name, model, sum(one.fit_seconds for one, _ in kept))

    def _choose(self, candidates: list[FittedCandidate]) -> FittedCandidate:
        within = [one for one in candidates if one.row_us <= self.options.row_budget_us]
        if self.options.quality == "best":
            within = candidates
        if not within:
            quickest = min(candidates, key=lambda one: one.row_us)
            self.progress.message(
                f"no model answers within {self.options.row_budget_us:g} us; taking the quickest, {quickest.kind}, "
                f"with {quickest.row_us:.0f} us"
            )
            return quickest
        return min(within, key=lambda one: one.error)

    def _finish(self, chosen: FittedCandidate) -> Predictor:
        dated = self.spec.sale_date is not None
        with self.progress.task("calibration", total=3 if dated else 1) as task:
            level = self._market_level(chosen)
            fresh = self._calibration_rows(chosen.model, self.data.X_val, level)
            stale = self._calibration_rows(chosen.model, self.stale_X, None)
            intervals = calibrate(self._uncalibrated.scale_model, fresh, stale)
            task.advance()
            if not dated:
                model = chosen.model.conditioned(self.data)
            else:
                intervals = intervals.rescored(self._cross_fitted(chosen.model))
                task.advance()
                # The newest rows say most about the market that the model will meet.
                model = chosen.model.refit(self.data)
                level = None if level is None else MarketLevel.empty(window=level.window, lag=level.lag)
                task.advance()
        predictor = self._predictor(model, intervals, level)
        date = self.spec.sale_date
        last = np.nan if date is None else _newest(self.validation.table.column(date.name))
        return replace(predictor, pipeline=self.known, last_sale=float(np.fmax(predictor.last_sale, last)))

    def _cross_fitted(self, model: Model) -> CalibrationRows:
        """Validation rows valued by models that know the rest of validation.

        The model that will be served is refitted on all of validation. Errors of the one before would promise intervals
        that are too wide wherever the newest rows were news to it.
        """
        data = self.data
        fold = np.random.RandomState(self.options.seed).permutation(len(data.X_val)) % _CALIBRATION_FOLDS
        centre = np.empty(len(data.X_val))
        for held in range(_CALIBRATION_FOLDS):
            inside, outside = fold == held, fold != held
            known = replace(
                data,
                X=np.concatenate((data.X, data.X_val[outside])),
                y=np.concatenate((data.y, data.y_val[outside])),
                X_val=data.X_val[:0],
                y_val=data.y_val[:0],
            )
            centre[inside] = model.refit(known).predict(data.X_val[inside])
        return CalibrationRows(data.X_val, centre, centre, data.y_val)

    def _market_level(self, chosen: FittedCandidate) -> MarketLevel | None:
        """The level of the validation sales, where it makes their estimates better."""
        date = self.spec.sale_date
        if date is None or self.validation.prices.min() <= 0:
            return None
        days = self.validation.table.column(date.name)
        estimate = self._from(chosen.validation)
        residuals = np.log(self.validation.prices / np.maximum(estimate, 1e-9))
        options = self.options
        level = MarketLevel.of(days, residuals, window=options.window_days, lag=options.recording_lag_days)
        levelled = objective_error(self.spec.objective, self.validation.prices, estimate * np.exp(level.at(days)))
        return level if levelled < chosen.error else None

    def _calibration_rows(self, model: Model, X: NDArray[np.float64], level: MarketLevel | None) -> CalibrationRows:
        centre = model.predict(X)
        estimate = centre
        if level is not None and self.spec.sale_date is not None:
            shift = level.at(self.validation.table.column(self.spec.sale_date.name))
            estimate = centre + shift if self.scale == "log" else centre * np.exp(shift)
        return CalibrationRows(X, estimate, centre, self.data.y_val)


def _scaling(
    scale: Scale,
) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    """To the model's scale, and back."""
    if scale == "log":
        return np.log, np.exp
    return np.asarray, np.asarray


def _newest(days: NDArray[np.float64]) -> float:
    """The latest day; NaN where no row has one."""
    return float(np.fmax.reduce(days, initial=np.nan))


def _plain(value: Any) -> Any:
    """A value of a column as a request would hold it; NaN and NaT are None."""
    if value is None or value != value:
        return None
    return value.item() if hasattr(value, "item") else value
