"""Columns that give the price away: copies and functions of it, parts of it, and other people's valuations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.infer import naming
from appraise.datasets.infer.journal import Journal
from appraise.datasets.infer.profile import Profile

_SAMPLE = 5_000
#: Correlations and ratios of fewer rows prove nothing.
_FEW_ROWS = 30
_EQUAL_SHARE = 0.98
_RANK_CORRELATION = 0.985
#: A size may well order the homes of a simple market nearly as their prices do.
_RANK_CORRELATION_OF_A_SIZE = 0.9995
_NAMED_CORRELATION = 0.5
#: Rounding moves the ratio of a price per area and the price this much, and that of a sum this much.
_PRODUCT_SPREAD, _SUM_SPREAD = 0.05, 0.01
_EXPLAINED = 0.95
_EXPLAINED_NAMED = 0.5
_FEW_LEVELS = 50
_TINY = 1e-12

Floats = NDArray[np.float64]


def find_leaks(profiles: Sequence[Profile], target: str, journal: Journal) -> list[Profile]:
    """The profiles, with the role leak and the reason for each column that gives the target away."""
    price_profile = next(profile for profile in profiles if profile.name == target)
    known = price_profile.values.is_not_null().arg_true()
    rows = known.gather_every(max(1, known.len() // _SAMPLE))
    price = _floats(price_profile, rows)
    features = [profile for profile in profiles if profile.column.role == "feature" and profile.name != target]
    numbers = {profile.name: _floats(profile, rows) for profile in features if profile.is_numeric}
    reasons: dict[str, str] = {}
    for profile in features:
        reason = (
            _numeric_reason(profile.name, numbers[profile.name], price, target)
            if profile.is_numeric
            else _category_reason(profile, rows, price, target)
        )
        if reason is not None:
            reasons[profile.name] = reason
    rest = {name: values for name, values in numbers.items() if name not in reasons and not np.isnan(values).all()}
    reasons |= _derived(rest, price, target)
    for name, reason in reasons.items():
        journal.say(name, "a leak", reason)
    return [
        profile.having(role="leak", reason=reasons[profile.name]) if profile.name in reasons else profile
        for profile in profiles
    ]


def _floats(profile: Profile, rows: pl.Series) -> Floats:
    values: Floats = profile.values.gather(rows).cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values


def _numeric_reason(name: str, values: Floats, price: Floats, target: str) -> str | None:
    both = ~np.isnan(values)
    x, y = values[both], price[both]
    if len(x) >= 2 and np.mean(np.isclose(x, y, rtol=1e-9)) >= _EQUAL_SHARE:
        return f"equal to {target} in {np.mean(np.isclose(x, y, rtol=1e-9)):.0%} of the rows"
    correlation = _rank_correlation(x, y) if len(x) >= _FEW_ROWS else 0.0
    a_size = naming.says(name, naming.AREA + naming.COUNT)
    if abs(correlation) > (_RANK_CORRELATION_OF_A_SIZE if a_size else _RANK_CORRELATION):
        return f"it orders the homes as {target} does (rank correlation {correlation:.3f})"
    if naming.says(name, naming.EARLIER):
        return None
    if _is_price(name) and naming.says(name, naming.PER):
        return f"its name says that it is {target} divided by a size"
    if abs(correlation) < _NAMED_CORRELATION and len(x) >= _FEW_ROWS:
        return None
    if naming.says(name, naming.ASSESSED) or "".join(naming.words(name)).endswith(naming.MARKET_VALUE):
        return f"its name says that it is somebody's valuation of the home (rank correlation {correlation:.2f})"
    if _is_price(name):
        return f"its name says that it is another price of the home (rank correlation {correlation:.2f})"
    return None


def _is_price(name: str) -> bool:
    return naming.says(name, naming.PRICE) or any(sign in name for sign in "$€£")


def _rank_correlation(x: Floats, y: Floats) -> float:
    """Spearman's rank correlation; 0 where one of the two is constant."""
    ranks = pl.DataFrame({"x": x, "y": y}).select(pl.all().rank())
    a, b = (ranks[key].to_numpy() - ranks[key].to_numpy().mean() for key in ("x", "y"))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def _category_reason(profile: Profile, rows: pl.Series, price: Floats, target: str) -> str | None:
    """Classes of the price: few levels that explain nearly all of its order."""
    if profile.column.kind not in ("category", "boolean") or not 2 <= profile.distinct <= _FEW_LEVELS:
        return None
    if len(price) < _FEW_ROWS * profile.distinct:
        return None
    frame = pl.DataFrame({"level": profile.values.gather(rows).cast(pl.String), "rank": price}).drop_nulls()
    frame = frame.with_columns(pl.col("rank").rank())
    within = frame.select((pl.col("rank") - pl.col("rank").mean().over("level")).var()).item()
    total = frame["rank"].var()
    if not isinstance(total, float) or total <= 0 or within is None:
        return None
    explained = 1 - within / total
    limit = _EXPLAINED_NAMED if _is_price(profile.name) else _EXPLAINED
    # k classes of equal size explain 1 - 1/k^2 of the variance of the ranks: the most that they can
    if explained > limit * (1 - 1 / profile.distinct**2):
        return f"its levels are classes of {target}: they explain {explained:.0%} of its order"
    return None


def _derived(numbers: dict[str, Floats], price: Floats, target: str) -> dict[str, str]:
    """Columns that make the price with another column: a price per area, or one of two parts of a sum."""
    areas = [name for name in numbers if naming.says(name, naming.AREA) and not _is_price(name)]
    middles = {name: float(np.median(values[~np.isnan(values)])) for name, values in numbers.items()}
    middle = float(np.median(price))
    reasons: dict[str, str] = {}
    with np.errstate(all="ignore"):
        for name, area in product(numbers, areas):
            if name != area and _constant_ratio(numbers[name] * numbers[area], price, _PRODUCT_SPREAD):
                reasons.setdefault(name, f"it is {target} divided by {area}")
        for one, other in combinations(numbers, 2):
            near = abs(middles[one] + middles[other] - middle) < 0.5 * abs(middle)
            if near and _constant_ratio(numbers[one] + numbers[other], price, _SUM_SPREAD, of_one=True):
                reasons |= dict.fromkeys((one, other), f"{one} and {other} add up to {target}")
    return reasons


def _constant_ratio(values: Floats, price: Floats, spread: float, *, of_one: bool = False) -> bool:
    """Whether values over prices is the same number in nine rows of ten, within `spread`; if asked, the number 1."""
    ratio = values / price
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) < _FEW_ROWS:
        return False
    low, middle, high = np.quantile(ratio, [0.05, 0.5, 0.95])
    if abs(middle) < _TINY or (of_one and abs(middle - 1) > spread):
        return False
    return bool((high - low) <= spread * abs(middle))
