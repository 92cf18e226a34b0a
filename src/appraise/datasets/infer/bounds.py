"""Values that are impossible, and rules across columns that the whole file obeys."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import polars as pl

from appraise.datasets.infer import naming
from appraise.datasets.infer.journal import Journal
from appraise.datasets.infer.profile import Profile
from appraise.datasets.spec import Objective, Rule

_OLDEST_YEAR = 1600.0
_YEARS_AHEAD = 5
#: A bound may refuse this share of the rows, as mistakes; if more rows break it, it is no bound.
_MISTAKES = 0.01
_ENOUGH_ROWS = 50
#: Words of the smaller and of the larger column of a rule, and the sentence that says so.
_ORDERS = (
    (["bedroom", "bedrooms", "bedrms", "beds"], ["room", "rooms"], "A home cannot have more bedrooms than rooms."),
    (["floor"], ["floors", "storeys", "stories"], "A home cannot lie above its building's top floor."),
    (["kitchen", "livingarea", "living"], ["totalarea", "total"], "A part of a home cannot be larger than all of it."),
    (["yearbuilt", "built"], ["yearrenovated", "renovated"], "A home cannot be renovated before it is built."),
)


def set_bounds(profiles: Sequence[Profile], today: dt.date, journal: Journal) -> list[Profile]:
    """The profiles, with hard bounds where a name says what is impossible and the file agrees."""
    return [_bounded(profile, today, journal) for profile in profiles]


def price_bound(target: Profile, journal: Journal) -> tuple[Objective, Profile]:
    """The objective, and the target with its bound: prices of 0 and below are no sales, unless there are many."""
    prices = target.values.drop_nulls()
    refused = int((prices <= 0).sum())
    if refused > _MISTAKES * prices.len() and (prices < 0).any():
        journal.say("[dataset]", "models are compared by squared error", "prices lie on both sides of 0")
        return "rmse", target
    if refused:
        journal.say(target.name, f"{refused:,} {_rows(refused)} will be refused", "a price of 0 or below is no sale")
    journal.say("[dataset]", "models are compared by relative error", "prices are above 0")
    return "relative", target.having(minimum=0.0)


def find_rules(profiles: Sequence[Profile], journal: Journal) -> tuple[Rule, ...]:
    """Rules of the form `left <= right` that hold in every row of the file."""
    numeric = [profile for profile in profiles if profile.is_numeric and profile.column.role == "feature"]
    rules: list[Rule] = []
    for small, large, message in _ORDERS:
        lefts = [profile for profile in numeric if naming.says(profile.name, small)]
        rights = [profile for profile in numeric if naming.says(profile.name, large) and profile not in lefts]
        for left, right in product(lefts, rights):
            if _obeyed(left, right):
                rules.append(Rule(left.name, "<=", right.name, message))
                journal.say("[rules]", f"{left.name} <= {right.name}", "every row of the file obeys it")
    return tuple(rules)


def _obeyed(left: Profile, right: Profile) -> bool:
    pairs = pl.DataFrame({"left": left.values, "right": right.values}).drop_nulls()
    return pairs.height >= _ENOUGH_ROWS and bool((pairs["left"] <= pairs["right"]).all())


def _bounded(profile: Profile, today: dt.date, journal: Journal) -> Profile:
    column = profile.column
    if not profile.is_numeric or column.role != "feature":
        return profile
    values = profile.values.drop_nulls().cast(pl.Float64).to_numpy()
    for minimum, maximum in _possible(profile, values, today):
        wrong = values[(values < minimum) | (values > maximum)]
        if len(wrong) > _MISTAKES * len(values):
            continue
        if len(wrong) and not wrong.any():
            journal.say(
                profile.name, "without bounds", f"0 seems to mean unknown in {len(wrong):,} {_rows(len(wrong))}"
            )
            return profile
        if len(wrong):
            journal.say(
                profile.name,
                f"{len(wrong):,} {_rows(len(wrong))} will be refused",
                f"{wrong[0]:g} is impossible: it must be at least {minimum:g}"
                + (f" and at most {maximum:g}" if math.isfinite(maximum) else ""),
            )
        return profile.having(
            minimum=minimum if math.isfinite(minimum) else None, maximum=maximum if math.isfinite(maximum) else None
        )
    return profile


def _possible(profile: Profile, values: np.ndarray, today: dt.date) -> list[tuple[float, float]]:
    """Ranges outside which a value of that name is impossible."""
    name = profile.name
    if profile.column.unit == "%" and not len(values[(values < 0) | (values > 100)]):
        return [(0.0, 100.0)]
    if naming.says(name, naming.YEAR) and not naming.says(name, naming.COUNT + naming.AMOUNT):
        middle = float(np.median(values)) if len(values) else 0.0
        return [(_OLDEST_YEAR, float(today.year + _YEARS_AHEAD))] if middle >= _OLDEST_YEAR else []
    if naming.says(name, naming.AREA + naming.COUNT + naming.DISTANCE + naming.AMOUNT):
        return [(0.0, math.inf)]
    return []


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"
