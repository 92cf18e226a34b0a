"""The models that are compared, and what they are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.spec import Objective
from appraise.models.base import Model
from appraise.models.catalogue import MODELS, TUNABLE
from appraise.models.gaussian_process import MAX_ROWS as GAUSSIAN_PROCESS_MAX_ROWS

#: Kinds that are trained, quickest first.
FAST_KINDS = ("linear", "ridge", "decision_tree", "random_forest", "xgboost", "lightgbm", "catboost", "catboost_deep")
BEST_KINDS = (*FAST_KINDS, "gaussian_process")

#: Kinds by what a row costs in a batch, least first.
_CHEAPEST_FIRST = (
    "linear", "ridge", "decision_tree", "catboost", "catboost_deep", "lightgbm", "xgboost", "random_forest",
    "gaussian_process",
)  # fmt: skip

#: The most training rows that a kind is tried with; beyond it takes longer than it is worth.
MOST_ROWS: Mapping[str, int] = {"random_forest": 200_000, "gaussian_process": GAUSSIAN_PROCESS_MAX_ROWS}

#: Kinds that may take part in a blend, and those whose trees cost little in a batch too: a thousand rows through a
#: blend with LightGBM take twice as long, and what it adds to the others is below the noise of a split.
BLENDED = frozenset({"ridge", "xgboost", "lightgbm", "catboost", "catboost_deep", "gaussian_process"})
FAST_BLENDED = frozenset({"ridge", "catboost", "catboost_deep"})


def make(kind: str, parameters: Mapping[str, Any] | None = None) -> Model:
    """An unfitted model, with hyperparameters where tuning found some."""
    return TUNABLE[kind](parameters) if parameters else MODELS[kind]()


def cost_rank(kind: str) -> tuple[int, ...]:
    """Orders kinds by what a row costs: single models, then blends (`catboost + ridge`) of few and cheap parts."""
    parts = [_CHEAPEST_FIRST.index(part) for part in kind.split(" + ")]
    return len(parts), *sorted(parts, reverse=True)


def candidate_kinds(quality: str, rows: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kinds to train for a quality (`fast` or `best`), and those left out because there are too many rows."""
    kinds = BEST_KINDS if quality == "best" else FAST_KINDS
    left_out = tuple(kind for kind in kinds if rows > MOST_ROWS.get(kind, rows))
    return tuple(kind for kind in kinds if kind not in left_out), left_out


def objective_error(objective: Objective, actual: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """The error that models are compared by, in money: root mean square, or mean absolute percentage as a fraction."""
    error = estimate - actual
    return float(np.sqrt(np.mean(error**2))) if objective == "rmse" else float(np.mean(np.abs(error) / actual))


#: The metric of `objective_error` by objective, as reports and the registry name it.
ERROR_METRIC: Mapping[Objective, str] = {"rmse": "rmse", "relative": "mape"}
