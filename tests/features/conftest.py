"""A small made-up market: sizes, counts, flags, places, categories and dates, with values missing here and there."""

from collections.abc import Callable

import numpy as np
import pytest

from appraise.datasets.table import Table
from appraise.features.base import FitContext

CATEGORIES = ("city", "style")


def make_market(rows: int, *, seed: int = 0, placed: bool = True, dated: bool = True) -> tuple[Table, FitContext]:
    """Rows of a market and what a transformation may know of them; the target is a log price."""
    random = np.random.default_rng(seed)
    columns = {
        "area": np.round(np.exp(random.normal(4.6, 0.5, rows)), 1),
        "land": np.where(random.random(rows) < 0.3, 0.0, np.round(random.gamma(1.2, 300.0, rows))),
        "rooms": random.integers(1, 9, rows).astype(float),
        "view": np.round(random.normal(0.0, 1.0, rows), 3),
        "garage": random.integers(0, 2, rows).astype(float),
        "city": random.integers(0, 5, rows).astype(float),
        "style": random.integers(0, 3, rows).astype(float),
    }
    if placed:
        columns["lat"] = -37.8 + random.normal(0.0, 0.1, rows)
        columns["lon"] = 144.9 + random.normal(0.0, 0.1, rows)
    if dated:
        columns["sold"] = 17000.0 + random.integers(0, 1000, rows)
    target = 11.0 + 0.7 * np.log(columns["area"]) + 0.1 * columns["view"] + random.normal(0.0, 0.1, rows)
    for name in ("land", "rooms", "garage", "city"):
        columns[name][random.random(rows) < 0.1] = np.nan
    context = FitContext(
        target=target,
        seed=seed,
        latitude="lat" if placed else None,
        longitude="lon" if placed else None,
        sale_date="sold" if dated else None,
        categories=CATEGORIES,
        booleans=("garage",),
        frequency_encoded=("city",),
        target_encoded=CATEGORIES,
    )
    return Table(tuple(columns), np.stack(list(columns.values()), axis=1)), context


@pytest.fixture
def market() -> Callable[..., tuple[Table, FitContext]]:
    """`make_market`."""
    return make_market
