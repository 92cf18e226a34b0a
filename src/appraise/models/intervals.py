"""Conformal prediction intervals that are wide where the model is unsure.

The half width is a scale times a quantile. The scale is a model of the logarithm of the absolute residual, fitted on
out-of-fold residuals of the training rows; the quantile is that of the scaled absolute residuals of the validation
rows (split conformal prediction with normalised scores: Lei et al. 2018, "Distribution-free predictive inference for
regression", section 5.2), so it covers whatever the scale model gets wrong on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from appraise.errors import FitError
from appraise.features.state import State
from appraise.models.base import TrainingData
from appraise.models.trees import CatBoost, TreeModel

#: Share of sales within the estimate's forecast standard deviation, as vendors of valuation models define it.
FSD_LEVEL = 0.6827

#: Validation rows needed before a 95% quantile means anything.
_LEAST_SCORES = 30

_SCALE_ITERATIONS = 300

#: Residuals below this share of the median count as this: the logarithm of zero is no information.
_FLOOR = 0.1


@dataclass(frozen=True, slots=True)
class ConformalIntervals:
    """Intervals on the model's scale.

    In dated data a model errs more the longer it has heard of no sale. So there are two sets of scores: of validation
    rows valued with the sales up to the day before, and of the same rows valued as of the end of training.

    Attributes:
        scale_model: predicts the logarithm of the absolute residual from features and estimate.
        scores: (m,) ascending scaled absolute residuals of the calibration rows.
        stale_scores: (m,) the same where the model had heard of no sale since training; equal in undated data.
    """

    scale_model: TreeModel
    scores: NDArray[np.float64]
    stale_scores: NDArray[np.float64]

    def quantiles(self, level: float, stale: NDArray[np.bool_] | None) -> NDArray[np.float64] | float:
        """The conformal quantile by which a row's scale is multiplied to give the half width.

        Args:
            level: nominal level of the interval.
            stale: (n,) whether the model had heard of no sale for long; None where that is so for no row.

        Returns:
            One for each row, shape (n,), or one for all.
        """
        fresh = conformal_quantile(self.scores, level)
        return fresh if stale is None else np.where(stale, conformal_quantile(self.stale_scores, level), fresh)

    def rescored(self, rows: CalibrationRows) -> ConformalIntervals:
        """Intervals with the scores of other rows, cross-fitted by models that know the calibration period.

        As stale scores they are too small, for those models have heard the news; raised at each level by as much as the
        old ones were by staleness they are too large, for part of that news has since been learnt. The geometric mean
        of these two bounds is taken (measured in `docs/decisions/0005-intervals.md`).
        """
        scores = _scores(self.scale_model, rows)
        levels = (np.arange(len(scores)) + 1) / (len(scores) + 1)
        fresh = np.array([conformal_quantile(self.scores, level) for level in levels])
        stale = np.array([conformal_quantile(self.stale_scores, level) for level in levels])
        inflation = np.sqrt(np.divide(stale, fresh, out=np.ones_like(fresh), where=fresh > 0))
        return ConformalIntervals(self.scale_model, scores, np.sort(scores * inflation))

    def scale(self, X: NDArray[np.float64], estimate: NDArray[np.float64]) -> NDArray[np.float64]:
        """How unsure the model is of each row, shape (n,), on its scale."""
        return np.exp(self.scale_model.predict(_with_estimate(X, estimate)))

    def state(self) -> State:
        """The scale model and the scores."""
        model = self.scale_model.state()
        return State(data={"scale_model": model.data}, arrays={**model.arrays, **self._scores()})

    def _scores(self) -> dict[str, NDArray[np.float64]]:
        return {"scores": self.scores, "stale_scores": self.stale_scores}

    @classmethod
    def from_state(cls, state: State) -> ConformalIntervals:
        """The inverse of `state`."""
        arrays = dict(state.arrays)
        scores, stale_scores = arrays.pop("scores"), arrays.pop("stale_scores")
        model = CatBoost.from_state(State(data=state.data["scale_model"], arrays=arrays))
        return cls(model, scores, stale_scores)


def fit_scale(data: TrainingData, out_of_fold: NDArray[np.float64]) -> TreeModel:
    """The model of the logarithm of the absolute residual.

    Args:
        data: training rows.
        out_of_fold: (n,) estimates of the training rows by models that had not seen them.
    """
    model = CatBoost({"learning_rate": 0.05, "depth": 5, "rsm": 0.2, "l2_leaf_reg": 10.0})
    # A fixed number of iterations: rows that choose when to stop could not calibrate as well.
    model.grow(
        data, _with_estimate(data.X, out_of_fold), log_residuals(data.y - out_of_fold), iterations=_SCALE_ITERATIONS
    )
    return model


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """Rows that had no part in fitting.

    Attributes:
        X: (m, p) features.
        estimate: (m,) estimates that the residuals are of, any market level added.
        centre: (m,) the model's own estimates, which the scale is asked with.
        y: (m,) prices on the model's scale.
    """

    X: NDArray[np.float64]
    estimate: NDArray[np.float64]
    centre: NDArray[np.float64]
    y: NDArray[np.float64]


def calibrate(scale_model: TreeModel, fresh: CalibrationRows, stale: CalibrationRows) -> ConformalIntervals:
    """Intervals with the scores of these rows; raises FitError when they are too few."""
    if len(fresh.y) < _LEAST_SCORES:
        raise FitError(
            f"{len(fresh.y)} validation rows are too few to calibrate intervals",
            hint=f"at least {_LEAST_SCORES} are needed: widen the validation part of the spec's split",
        )
    return ConformalIntervals(scale_model, *(_scores(scale_model, rows) for rows in (fresh, stale)))


def _scores(scale_model: TreeModel, rows: CalibrationRows) -> NDArray[np.float64]:
    scale = np.exp(scale_model.predict(_with_estimate(rows.X, rows.centre)))
    return np.sort(np.abs(rows.y - rows.estimate) / scale)


def conformal_quantile(scores: NDArray[np.float64], level: float) -> float:
    """Of ascending scores the ceil((m + 1) level)-th smallest score, or the largest where there is none."""
    return float(scores[conformal_position(len(scores), level)])


def conformal_position(count: int, level: float) -> int:
    """Where the conformal quantile stands among so many ascending scores, from 0 on."""
    rank = math.ceil((count + 1) * level)
    return min(max(rank, 1), count) - 1


def log_residuals(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of absolute residuals, small ones raised to a tenth of the median."""
    size = np.abs(residuals)
    floor = max(_FLOOR * float(np.median(size)), 1e-12)
    return np.log(np.maximum(size, floor))


