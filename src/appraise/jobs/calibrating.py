"""What a chosen model's intervals are calibrated on, and whether the market level makes it better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.spec import DatasetSpec
from appraise.jobs.fitted import FitOptions, Rows
from appraise.models.base import Model, TrainingData
from appraise.models.candidates import objective_error
from appraise.models.intervals import CalibrationRows
from appraise.models.level import MarketLevel
from appraise.serving.predictor import Scale

#: Models by which the intervals of dated data are calibrated.
_CALIBRATION_FOLDS = 3


def calibration_rows(
    model: Model, X: NDArray[np.float64], y: NDArray[np.float64], *, shift: NDArray[np.float64] | None, scale: Scale
) -> CalibrationRows:
    """Validation rows as a model values them.

    Args:
        model: it.
        X: (m, p) their features.
        y: (m,) their prices on the model's scale.
        shift: (m,) what the market level adds to the logarithm of each estimate, None without one.
        scale: the model's.
    """
    centre = model.predict(X)
    estimate = centre
    if shift is not None:
        estimate = centre + shift if scale == "log" else centre * np.exp(shift)
    return CalibrationRows(X, estimate, centre, y)


def cross_fitted(model: Model, data: TrainingData) -> CalibrationRows:
    """Validation rows valued by models that know the rest of validation.

    The model that will be served is refitted on all of validation. Errors of the one before would promise intervals
    that are too wide wherever the newest rows were news to it.
    """
    fold = np.random.RandomState(data.seed).permutation(len(data.X_val)) % _CALIBRATION_FOLDS
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


def helpful_level(
    spec: DatasetSpec, sales: Rows, estimate: NDArray[np.float64], error: float, options: FitOptions
) -> MarketLevel | None:
    """The market level of sales, where it makes their estimates better; None in undated data.

    Args:
        spec: the dataset.
        sales: (m) rows of validation.
        estimate: (m,) of their prices.
        error: the objective's error of these estimates.
        options: its window and lag.
    """
    date = spec.sale_date
    if date is None or sales.prices.min() <= 0:
        return None
    days = sales.table.column(date.name)
    residuals = np.log(sales.prices / np.maximum(estimate, 1e-9))
    level = MarketLevel.of(days, residuals, window=options.window_days, lag=options.recording_lag_days)
    levelled = objective_error(spec.objective, sales.prices, estimate * np.exp(level.at(days)))
    return level if levelled < error else None
