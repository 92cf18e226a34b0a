"""`Evaluation`: everything that is known about how good a model is, as plain values, and its JSON.

`splits.evaluate_split` makes the results of one split; a job puts them together with what training measured;
`text.render_text` and `report.render_html` show them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appraise.evaluation.groups import Dates
from appraise.evaluation.intervals import Coverage, level_key
from appraise.evaluation.metrics import Measured, standings
from appraise.evaluation.provenance import Provenance, capped_share
from appraise.evaluation.slices import SliceTable
from appraise.evaluation.verdict import verdict

#: Names of splits, for people. Other names stand as they are.
SPLIT_TITLES: Mapping[str, str] = {
    "holdout": "Holdout",
    "walk_forward": "Walk-forward",
    "spatial": "Spatial blocks",
    "time": "Out of time",
}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The model that was evaluated.

    Attributes:
        name: the registered model's name.
        version: its semantic version.
        kind: what it is ("catboost", "blend").
    """

    name: str
    version: str
    kind: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model that was trained and compared.

    Attributes:
        kind: what it is; unique among the candidates.
        validation_error: the error it was compared by (`Evaluation.error_metric`), on validation rows.
        holdout_error: the same on the holdout, which chooses nothing; None where it was not measured.
        fit_seconds: wall time of training.
        size_bytes: what it takes on disk.
        row_microseconds: median time of one row, everything included; None where it was not measured.
        within_budget: whether that time is within the row-time budget.
        chosen: whether it is the model.
    """

    kind: str
    validation_error: float
    holdout_error: float | None
    fit_seconds: float
    size_bytes: int
    row_microseconds: float | None
    within_budget: bool
    chosen: bool


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The rows behind a split, for plots.

    Attributes:
        actual, estimate: shape (n,), in the target's unit.
        lower, upper: ends of the 90% intervals, shape (n,), or None.
        latitude, longitude: degrees, shape (n,), NaN where missing, or None.
        region: the name of each row's region, or None.
        date: the date of each sale, datetime64, or None.
    """

    actual: NDArray[np.float64]
    estimate: NDArray[np.float64]
    lower: NDArray[np.float64] | None = None
    upper: NDArray[np.float64] | None = None
    latitude: NDArray[np.float64] | None = None
    longitude: NDArray[np.float64] | None = None
    region: tuple[str, ...] | None = None
    date: Dates | None = None

    def __len__(self) -> int:
        return int(self.actual.size)


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Sales of similar estimate: their mean estimate beside their mean price.

    Attributes:
        rows: how many.
        estimate, actual: means, in the target's unit.
        low, high: 95% interval of the mean price by its standard error; NaN for one row.
    """

    rows: int
    estimate: float
    actual: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class SplitResult:
    """How the model did on rows it had not seen.

    Attributes:
        rows: how many sales.
        metrics: by key of `METRICS`.
        intervals: coverage by nominal level.
        slices: by decile of the estimate and of the price, region, quarter, and category.
        calibration: bins of rising estimate.
        predictions: the rows themselves.
        note: how the rows were held out, one sentence.
    """

    rows: int
    metrics: dict[str, Measured]
    intervals: dict[float, Coverage]
    slices: tuple[SliceTable, ...]
    calibration: tuple[CalibrationBin, ...]
    predictions: Predictions
    note: str = ""

    def slices_by(self, key: str) -> SliceTable | None:
        """The cut of that key, if it was made."""
        return next((table for table in self.slices if table.key == key), None)


@dataclass(frozen=True, slots=True)
class Importance:
    """What share of the model's decisions a feature carries, 0 to 1."""

    feature: str
    share: float


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Error by iteration of one boosted model.

    Attributes:
        kind: the model.
        metric: what the error is ("RMSE of the log price").
        iterations: rising, k of them.
        train, validation: k errors each; `train` may be empty where it was not recorded.
        best_iteration: where training stopped to be kept, or None.
    """

    kind: str
    metric: str
    iterations: tuple[int, ...]
    train: tuple[float, ...]
    validation: tuple[float, ...]
    best_iteration: int | None = None

    def __post_init__(self) -> None:
        if len(self.validation) != len(self.iterations) or len(self.train) not in (0, len(self.iterations)):
            raise ValueError(
                f"learning curve of {self.kind}: {len(self.iterations)} iterations, {len(self.train)} training and "
                f"{len(self.validation)} validation errors"
            )


@dataclass(frozen=True, slots=True)
class Baseline:
    """Another model on the same rows, for comparison.

    Attributes:
        name: what it is ("plain LightGBM").
        split: the split whose rows it estimated.
        metrics: figures by key of `METRICS`.
    """

    name: str
    split: str
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything that is known about how good a model is.

    Attributes:
        dataset: the dataset's name.
        model: the model.
        splits: results by name: `holdout`, `spatial`, `time`, `walk_forward`; the first is the headline.
        candidates: what was compared.
        error_metric: key of the metric the candidates were compared by.
        row_budget_microseconds: the row-time budget, or None.
        importances: largest first.
        learning: curves of the boosted models.
        baselines: other models on the same rows.
        unit: what one unit of the target is, for display ("100,000 USD", "AUD"); empty where unknown.
        created: when the evaluation was made (ISO 8601), or None.
        provenance: what the model was made from, or None where that is not known.
    """

    dataset: str
    model: ModelCard
    splits: dict[str, SplitResult]
    candidates: tuple[Candidate, ...] = ()
    error_metric: str = "rmse"
    row_budget_microseconds: float | None = None
    importances: tuple[Importance, ...] = ()
    learning: tuple[LearningCurve, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    unit: str = ""
    created: str | None = None
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        if not self.splits:
            raise ValueError("an evaluation needs at least one split")

    @property
    def headline_name(self) -> str:
        """The split that speaks for the model: the holdout where there is one."""
        return "holdout" if "holdout" in self.splits else next(iter(self.splits))

    @property
    def headline(self) -> SplitResult:
        """That split's results."""
        return self.splits[self.headline_name]

    @property
    def verdict(self) -> tuple[str, ...]:
        """What it comes to, in sentences that begin with what failed."""
        return verdict(self.splits, self.headline_name)

    @property
    def ranked(self) -> tuple[Candidate, ...]:
        """The candidates, lowest validation error first; those without one last."""
        return tuple(sorted(self.candidates, key=lambda one: (math.isnan(one.validation_error), one.validation_error)))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `appraise evaluate --json`: stable keys, undefined figures as null, no arrays of rows."""
        return {
            "dataset": self.dataset,
            "model": {"name": self.model.name, "version": self.model.version, "kind": self.model.kind},
            "verdict": list(self.verdict),
            "provenance": None if self.provenance is None else self.provenance.to_dict(),
            "capped_share": capped_share(self.headline.predictions.actual),
            "error_metric": self.error_metric,
            "row_budget_microseconds": _number(self.row_budget_microseconds),
            "candidates": [_candidate_dict(candidate) for candidate in self.candidates],
            "splits": {name: _split_dict(split) for name, split in self.splits.items()},
            "baselines": [
                {
                    "name": baseline.name,
                    "split": baseline.split,
                    "metrics": {key: _number(value) for key, value in baseline.metrics.items()},
                }
                for baseline in self.baselines
            ],
            "importances": [
                {"feature": importance.feature, "share": _number(importance.share)} for importance in self.importances
            ],
        }


def _number(value: float | None) -> float | None:
    """NaN and infinities have no JSON: they become null."""
    return None if value is None or not math.isfinite(value) else float(value)


def _measured_dict(measured: Measured) -> dict[str, float | None]:
    return {"value": _number(measured.value), "low": _number(measured.low), "high": _number(measured.high)}


def _metrics_dict(metrics: Mapping[str, Measured]) -> dict[str, dict[str, float | None]]:
    return {key: _measured_dict(measured) for key, measured in metrics.items()}


def _coverage_dict(coverage: Mapping[float, Coverage]) -> dict[str, dict[str, float | None]]:
    return {level_key(level): _one_coverage_dict(one) for level, one in coverage.items()}


def _one_coverage_dict(one: Coverage) -> dict[str, float | None]:
    return {"observed": _number(one.observed), "mean_width": _number(one.mean_width)}


def _candidate_dict(candidate: Candidate) -> dict[str, Any]:
    return {
        "kind": candidate.kind,
        "validation_error": _number(candidate.validation_error),
        "holdout_error": _number(candidate.holdout_error),
        "fit_seconds": _number(candidate.fit_seconds),
        "size_bytes": candidate.size_bytes,
        "row_microseconds": _number(candidate.row_microseconds),
        "within_budget": candidate.within_budget,
        "chosen": candidate.chosen,
    }


def _split_dict(split: SplitResult) -> dict[str, Any]:
    return {
        "rows": split.rows,
        "note": split.note,
        "metrics": {
            key: {**_measured_dict(split.metrics[key]), "standing": word}
            for key, word in standings(split.metrics).items()
        },
        "intervals": {
            level_key(level): {
                **_one_coverage_dict(one),
                "chance_low": _number(one.chance_low),
                "chance_high": _number(one.chance_high),
                "standing": one.standing,
            }
            for level, one in split.intervals.items()
        },
        "calibration": [
            {
                "rows": one.rows,
                "estimate": _number(one.estimate),
                "actual": _number(one.actual),
                "low": _number(one.low),
                "high": _number(one.high),
            }
            for one in split.calibration
        ],
        "slices": {
            table.key: [
                {
                    "label": one.label,
                    "rows": one.rows,
                    "metrics": _metrics_dict(one.metrics),
                    "intervals": _coverage_dict(one.coverage),
                }
                for one in table.slices
            ]
            for table in split.slices
        },
    }
