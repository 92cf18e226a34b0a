"""The metrics that carry over to small groups, for each group of a cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from appraise.evaluation._pairs import Pair, priced_pair
from appraise.evaluation.groups import Grouping
from appraise.evaluation.intervals import Coverage, coverage
from appraise.evaluation.metrics import METRICS, Measured
from appraise.evaluation.vertical_equity import median_interval

#: Metrics of a slice. Those of vertical equity compare dear homes with cheap ones and mean little within a slice.
SLICE_KEYS = ("rmse", "mae", "mape", "mdape", "ppe10", "ppe20", "bias", "median_ratio", "cod")

_Z95 = 1.959963984540054

#: Lower and upper ends by nominal level.
Bounds = Mapping[float, tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class Slice:
    """One group of sales.

    Attributes:
        label: the group's name.
        rows: how many sales.
        metrics: by key of `SLICE_KEYS`. The medians (`mdape`, `median_ratio`) carry 95% intervals by ranks, as the IAAO
            standard makes them; the others carry none.
        coverage: of the prediction intervals, by nominal level.
    """

    label: str
    rows: int
    metrics: dict[str, Measured]
    coverage: dict[float, Coverage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SliceTable:
    """All groups of one cut; groups without rows are left out.

    Attributes:
        key, title, ordered: those of the `Grouping`.
        slices: in its order.
    """

    key: str
    title: str
    ordered: bool
    slices: tuple[Slice, ...]


def slice_by(
    grouping: Grouping, actual: NDArray[np.float64], estimate: NDArray[np.float64], bounds: Bounds | None = None
) -> SliceTable:
    """Metrics and coverage of each group.

    Args:
        grouping: of the same n rows.
        actual: sale prices, shape (n,), in the target's unit.
        estimate: estimates, likewise.
        bounds: ends of the prediction intervals by nominal level, shape (n,) each.
    """
    prices, estimates = priced_pair(actual, estimate)
    if grouping.codes.shape != prices.shape:
        raise ValueError(f"{grouping.codes.size} rows in groups by {grouping.key} for {prices.size} sales")
    order = np.argsort(grouping.codes, kind="stable")
    starts = np.searchsorted(grouping.codes[order], np.arange(len(grouping.labels) + 1))
    slices = [
        _slice(
            label,
            (prices[rows], estimates[rows]),
            {
                level: coverage(prices[rows], low[rows], high[rows], level=level)
                for level, (low, high) in (bounds or {}).items()
            },
        )
        for label, start, stop in zip(grouping.labels, starts[:-1], starts[1:], strict=True)
        if (rows := order[start:stop]).size
    ]
    return SliceTable(grouping.key, grouping.title, grouping.ordered, tuple(slices))


def _slice(label: str, rows: Pair, covered: dict[float, Coverage]) -> Slice:
    prices, estimates = rows
    ratio = np.sort(estimates / prices)
    ends = {
        "mdape": median_interval(np.sort(np.abs(ratio - 1.0)), z=_Z95),
        "median_ratio": median_interval(ratio, z=_Z95),
    }
    metrics = {key: Measured(METRICS[key].function(prices, estimates), *ends.get(key, ())) for key in SLICE_KEYS}
    return Slice(label, int(prices.size), metrics, covered)
