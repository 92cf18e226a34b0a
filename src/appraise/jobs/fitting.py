"""From prepared rows to a fitted `Predictor`: features, candidates, the choice, intervals, market level."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.frames import input_columns
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import Table
from appraise.errors import FitError
from appraise.features.pipeline import FeaturePipeline
from appraise.features.vocabulary import Vocabulary
from appraise.jobs.calibrating import calibration_rows, cross_fitted, helpful_level
from appraise.jobs.choosing import cheapest_worth_it, near_miss, near_miss_note, within_budget
from appraise.jobs.fitted import Fit, FitOptions, FittedCandidate, encode, fit_context
from appraise.jobs.progress import Progress, Task
from appraise.jobs.stressing import FOLDS, Stress
from appraise.models.base import Model, TrainingData
from appraise.models.blend import Blend, blend_weights
from appraise.models.candidates import BLENDED, FAST_BLENDED, candidate_kinds, make, objective_error
from appraise.models.intervals import (
    ConformalIntervals,
    calibrate,
    fit_scale,
    out_of_fold_estimates,
)
from appraise.models.level import MarketLevel
from appraise.models.trees import CatBoost
from appraise.serving.predictor import Predictor, Scale
from appraise.serving.ranges import training_ranges
from appraise.serving.rows import RowChecker

#: Iterations of the quick model by which the scale is chosen.
_SCALE_TRIAL = {"learning_rate": 0.1, "depth": 6, "rsm": 0.5}
_SCALE_TRIAL_ITERATIONS = 300

#: The out-of-fold models.
_OUT_OF_FOLD = {"learning_rate": 0.07, "depth": 6, "rsm": 0.25}
_OUT_OF_FOLD_ITERATIONS = 400

#: Rows that single-row time is measured on.
_TIMED_ROWS = 150
#: How often each of them is valued.
_TIMED_PASSES = 5


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
        with self.progress.task("uncertainty", total=3 + FOLDS) as task:
            out_of_fold = out_of_fold_estimates(self.data, _OUT_OF_FOLD, iterations=_OUT_OF_FOLD_ITERATIONS)
            task.advance()
            # Its scores come from validation once the model is chosen; its time counts before.
            self._uncalibrated = ConformalIntervals(fit_scale(self.data, out_of_fold), np.ones(1), np.ones(1))
            task.advance()
            stress = Stress(
                spec=self.spec,
                vocabulary=self.vocabulary,
                train=self.train,
                validation=self.validation,
                pipeline=self.pipeline,
                known=self.pipeline if self.spec.sale_date is None else self.known,
                data=self.data,
                scale_model=self._uncalibrated.scale_model,
                parameters=_OUT_OF_FOLD,
                iterations=_OUT_OF_FOLD_ITERATIONS,
            )
            self.support = stress.support(task)

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

        It is the thread's processor time, of each row the least of several: what else the machine does, which takes the
        caches too, is to have little say in which model is chosen.
        """
        predictor = self._predictor(model, self._uncalibrated, None)
        rows = [
            {name: _plain(values[i]) for name, values in self.validation.columns.items()}
            for i in range(min(_TIMED_ROWS, len(self.validation)))
        ]
        predictor.predict(rows[:1])
        times = np.empty((_TIMED_PASSES, len(rows)))
        for number in range(_TIMED_PASSES):
            for place, row in enumerate(rows):
                started = time.thread_time_ns()
                predictor.predict([row])
                times[number, place] = time.thread_time_ns() - started
        return float(np.median(times.min(axis=0))) / 1e3

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
            support=self.support,
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
        within = within_budget(candidates, self.options.row_budget_us)
        if self.options.quality == "best":
            return min(candidates, key=lambda one: one.error)
        if not within:
            quickest = min(candidates, key=lambda one: one.row_us)
            self.progress.message(
                f"no model answers within {self.options.row_budget_us:g} us; taking the quickest, {quickest.kind}, "
                f"with {quickest.row_us:.0f} us"
            )
            return quickest
        missed = near_miss(candidates, self.options.row_budget_us)
        if missed is not None:
            self.progress.message(near_miss_note(missed, self.options.row_budget_us))
        return cheapest_worth_it(within)

    def _finish(self, chosen: FittedCandidate) -> Predictor:
        date, data = self.spec.sale_date, self.data
        with self.progress.task("calibration", total=1 if date is None else 3) as task:
            estimate = self._from(chosen.validation)
            level = helpful_level(self.spec, self.validation, estimate, chosen.error, self.options)
            days = None if date is None else self.validation.table.column(date.name)
            shift = None if level is None or days is None else level.at(days)
            fresh = calibration_rows(chosen.model, data.X_val, data.y_val, shift=shift, scale=self.scale)
            stale = calibration_rows(chosen.model, self.stale_X, data.y_val, shift=None, scale=self.scale)
            intervals = calibrate(self._uncalibrated.scale_model, fresh, stale)
            task.advance()
            if days is None:
                model = chosen.model.conditioned(data)
            else:
                intervals = intervals.rescored(cross_fitted(chosen.model, data))
                task.advance()
                # The newest rows say most about the market that the model will meet.
                model = chosen.model.refit(data)
                level = None if level is None else MarketLevel.empty(window=level.window, lag=level.lag)
                task.advance()
        predictor = self._predictor(model, intervals, level)
        last = np.nan if days is None else _newest(days)
        return replace(predictor, pipeline=self.known, last_sale=float(np.fmax(predictor.last_sale, last)))


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
