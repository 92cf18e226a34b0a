"""What known sales support: how wide intervals are where a home is unlike any that the model was calibrated on.

Conformal intervals hold for homes like the calibration rows. A home far from every sale, or one of which little is
known, is none of them. Such rows are groups of their own, with scores from rows that were made to be like them: homes
of areas held out of training, and homes with inputs taken away (group-conditional, "Mondrian" conformal prediction:
Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World"). Where such estimates were no better than the
market's median price, none is claimed (after the area of applicability of Meyer and Pebesma 2021, "Predicting into
unknown space?"). What was measured is in `docs/decisions/0016-support.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.features.state import State
from appraise.models.intervals import conformal_position

#: Quantiles of the known prices that are kept.
_MARKET_QUANTILES = 201

#: Scores kept of each rung.
_MOST_SCORES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """Scores by how far a row is from what is ordinary: each rung's are at least those of the rung below.

    Attributes:
        edges: (t,) ascending severities at which rungs begin; below the first a row is ordinary.
        scores: (t, m) of each rung, ascending scaled absolute residuals.
    """

    edges: NDArray[np.float64]
    scores: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        edges: NDArray[np.float64],
        severity: NDArray[np.float64],
        scores: NDArray[np.float64],
        *,
        least: int,
    ) -> Self | None:
        """The ladder of n rows; None where there are too few of them.

        Args:
            edges: (t,) where rungs begin.
            severity, scores: (n,) of the rows, by which rungs are filled.
            least: rows that a rung needs; one with fewer is left out.
        """
        levels = (np.arange(_MOST_SCORES) + 0.5) / _MOST_SCORES
        floor = np.zeros(_MOST_SCORES)
        kept: list[float] = []
        rungs: list[NDArray[np.float64]] = []
        ends = [*edges[1:], np.inf]
        for start, stop in zip(edges, ends, strict=True):
            inside = scores[(severity > start) & (severity <= stop)]
            if len(inside) < least:
                continue
            floor = np.maximum(floor, np.quantile(inside, levels))
            kept.append(float(start))
            rungs.append(floor)
        if not kept:
            return None
        # What is beyond the ordinary begins at the first edge, whether that rung had rows enough or not.
        kept[0] = float(edges[0])
        return cls(np.array(kept), np.stack(rungs))

    def quantiles(self, level: float, severity: NDArray[np.float64]) -> NDArray[np.float64]:
        """The conformal quantile of each of n rows; zero where a row is ordinary."""
        by_rung = np.concatenate(([0.0], self.scores[:, conformal_position(self.scores.shape[1], level)]))
        rung: NDArray[np.float64] = by_rung[np.searchsorted(self.edges, severity, side="left")]
        return rung


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """Which rows are ordinary, and what is known of the others.

    Attributes:
        near: positions among the features of the logarithms of the distances to the 8th and the 30th known sale in
            place, shape (2,); empty without places.
        farthest: the greatest such distance to the 8th that is ordinary.
        least_gap: the least difference of the two that is ordinary: sales around a home are further and further away,
            sales beside it are all equally far.
        checked: the greatest distance at which held-out areas were valued better than by the market's median.
        place: scores by severity of the place; None where they were too few.
        weights: (p,) by how much errors grew, as a share, when an input was unknown.
        usual: (p,) whether it is ordinary that the input is missing.
        most_missing: how many of these are missing in an ordinary row at most.
        inputs: scores by the sum of weights of unknown inputs; None where they were too few.
        least_known: the sum from which estimates were no better than the market's median.
        market: ascending quantiles of known prices, in money.
        cap: the price that greater ones were recorded as; infinite where they were not.
        horizon: days after the last known sale up to which estimates were checked; infinite in undated data.
    """

    near: NDArray[np.int64]
    farthest: float
    least_gap: float
    checked: float
    place: Ladder | None
    weights: NDArray[np.float64]
    usual: NDArray[np.bool_]
    most_missing: int
    inputs: Ladder | None
    least_known: float
    market: NDArray[np.float64]
    cap: float = np.inf
    horizon: float = np.inf

    def severity_of_place(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far beyond the ordinary the place of n rows lies, shape (n,); infinite without any known sale."""
        if not len(self.near):
            return np.zeros(len(X))
        return place_severity(X[:, self.near], self.farthest, self.least_gap)

    def is_beyond(self, X: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether comparable sales are further away than estimates were checked, shape (n,)."""
        if not len(self.near):
            return np.zeros(len(X), np.bool_)
        return ~(X[:, self.near[0]] <= self.checked)

    def unknown(self, values: NDArray[np.float64], outside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which inputs of n rows are unknown where they ordinarily are known, shape (n, p).

        Args:
            values: (n, p) encoded inputs.
            outside: (n, p) values that are nothing like those seen in training.
        """
        missing = np.isnan(values)
        many = (missing & self.usual).sum(axis=1) > self.most_missing
        unknown: NDArray[np.bool_] = (missing & (many[:, None] | ~self.usual)) | outside
        return unknown

    @property
    def first_loss(self) -> float:
        """The sum of weights of unknown inputs up to which a row is ordinary."""
        return np.inf if self.inputs is None else float(self.inputs.edges[0])

    def quantiles(self, level: float, place: NDArray[np.float64], inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """The conformal quantile of each of n rows of these severities; zero where a row is ordinary in both."""
        found = np.zeros(len(place))
        for ladder, severity in ((self.place, place), (self.inputs, inputs)):
            if ladder is not None and severity.max(initial=0.0) > ladder.edges[0]:
                found = np.maximum(found, ladder.quantiles(level, severity))
        return found

    def typical_range(self, level: float) -> tuple[float, float]:
        """The range that holds this share of the known prices: what is known of a home of which nothing is."""
        tail = (1.0 - level) / 2.0
        low, high = np.interp((tail, 1.0 - tail), np.linspace(0.0, 1.0, len(self.market)), self.market)
        return float(low), float(high)

    def state(self) -> State:
        """Limits and scores."""
        arrays = {
            "near": self.near,
            "limits": np.array([self.farthest, self.least_gap, self.checked, self.most_missing, self.least_known]),
            "weights": self.weights,
            "usual": self.usual,
            "market": self.market,
            "bounds": np.array([self.cap, self.horizon]),
        }
        for name, ladder in (("place", self.place), ("inputs", self.inputs)):
            if ladder is not None:
                arrays[f"{name}_edges"] = ladder.edges
                arrays[f"{name}_scores"] = ladder.scores
        return State(arrays=arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        arrays = state.arrays
        farthest, least_gap, checked, most_missing, least_known = arrays["limits"].tolist()
        # Older bundles know neither.
        cap, horizon = arrays["bounds"].tolist() if "bounds" in arrays else (np.inf, np.inf)
        return cls(
            near=arrays["near"],
            farthest=farthest,
            least_gap=least_gap,
            checked=checked,
            place=_ladder(arrays, "place"),
            weights=arrays["weights"],
            usual=arrays["usual"],
            most_missing=int(most_missing),
            inputs=_ladder(arrays, "inputs"),
            least_known=least_known,
            market=arrays["market"],
            cap=cap,
            horizon=horizon,
        )


def place_severity(near: NDArray[np.float64], farthest: float, least_gap: float) -> NDArray[np.float64]:
    """How far beyond the ordinary places lie, shape (n,); at most 0 where they are ordinary.

    Args:
        near: (n, 2) logarithms of the distances to the 8th and the 30th sale; NaN without any.
        farthest, least_gap: as of `Support`.
    """
    gap = near[:, 1] - near[:, 0]
    beside = 1.0 - gap / least_gap if least_gap > 0 else np.zeros(len(near))
    severity = np.maximum(near[:, 0] - farthest, beside)
    return np.where(np.isnan(severity), np.inf, severity)


def market_quantiles(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quantiles of prices that `Support.market` keeps."""
    return np.quantile(prices, np.linspace(0.0, 1.0, _MARKET_QUANTILES))


def _ladder(arrays: dict[str, NDArray[np.float64]], name: str) -> Ladder | None:
    if f"{name}_edges" not in arrays:
        return None
    return Ladder(arrays[f"{name}_edges"], arrays[f"{name}_scores"])
