"""A made-up evaluation that has something for every part of the report, with names as hostile as data can hold."""

from __future__ import annotations

import numpy as np
import pytest

from appraise.evaluation.evaluation import (
    Baseline,
    Candidate,
    Evaluation,
    Importance,
    LearningCurve,
    ModelCard,
    SplitResult,
)
from appraise.evaluation.provenance import Provenance
from appraise.evaluation.splits import evaluate_split

HOSTILE = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
REGIONS = (
    "North & South",
    HOSTILE,
    "</script><b>bold</b>",
    '{curly} %{x} $x$ "quoted" [red]markup[/red]',
    "\x1b[31mred",
)


def made_up_split(seed: int, *, rows: int, error: float, note: str = "", dated: bool = True) -> SplitResult:
    generator = np.random.default_rng(seed)
    actual = np.exp(generator.normal(13.0, 0.7, rows))
    spread = error * generator.uniform(0.6, 1.4, rows)
    estimate = actual * np.exp(spread * generator.standard_normal(rows))
    return evaluate_split(
        actual,
        estimate,
        bounds={
            level: (estimate * np.exp(-reach * spread), estimate * np.exp(reach * spread))
            for level, reach in ((0.80, 1.282), (0.90, 1.645), (0.95, 1.960))
        },
        region=[REGIONS[code] for code in generator.integers(0, len(REGIONS), rows)],
        date=np.datetime64("2017-07-01") + generator.integers(0, 180, rows) if dated else None,
        latitude=-37.8 + 0.1 * generator.standard_normal(rows),
        longitude=145.0 + 0.1 * generator.standard_normal(rows),
        categories={"<i>type</i>": [("house", "unit", None)[code] for code in generator.integers(0, 3, rows)]},
        note=note,
        resamples=25,
    )


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    rounds = tuple(range(10, 210, 10))
    falling = tuple(float(0.2 + np.exp(-count / 50)) for count in rounds)
    return Evaluation(
        dataset="homes <b>",
        model=ModelCard("homes", "1.2.0", "catboost"),
        splits={
            "holdout": made_up_split(1, rows=6000, error=0.12, note="Sold from 2017-07-01 on."),
            "walk_forward": made_up_split(1, rows=2000, error=0.10),
            "spatial": made_up_split(2, rows=2000, error=0.2, dated=False),
        },
        candidates=(
            Candidate("linear", 0.19, 0.20, 0.2, 4_000, 40.0, within_budget=True, chosen=False),
            Candidate("catboost", 0.08, 0.081, 31.0, 9_300_000, 140.0, within_budget=True, chosen=True),
            Candidate("blend", 0.078, None, 150.0, 254_000_000, 1650.0, within_budget=False, chosen=False),
            Candidate("untimed", 0.09, None, 5.0, 10, None, within_budget=False, chosen=False),
            Candidate("broken", float("nan"), None, 5.0, 10, float("nan"), within_budget=False, chosen=False),
        ),
        error_metric="mdape",
        row_budget_microseconds=250.0,
        importances=(Importance("size", 0.6), Importance(HOSTILE, 0.3), Importance("\x07bell", 0.1)),
        learning=(
            LearningCurve("catboost", "RMSE of the log price", rounds, falling, falling, best_iteration=150),
            LearningCurve("lightgbm", "RMSE of the log price", rounds, (), falling),
        ),
        baselines=(Baseline("plain LightGBM", "holdout", {"mdape": 0.1}), Baseline("gone", "no such split", {})),
        unit="AUD",
        created="2026-11-21T09:40:00Z",
        provenance=Provenance(
            trained_at="2026-11-20T08:30:00+01:00",
            rows={"train": 12_000, "validation": 3_000, "holdout": 6_000},
            split="By chance with seed 0.",
            digest="0f" * 32,
            data_hash=None,
            spec_hash="ab" * 32,
            git_commit=None,
            libraries={"python": "3.11.7", "catboost": "1.2.10"},
            ranges={"size": (12.0, 1_250.0), HOSTILE: (0.0, 1.0)},
        ),
    )
