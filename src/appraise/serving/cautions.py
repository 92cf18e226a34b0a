"""Which rows are no ordinary ones, how much wider their intervals are, and what a reader is told of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.spec import DatasetSpec
from appraise.datasets.table import Table, date_of
from appraise.features.pipeline import FeaturePipeline
from appraise.features.vocabulary import Vocabulary
from appraise.models.support import Support
from appraise.serving.ranges import far_ranges, is_outside, range_warnings, unusual_rows

_NONE_NEAR = np.empty(0, np.int64)

#: Names of inputs in one sentence; of more it says how many.
_MOST_NAMED = 5

#: Which sale's distance says how far a place is from sales, as of `Support`.
_EIGHTH = 8

#: How every reason ends where no estimate is claimed.
UNUSABLE = "do not use this estimate"


@dataclass(frozen=True, slots=True, eq=False)
class Strained:
    """The rows whose intervals are widened.

    Attributes:
        rows: (k,) where they are.
        place, inputs: (k,) how far their place and their inputs are beyond the ordinary, at most 0 where they are not.
        unheard: (k, p) values that are nothing like those seen; what the model makes of them says nothing.
        unusable: (k,) whether the estimate is no better than knowing nothing of the home.
        reasons: of each row, in words.
    """

    rows: NDArray[np.int64]
    place: NDArray[np.float64]
    inputs: NDArray[np.float64]
    unheard: NDArray[np.bool_]
    unusable: NDArray[np.bool_]
    reasons: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Cautions:
    """Finds the rows of a predictor that are no ordinary ones.

    Attributes:
        spec, vocabulary, ranges: of the predictor.
        support: what was measured of such rows; None in a bundle that does not know, whose intervals stay as they are.
        last_day: up to which estimates were checked; of later rows the age of all sales is told, not of those around.
    """

    spec: DatasetSpec
    vocabulary: Vocabulary
    ranges: NDArray[np.float64]
    support: Support | None
    last_day: float = np.inf
    _far: NDArray[np.float64] = field(init=False, repr=False)
    _limits: tuple[NDArray[np.bool_], int] = field(init=False, repr=False)
    _near: tuple[NDArray[np.int64], float, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Work out what every call asks for."""
        support, p = self.support, len(self.ranges)
        limits = (np.ones(p, np.bool_), p) if support is None else (support.usual, support.most_missing)
        near = (_NONE_NEAR, np.inf, -np.inf)
        if support is not None:
            near = (support.near, support.farthest, support.least_gap)
        far = far_ranges(self.vocabulary, self.ranges)
        if len(near[0]):
            # How far a place is off is told by the sales.
            for column in (self.spec.latitude, self.spec.longitude):
                if column is not None:
                    far[self.vocabulary.names_.index(column.name)] = np.nan
        object.__setattr__(self, "_far", far)
        object.__setattr__(self, "_limits", limits)
        object.__setattr__(self, "_near", near)

    def find(
        self, values: NDArray[np.float64], features: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of n rows those with a value outside its range, and those that may be strained; of others nothing is said."""
        ranges = self.ranges
        found: tuple[NDArray[np.int64], NDArray[np.int64]] = unusual_rows(
            values, ranges, self._far, *self._limits, features, *self._near
        )
        return found

    def warnings(
        self,
        values: NDArray[np.float64],
        outside: NDArray[np.int64],
        strained: Strained | None,
        held: Mapping[int, tuple[str, ...]],
    ) -> tuple[tuple[str, ...], ...]:
        """What a reader should know of each of n rows, not to use the estimate first.

        Args:
            values: (n, p) encoded inputs.
            outside, strained: as found.
            held: reasons by row for which less is claimed.
        """
        told: list[tuple[str, ...]] = [()] * len(values)
        for row in outside.tolist():
            told[row] = range_warnings(values[row], self.ranges, self.vocabulary)
        if strained is not None:
            for row, reasons in zip(strained.rows.tolist(), strained.reasons, strict=True):
                told[row] += reasons
        for row, reasons in held.items():
            told[row] += reasons
        return tuple(tuple(sorted(one, key=_is_of_use)) if len(one) > 1 else one for one in told)

    def strained(
        self, rows: NDArray[np.int64], table: Table, features: NDArray[np.float64], pipeline: FeaturePipeline
    ) -> Strained | None:
        """Which of those rows are strained, and how; None where none is, or it was never measured.

        Args:
            rows: (k,) as found.
            table, features: all n rows.
            pipeline: the predictor's, whose pool knows the sales.
        """
        support = self.support
        if support is None or not len(rows):
            return None
        values = table.values[rows]
        unheard = is_outside(values, self._far)
        unknown = support.unknown(values, unheard)
        place = support.severity_of_place(features[rows])
        # Not a matrix product, whose last bit depends on how many rows there are.
        inputs = (unknown * support.weights).sum(axis=1)
        kept = (place > 0) | (inputs > support.first_loss) | unheard.any(axis=1)
        if not kept.any():
            return None
        rows, place, inputs, unheard, unknown = rows[kept], place[kept], inputs[kept], unheard[kept], unknown[kept]
        beyond, useless = support.is_beyond(features[rows]), inputs > support.least_known
        reasons: list[tuple[str, ...]] = [()] * len(rows)
        placed = np.flatnonzero(place > 0)
        if len(placed):
            known = Table(table.names, values[kept][placed])
            told = self._of_places(known, features[rows[placed]], beyond[placed], pipeline)
            for k, reason in zip(placed.tolist(), told, strict=True):
                reasons[k] = reason
        for k in np.flatnonzero(inputs > support.first_loss).tolist():
            reasons[k] += (self._of_inputs(unknown[k], unheard[k], useless=bool(useless[k])),)
        return Strained(rows, place, inputs, unheard, beyond | useless, tuple(reasons))

    def _of_places(
        self, rows: Table, features: NDArray[np.float64], beyond: NDArray[np.bool_], pipeline: FeaturePipeline
    ) -> list[tuple[str, ...]]:
        support, comparables = self.support, pipeline.comparables_
        assert support is not None  # noqa: S101  without it no place is told of
        assert comparables is not None  # noqa: S101  the distances are theirs
        ordinary, checked = comparables.kilometres(support.farthest), comparables.kilometres(support.checked)
        distances, days = comparables.nearest_in_place(rows, _EIGHTH)
        eighth = distances[:, -1]
        date = self.spec.sale_date
        asked = np.full(len(rows), -np.inf) if date is None else rows.column(date.name)
        if date is None:
            # What was tested; of dated sales it has their age in it.
            eighth = np.array([comparables.kilometres(near) for near in features[:, support.near[0]].tolist()])
        told: list[tuple[str, ...]] = []
        for k, unusable in enumerate(beyond.tolist()):
            nearest = _Place(distances[k, 0], eighth[k], days[k, 0], ordinary, checked)
            if asked[k] > self.last_day and nearest.eighth <= checked:
                told.append(())
            else:
                told.append((nearest.reason(unusable=unusable),))
        return told

    def _of_inputs(self, unknown: NDArray[np.bool_], unheard: NDArray[np.bool_], *, useless: bool) -> str:
        parts = []
        if (unknown & ~unheard).any():
            parts.append(f"without knowing {self._named(unknown & ~unheard)}")
        if unheard.any():
            parts.append(f"with {self._named(unheard)} unlike any sale")
        known = f"estimated {' and '.join(parts)}"
        if useless:
            return f"{known}: estimates that knew as little were no better than the median price: {UNUSABLE}"
        return f"{known}: the interval is as wide as errors without that were"

    def _named(self, chosen: NDArray[np.bool_]) -> str:
        names = [self.vocabulary.names_[position] for position in np.flatnonzero(chosen).tolist()]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return f"{', '.join(names[:_MOST_NAMED])}{more}"


@dataclass(frozen=True, slots=True)
class _Place:
    """What is known around one row.

    Attributes:
        distance, eighth: km to the nearest and the eighth known sale; infinite without.
        day: of the nearest; NaN in undated data.
        ordinary, checked: km to the eighth that are ordinary, and up to which estimates were checked.
    """

    distance: float
    eighth: float
    day: float
    ordinary: float
    checked: float

    def reason(self, *, unusable: bool) -> str:
        """The row's place in a sentence."""
        if math.isinf(self.distance):
            return f"no sale is known before the row's date: {UNUSABLE}"
        dated = not math.isnan(self.day)
        nearest = f"the nearest known sale is {_kilometres(self.distance)} away"
        if dated:
            nearest += f", of {date_of(self.day)}"
        if math.isinf(self.eighth):
            nearest += ", and there are fewer than eight"
        else:
            nearest += f", the eighth {_kilometres(self.eighth)}"
        if unusable and self.eighth > self.checked:
            return f"{nearest}; estimates were checked with the eighth up to {_kilometres(self.checked)}: {UNUSABLE}"
        if unusable:
            return f"{nearest}, and sales around it are older than estimates were checked with: {UNUSABLE}"
        if dated and self.eighth <= self.ordinary:
            return f"{nearest}, with too few recent ones around: the interval is as wide as errors in such places were"
        return f"{nearest}, with too few around: the interval is as wide as errors in areas without sales were"


def _is_of_use(reason: str) -> bool:
    return not reason.endswith(UNUSABLE)


def _kilometres(distance: float) -> str:
    return f"{distance:,.0f} km" if distance >= 10 else f"{distance:.1f} km"