def out_of_fold_estimates(
    data: TrainingData, parameters: dict[str, Any], *, iterations: int, folds: int = 3
) -> NDArray[np.float64]:
    """Estimates of the training rows, shape (n,), by boosted models that had not seen them.

    Args:
        data: training rows; neighbours' prices among the features already leave the row itself out.
        parameters: of CatBoost.
        iterations: how many are grown.
        folds: how many models.
    """
    fold = np.random.RandomState(data.seed).permutation(len(data.X)) % folds
    out = np.empty(len(data.X))
    for held in range(folds):
        inside, outside = fold == held, fold != held
        model = CatBoost(parameters)
        model.grow(data, data.X[outside], data.y[outside], iterations=iterations)
        out[inside] = model.predict(data.X[inside])
    return out


@njit(cache=True, nogil=True)
def estimates_of(centre, half, half_fsd, logarithmic, floor, values, date, last_day, cap, reach):  # type: ignore[no-untyped-def]
    """Estimates and intervals in the target's unit from those on the model's scale.

    Args:
        centre: (n,) on the model's scale.
        half, half_fsd: (n,) half widths there of the interval and of the forecast standard deviation.
        logarithmic: whether the scale is that of logarithms.
        floor: what no price lies below.
        values: (n, p) encoded inputs.
        date: the column of the date, negative without one.
        last_day: of dates that no more is said of.
        cap: the price that greater ones were recorded as.
        reach: forecast standard deviations above an estimate that may reach the cap.

    Returns:
        (4, n) estimates, lower and upper ends, and forecast standard deviations as shares of the estimates; and the
        rows that are dated later, reach the cap, or err by as much as their estimate.
    """
    out = np.empty((4, len(centre)))
    rows = np.empty(len(centre), np.int64)
    found = 0
    for row in range(len(centre)):
        value, width = centre[row], half[row]
        if logarithmic:
            out[0, row] = np.exp(value)
            out[1, row] = max(np.exp(value - width), floor)
            out[2, row] = np.exp(value + width)
            out[3, row] = np.sinh(half_fsd[row])
        else:
            out[0, row] = max(value, floor)
            out[1, row] = max(value - width, floor)
            out[2, row] = max(value + width, floor)
            out[3, row] = half_fsd[row] / max(abs(value), 1e-12)
        capped = out[2, row] >= cap or out[0, row] * (1.0 + reach * out[3, row]) >= cap
        late = date >= 0 and values[row, date] > last_day
        rows[found] = row
        found += capped or late or out[3, row] >= 1.0
    return out, rows[:found]


def _with_estimate(X: NDArray[np.float64], estimate: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate((X, estimate[:, None]), axis=1)
