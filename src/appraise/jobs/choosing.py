"""Which of the candidates becomes the model, and whether the time of one row decided by a hair."""

from __future__ import annotations

import os
from collections.abc import Sequence

from appraise.jobs.fitted import FittedCandidate
from appraise.models.candidates import cost_rank

#: Share of the error below which a difference between models says nothing: the noise of one split
#: (`docs/decisions/0015-default-model.md`).
_NOISE = 0.01

#: Misses of the row-time budget by less than this share are told: what else the machine does moves times as far.
_NEAR = 0.10


def within_budget(candidates: Sequence[FittedCandidate], budget_us: float) -> list[FittedCandidate]:
    """Those whose row time is within the budget, microseconds."""
    return [one for one in candidates if one.row_us <= budget_us]


def cheapest_worth_it(candidates: Sequence[FittedCandidate]) -> FittedCandidate:
    """The cheapest kind whose error is within the noise of the least. There must be a candidate."""
    least = min(one.error for one in candidates)
    worth = [one for one in candidates if one.error <= least * (1.0 + _NOISE)]
    # By kind, not by the time that was measured: the same data shall give the same model everywhere.
    return min(worth, key=lambda one: (cost_rank(one.kind), one.error))


def near_miss(candidates: Sequence[FittedCandidate], budget_us: float) -> FittedCandidate | None:
    """The candidate that would be chosen if it were not over the budget by less than a tenth of it, if there is one."""
    near = within_budget(candidates, budget_us * (1.0 + _NEAR))
    if not near:
        return None
    chosen = cheapest_worth_it(near)
    return chosen if chosen.row_us > budget_us else None


def near_miss_note(missed: FittedCandidate, budget_us: float) -> str:
    """What to say of a near miss: by how much, how busy the machine is, and what can be done."""
    over = missed.row_us / budget_us - 1.0
    load = _load()
    busy = f", timed under {load}" if load else ""
    return (
        f"{missed.kind} would be chosen, but takes {missed.row_us:.0f} us a row, {over:.1%} over the budget of "
        f"{budget_us:g} us{busy}: train again on an idle machine, or give a larger --row-budget-us"
    )


def _load() -> str:
    """How busy the machine was in the last minute; empty where the system does not say."""
    if not hasattr(os, "getloadavg"):
        return ""
    return f"a load of {os.getloadavg()[0]:.1f} on {os.cpu_count() or 1} processors"
