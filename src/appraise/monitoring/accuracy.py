"""Live accuracy: errors and coverage of estimates whose homes were sold since."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np

from appraise.evaluation.intervals import Coverage, coverage
from appraise.evaluation.metrics import Measured, measure
from appraise.store.database import Database
from appraise.store.settled import Settled, settlement

#: What is measured of every model, version and arm; the names are those of `appraise evaluate`.
KEYS = ("rmse", "mae", "mape", "mdape", "ppe10", "ppe20", "bias", "median_ratio", "cod", "prd")


@dataclass(frozen=True, slots=True)
class ModelAccuracy:
    """How right one model, version and arm has been.

    Attributes:
        model_name, model_version, arm: which.
        currency: ISO 4217 code, or None.
        rows: settled estimates.
        metrics: figures by key; those in money are in the target's unit.
        coverage: of the intervals, one for each nominal level that was asked for.
    """

    model_name: str
    model_version: str
    arm: str
    currency: str | None
    rows: int
    metrics: dict[str, Measured]
    coverage: tuple[Coverage, ...]

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "model_name": self.model_name,
            "model_version": self.model_version,
            "arm": self.arm,
            "currency": self.currency,
            "rows": self.rows,
            "metrics": {key: _number(figure.value) for key, figure in self.metrics.items()},
            "coverage": [
                {
                    "level": one.level,
                    "rows": one.rows,
                    "observed": one.observed,
                    "chance_low": one.chance_low,
                    "chance_high": one.chance_high,
                    "within_chance": one.within_chance,
                }
                for one in self.coverage
            ],
        }


@dataclass(frozen=True, slots=True)
class LiveAccuracy:
    """How right estimates have been, by the sales of a span of time.

    Attributes:
        since, until: of the sales; one that is of tomorrow here may be of today elsewhere, and is counted.
        outcomes: sales that were reported.
        after_the_sale: estimates that are not counted because they were not made before their sale.
        models: by model, version and arm.
    """

    since: dt.datetime
    until: dt.datetime
    outcomes: int
    after_the_sale: int
    models: tuple[ModelAccuracy, ...]

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "since": self.since.isoformat(timespec="seconds"),
            "until": self.until.isoformat(timespec="seconds"),
            "outcomes": self.outcomes,
            "estimates_after_their_sale": self.after_the_sale,
            "models": [model.to_dict() for model in self.models],
        }


def live_accuracy(
    database: Database, *, days: float, model: str | None = None, now: dt.datetime | None = None
) -> LiveAccuracy:
    """Measure the estimates that the sales of the last days settled.

    Args:
        database: where estimates and outcomes are.
        days: how far back sales are looked at, by their date and not by when they became known.
        model: of that model alone.
        now: the end of the span, as yet the present.

    Raises:
        StoreError: the database cannot be asked.
    """
    until = now or dt.datetime.now(tz=dt.UTC)
    since = until - dt.timedelta(days=days)
    # Sales of today elsewhere may be tomorrow's here.
    found = settlement(database, since=since, until=until + dt.timedelta(days=1), model=model)
    return LiveAccuracy(since, until, found.outcomes, found.after_the_sale, tuple(map(measured, found.groups)))


def measured(settled: Settled) -> ModelAccuracy:
    """Errors and coverage of one group."""
    levels = sorted(set(settled.level.tolist()))
    return ModelAccuracy(
        model_name=settled.model_name,
        model_version=settled.model_version,
        arm=settled.arm,
        currency=settled.currency,
        rows=len(settled.actual),
        metrics=measure(settled.actual, settled.estimate, resamples=0, keys=KEYS),
        coverage=tuple(_coverage(settled, level) for level in levels),
    )


def _coverage(settled: Settled, level: float) -> Coverage:
    those = np.equal(settled.level, level)
    return coverage(settled.actual[those], settled.lower[those], settled.upper[those], level=level)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
