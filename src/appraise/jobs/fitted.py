"""What fitting is given, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.frames import input_columns, prices
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import Table
from appraise.features.base import FitContext
from appraise.features.vocabulary import Vocabulary
from appraise.models.base import Model
from appraise.serving.predictor import Predictor

#: A category with at most so many levels is told apart by its target encoding alone.
_FEW_LEVELS = 30


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit.

    Attributes:
        quality: `fast` takes the cheapest model within the row-time budget whose error is within 1% of the least,
            `best` the best of all.
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
