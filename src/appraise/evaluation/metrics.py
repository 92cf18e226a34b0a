"""The registry of metrics, and all of them measured at once with bootstrap intervals.

The keys are those of the JSON that `appraise evaluate` prints. Shares and relative errors are fractions there (0.092 is
9.2%); COD, VEI and its significance are in percent, as the IAAO prints them; RMSE and MAE are in the target's unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from appraise.evaluation import point_errors, ratio_study, vertical_equity
from appraise.evaluation._pairs import pair
from appraise.evaluation.bootstrap import percentile_intervals

Unit = Literal["price", "fraction", "percent", "number"]
Better = Literal["lower", "higher", "target"]
Standing = Literal["within", "unsure", "outside"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure and the ends of its interval; NaN where undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is and how to read it.

    Attributes:
        key: its name in JSON.
        title: its name for people.
        unit: `price` is the target's unit, `fraction` a share of one, `percent` percentage points, `number` a pure
            number.
        function: takes actual and estimate, shape (n,), and returns the figure.
        acceptable: both ends, inclusive, of what the IAAO accepts; an end may be infinite. None where it says nothing.
        better: whether lower or higher is better, or closer to `target`.
        digits: decimals to show (of the percentage for a fraction; significant digits for a price).
        meaning: one sentence for a reader who is no statistician.
        target: the ideal value, where `better` is `target`.
        tolerated: what the interval must lie outside of for the figure to be refused; `acceptable` by default.
    """

    key: str
    title: str
    unit: Unit
    function: Callable[[ArrayLike, ArrayLike], float]
    acceptable: tuple[float, float] | None
    better: Better
    digits: int
    meaning: str
    target: float | None = None
    tolerated: tuple[float, float] | None = None

    def standing(self, measured: Measured) -> Standing | None:
        """Where the figure stands against the acceptable range.

        `within` when the value is; `unsure` when the value is not but its interval reaches the tolerated range;
        `outside` when even the interval does not. None without a range or a value.
        """
        if self.acceptable is None or math.isnan(measured.value):
            return None
        low, high = self.acceptable
        if low <= measured.value <= high:
            return "within"
        low, high = self.tolerated or self.acceptable
        reaches = (low <= measured.value <= high) or (measured.low <= high and measured.high >= low)
        return "unsure" if reaches else "outside"

    def worse_by(self, value: float, reference: float) -> float:
        """How much worse `value` is than `reference`, in the metric's unit; negative where it is better."""
        if self.better == "target":
            target = self.target if self.target is not None else 0.0
            return abs(value - target) - abs(reference - target)
        return value - reference if self.better == "lower" else reference - value


def _registry(*metrics: Metric) -> dict[str, Metric]:
    return {metric.key: metric for metric in metrics}


