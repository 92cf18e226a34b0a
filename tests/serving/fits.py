"""Small models, quick to fit."""

from typing import Any

import polars as pl
import pytest

from appraise.datasets.presets import find_spec
from appraise.jobs import fitting
from appraise.jobs.fitted import FitOptions
from appraise.jobs.fitting import Fitting
from appraise.jobs.progress import SilentProgress
from appraise.models import intervals
from appraise.serving.predictor import Predictor

QUICK = {"catboost": {"iterations": 60, "learning_rate": 0.2, "depth": 4}}


def fit(name: str, frame: pl.DataFrame, *, train: int, validation: int, **options: Any) -> Predictor:
    """A small model of the first rows of a frame."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "candidate_kinds", lambda _quality, _rows: (("catboost",), ()))
        for module, constant in (
            (fitting, "_SCALE_TRIAL_ITERATIONS"),
            (fitting, "_OUT_OF_FOLD_ITERATIONS"),
            (intervals, "_SCALE_ITERATIONS"),
        ):
            patch.setattr(module, constant, 40)
        rest = frame[train : train + validation]
        fit_options = FitOptions(parameters=QUICK, row_budget_us=1e9, **options)
        return Fitting(find_spec(name), frame[:train], rest, fit_options, SilentProgress()).run().predictor
