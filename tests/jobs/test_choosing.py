"""The choice of the model, and what is said where the time of one row decided by a hair."""

from __future__ import annotations

import numpy as np
import pytest

from appraise.jobs.choosing import cheapest_worth_it, near_miss, near_miss_note, within_budget
from appraise.jobs.fitted import FittedCandidate
from appraise.models.candidates import make

BUDGET = 250.0


def candidate(kind: str, error: float, row_us: float) -> FittedCandidate:
    return FittedCandidate(kind, make("ridge", None), np.zeros(1), error, 1.0, row_us)


def test_the_cheapest_kind_within_the_noise_is_chosen() -> None:
    able = [candidate("catboost", 0.3851, 105.0), candidate("catboost_deep", 0.3837, 131.0)]
    assert cheapest_worth_it(able).kind == "catboost"
    assert cheapest_worth_it([candidate("ridge", 0.3985, 90.0), *able]).kind == "catboost"


@pytest.mark.parametrize(
    ("row_us", "told"), [(249.0, False), (250.0, False), (253.0, True), (274.0, True), (276.0, False)]
)
def test_a_winner_that_misses_the_budget_by_a_hair_is_told(row_us: float, *, told: bool) -> None:
    candidates = [candidate("ridge", 0.3985, 90.0), candidate("lightgbm", 0.3700, row_us)]
    missed = near_miss(candidates, BUDGET)
    assert (missed is not None) == told
    assert within_budget(candidates, BUDGET)[0].kind == "ridge"


def test_a_near_miss_that_would_not_be_chosen_is_not_told() -> None:
    assert near_miss([candidate("catboost", 0.38, 105.0), candidate("random_forest", 0.39, 253.0)], BUDGET) is None
    assert near_miss([candidate("random_forest", 0.39, 400.0)], BUDGET) is None


def test_the_note_says_by_how_much_and_what_to_do() -> None:
    note = near_miss_note(candidate("lightgbm", 0.37, 253.0), BUDGET)
    assert "lightgbm would be chosen, but takes 253 us a row, 1.2% over the budget of 250 us" in note
    assert "--row-budget-us" in note