#: Every metric in the order of reports, by key.
METRICS: dict[str, Metric] = _registry(
    Metric(
        key="rmse",
        title="RMSE",
        unit="price",
        function=point_errors.rmse,
        acceptable=None,
        better="lower",
        digits=4,
        meaning="Typical error in money; large errors weigh most.",
    ),
    Metric(
        key="mae",
        title="MAE",
        unit="price",
        function=point_errors.mae,
        acceptable=None,
        better="lower",
        digits=4,
        meaning="Average error in money.",
    ),
    Metric(
        key="r2",
        title="R²",
        unit="number",
        function=point_errors.r2,
        acceptable=None,
        better="higher",
        digits=3,
        meaning="Share of the differences between prices that the estimates explain; 1 is all.",
    ),
    Metric(
        key="mape",
        title="MAPE",
        unit="fraction",
        function=point_errors.mape,
        acceptable=None,
        better="lower",
        digits=2,
        meaning="Average error as a share of the price.",
    ),
    Metric(
        key="mdape",
        title="MdAPE",
        unit="fraction",
        function=point_errors.mdape,
        acceptable=None,
        better="lower",
        digits=2,
        meaning="Half of the estimates are closer to the price than this.",
    ),
    Metric(
        key="ppe10",
        title="PPE10",
        unit="fraction",
        function=point_errors.ppe10,
        acceptable=None,
        better="higher",
        digits=1,
        meaning="Share of the estimates within 10% of the price.",
    ),
    Metric(
        key="ppe20",
        title="PPE20",
        unit="fraction",
        function=point_errors.ppe20,
        acceptable=None,
        better="higher",
        digits=1,
        meaning="Share of the estimates within 20% of the price.",
    ),
    Metric(
        key="bias",
        title="Bias",
        unit="fraction",
        function=point_errors.bias,
        acceptable=None,
        better="target",
        digits=2,
        meaning="Average of the signed errors as a share of the price; above 0 the estimates are too high.",
        target=0.0,
    ),
    Metric(
        key="median_ratio",
        title="Median ratio",
        unit="number",
        function=ratio_study.median_ratio,
        acceptable=(0.90, 1.10),
        better="target",
        digits=3,
        meaning="The middle one of all estimates over their prices: 1 is a level that is right.",
        target=1.0,
    ),
    Metric(
        key="cod",
        title="COD",
        unit="percent",
        function=ratio_study.cod,
        acceptable=(5.0, 15.0),
        better="lower",
        digits=2,
        meaning="How far, on average, the ratios lie from the middle one, in percent; "
        "below 5 suggests estimates that were made to follow the sales.",
    ),
    Metric(
        key="prd",
        title="PRD",
        unit="number",
        function=ratio_study.prd,
        acceptable=(0.98, 1.03),
        better="target",
        digits=3,
        meaning="Above 1 dear homes are valued low for their price.",
        target=1.0,
    ),
    Metric(
        key="prb",
        title="PRB",
        unit="number",
        function=ratio_study.prb,
        acceptable=(-0.05, 0.05),
        tolerated=(-0.10, 0.10),
        better="target",
        digits=3,
        meaning="How much the ratio changes when the value doubles; below 0 dear homes are valued low for their price.",
        target=0.0,
    ),
    Metric(
        key="mki",
        title="MKI",
        unit="number",
        function=vertical_equity.mki,
        acceptable=(0.95, 1.05),
        better="target",
        digits=3,
        meaning="How unequal the estimates are beside the prices; below 1 dear homes are valued low for their price.",
        target=1.0,
    ),
    Metric(
        key="vei",
        title="VEI",
        unit="percent",
        function=vertical_equity.vei,
        acceptable=(-10.0, 10.0),
        better="target",
        digits=2,
        meaning="Ratio of the dearest group of homes less that of the cheapest, in percent "
        "(IAAO exposure draft of May 2026, not yet adopted).",
        target=0.0,
    ),
    Metric(
        key="vei_significance",
        title="VEI significance",
        unit="percent",
        function=vertical_equity.vei_significance,
        acceptable=(-math.inf, 10.0),
        better="lower",
        digits=2,
        meaning="How far the groups of VEI lie apart beyond chance; below 0 not at all "
        "(IAAO exposure draft of May 2026, not yet adopted).",
    ),
    Metric(
        key="fsd",
        title="FSD",
        unit="fraction",
        function=point_errors.fsd,
        acceptable=None,
        better="lower",
        digits=1,
        meaning="Spread of the errors: their standard deviation as a share of the price.",
    ),
)


def standings(measured: Mapping[str, Measured]) -> dict[str, Standing | None]:
    """The standing of each figure, by key.

    VEI is within, whatever its size, where the rank intervals of the extreme groups overlap (significance at most 0).
    """
    result = {key: METRICS[key].standing(figure) for key, figure in measured.items()}
    significance = measured.get("vei_significance")
    if result.get("vei") is not None and significance is not None and significance.value <= 0.0:
        result["vei"] = "within"
    return result


def measure(
    actual: ArrayLike,
    estimate: ArrayLike,
    *,
    seed: int = 0,
    resamples: int = 500,
    level: float = 0.95,
    keys: Iterable[str] | None = None,
) -> dict[str, Measured]:
    """The metrics with percentile bootstrap intervals over rows (see `bootstrap` for what is done on large data).

    Args:
        actual: sale prices, shape (n,), in the target's unit.
        estimate: estimates, likewise.
        seed: of the bootstrap; equal seeds resample equal prices alike, whatever the estimates.
        resamples: how many; 0 leaves the intervals out.
        level: of the intervals, in (0, 1).
        keys: which metrics; all by default.

    Returns:
        Measured figures by key, in the order of `METRICS`; NaN where a figure is not defined for these rows.

    Raises:
        DataError: no rows, values missing or infinite, or prices that are not positive where a metric divides by them.
        KeyError: a key that is not in `METRICS`.
    """
    prices, estimates = pair(actual, estimate)
    # Several metrics sort by price. On rows in that order, drawn in that order, the sorts find nothing to do.
    order = np.argsort(prices, kind="stable")
    prices, estimates = prices[order], estimates[order]
    wanted = set(METRICS) if keys is None else set(keys)
    if unknown := sorted(wanted - METRICS.keys()):
        raise KeyError(f"no metric {unknown[0]!r}; known are {', '.join(METRICS)}")
    metrics = [metric for metric in METRICS.values() if metric.key in wanted]

    def figures(index: NDArray[np.int64] | slice) -> list[float]:
        drawn_prices, drawn_estimates = prices[index], estimates[index]
        return [metric.function(drawn_prices, drawn_estimates) for metric in metrics]

    # Figures of astronomic prices may overflow; they come out as infinite and leave the JSON as null.
    with np.errstate(over="ignore", invalid="ignore"):
        values = figures(slice(None))
        if resamples == 0:
            return {metric.key: Measured(value) for metric, value in zip(metrics, values, strict=True)}
        ends = percentile_intervals(figures, values, rows=prices.size, seed=seed, resamples=resamples, level=level)
    return {
        metric.key: Measured(value, low, high) for metric, value, (low, high) in zip(metrics, values, ends, strict=True)
    }
