"""The sentences on top: what failed is said first, and nothing is said to fail that did not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from appraise.evaluation.evaluation import Evaluation, ModelCard, SplitResult
from appraise.evaluation.intervals import Coverage
from appraise.evaluation.metrics import Measured
from appraise.evaluation.splits import evaluate_split


def split_of(figures: dict[str, Measured], *, observed: float = 0.90, level: float = 0.90) -> SplitResult:
    """A split with these figures in place of its own, and coverage that chance allows from 0.88 to 0.92."""
    prices = np.linspace(1.0, 3.0, 30)
    split = evaluate_split(prices, prices, resamples=0)
    good = {
        key: Measured(1.0 if key in ("median_ratio", "prd", "mki") else 10.0 if key == "cod" else 0.0)
        for key in split.metrics
    }
    covered = Coverage(level, 500, observed, 1.0, level - 0.02, level + 0.02)
    return replace(split, metrics=good | figures, intervals={level: covered})


def verdict_of(**splits: SplitResult) -> tuple[str, ...]:
    return Evaluation("homes", ModelCard("homes", "1.0.0", "ridge"), splits).verdict


def test_what_is_outside_is_counted_and_named_with_its_figure() -> None:
    failed = {"prd": Measured(1.038, 1.0304, 1.047), "mki": Measured(0.905, 0.894, 0.917)}
    (sentence,) = verdict_of(holdout=split_of(failed))
    assert sentence == "2 of 6 IAAO figures are outside their ranges: PRD 1.038, MKI 0.905."


def test_one_that_is_outside_by_chance_is_told_apart() -> None:
    mixed = {"prd": Measured(1.038, 1.0304, 1.047), "cod": Measured(15.2, 14.8, 15.6)}
    (sentence,) = verdict_of(holdout=split_of(mixed))
    assert sentence == (
        "1 of 6 IAAO figures is outside its range: PRD 1.038. COD 15.20 is outside by no more than chance allows."
    )
    (sentence,) = verdict_of(holdout=split_of({"cod": Measured(15.2, 14.8, 15.6)}))
    assert sentence.startswith("No IAAO figure of 6 is outside its range for certain; COD 15.20")


def test_areas_without_sales_are_told_where_their_intervals_fail() -> None:
    first, second = verdict_of(
        holdout=split_of({}), spatial=split_of({"mki": Measured(0.623, 0.61, 0.63)}, observed=0.721)
    )
    assert first == "All 6 IAAO figures are within their ranges."
    assert second == (
        "In areas without training sales (spatial blocks) 1 of 6 IAAO figures is outside and 90% intervals hold 72.1% "
        "of prices (chance allows 88.0% to 92.0%)."
    )
    assert len(verdict_of(holdout=split_of({}), spatial=split_of({}))) == 1


@pytest.mark.parametrize("observed", [0.70, 0.97])
def test_intervals_of_the_headline_that_are_too_narrow_or_too_wide_are_told(observed: float) -> None:
    _, sentence = verdict_of(holdout=split_of({}, observed=observed))
    assert sentence.startswith(f"90% intervals hold {100 * observed:.1f}% of prices")


def test_a_ratio_study_that_cannot_be_made_is_not_called_good() -> None:
    nothing = {key: Measured(float("nan")) for key in ("median_ratio", "cod", "prd", "prb", "mki", "vei")}
    assert verdict_of(holdout=split_of(nothing)) == ()


def test_the_json_says_the_same_and_where_each_figure_stands(evaluation: Evaluation) -> None:
    document = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert document["verdict"] == list(evaluation.verdict)
    holdout = document["splits"]["holdout"]
    assert holdout["metrics"]["cod"]["standing"] == "within"
    assert holdout["metrics"]["rmse"]["standing"] is None
    covered = evaluation.headline.intervals[0.9]
    assert holdout["intervals"]["0.90"] == {
        "observed": covered.observed,
        "mean_width": covered.mean_width,
        "chance_low": covered.chance_low,
        "chance_high": covered.chance_high,
        "standing": covered.standing,
    }
