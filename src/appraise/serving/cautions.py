"""Which rows are no ordinary ones, how much wider their intervals are, and what a reader is told of them."""

from __future__ import annotations

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
_NO_NUMBER = np.empty(0)
_NO_FLAG = np.empty(0, np.bool_)

#: Names of inputs in one sentence; of more it says how many.
_MOST_NAMED = 5

_UNUSABLE = "do not use this estimate"


@dataclass(frozen=True, slots=True, eq=False)
class Cautioned:
    """What is to be said of k rows that are no ordinary ones.

    Attributes:
        rows: (k,) where they are.
        warnings: of each.
        strained: (s,) where the rows are whose intervals are widened.
        place, inputs: (s,) their severities, at most 0 where ordinary.
        unheard: (s, p) values that are nothing like those seen; what the model makes of them says nothing.
        unusable: (s,) whether the estimate is no better than knowing nothing of the home.
    """

    rows: NDArray[np.int64]
    warnings: tuple[tuple[str, ...], ...]
    strained: NDArray[np.int64]
    place: NDArray[np.float64]
    inputs: NDArray[np.float64]
    unheard: NDArray[np.bool_]
    unusable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Cautions:
    """Finds the rows of a predictor that are no ordinary ones.

    Attributes:
        spec, vocabulary, ranges: of the predictor.
        support: what was measured of such rows; None in a bundle that does not know, whose intervals stay as they are.
    """

    spec: DatasetSpec
    vocabulary: Vocabulary
    ranges: NDArray[np.float64]
    support: Support | None
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

    def find(self, values: NDArray[np.float64], features: NDArray[np.float64]) -> NDArray[np.int64]:
        """Which of n rows are no ordinary ones; for each of the others nothing more has to be asked."""
        rows: NDArray[np.int64] = unusual_rows(values, self.ranges, *self._limits, features, *self._near)
        return rows

    def of(
        self, rows: NDArray[np.int64], table: Table, features: NDArray[np.float64], pipeline: FeaturePipeline
    ) -> Cautioned:
        """What is to be said of those rows.

        Args:
            rows: (k,) as found.
            table, features: all n rows.
            pipeline: the predictor's, whose pool knows the sales.
        """
        values = table.values[rows]
        told: list[tuple[str, ...]] = [()] * len(rows)
        for k in np.flatnonzero(is_outside(values, self.ranges).any(axis=1)).tolist():
            told[k] = range_warnings(values[k], self.ranges, self.vocabulary)
        support = self.support
        if support is None:
            return Cautioned(rows, tuple(told), _NONE_NEAR, _NO_NUMBER, _NO_NUMBER, values[:0] > 0, _NO_FLAG)
        place = support.severity_of_place(features[rows])
        beyond = support.is_beyond(features[rows])
        unheard = is_outside(values, self._far)
        unknown = support.unknown(values, unheard)
        # Not a matrix product, whose last bit depends on how many rows there are.
        inputs = (unknown * support.weights).sum(axis=1)
        useless = inputs > support.least_known
        strained = (place > 0) | (inputs > support.first_loss)
        for k in np.flatnonzero(strained).tolist():
            sentences = list(told[k])
            if place[k] > 0:
                nearest = table.rows(slice(int(rows[k]), int(rows[k]) + 1))
                sentences.append(self._of_place(nearest, pipeline, beyond=bool(beyond[k])))
            if inputs[k] > support.first_loss:
                sentences.append(self._of_inputs(unknown[k], useless=bool(useless[k])))
            told[k] = tuple(sentences)
        return Cautioned(
            rows,
            tuple(told),
            rows[strained],
            place[strained],
            inputs[strained],
            unheard[strained],
            (beyond | useless)[strained],
        )

    def _of_place(self, row: Table, pipeline: FeaturePipeline, *, beyond: bool) -> str:
        support, comparables = self.support, pipeline.comparables_
        assert support is not None  # noqa: S101  without it no place is told of
        assert comparables is not None  # noqa: S101  the distances are theirs
        found = comparables.nearest_in_place(row)
        if found is None:
            return f"no sale is known before the row's date: {_UNUSABLE}"
        distance, day = found
        of = "" if np.isnan(day) else f", of {date_of(day)}"
        nearest = f"the nearest known sale is {_kilometres(distance)} away{of}"
        if beyond and distance <= comparables.kilometres(support.checked) and not np.isnan(day):
            return f"{nearest}: what is known of the place is older than estimates were checked for; {_UNUSABLE}"
        if beyond:
            checked = _kilometres(comparables.kilometres(support.checked))
            return f"{nearest}; estimates were checked up to {checked} from comparable sales: {_UNUSABLE}"
        return f"{nearest}, with too few others around: the interval is as wide as errors in areas without sales were"

    def _of_inputs(self, unknown: NDArray[np.bool_], *, useless: bool) -> str:
        names = [self.vocabulary.names_[position] for position in np.flatnonzero(unknown).tolist()]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        known = f"estimated without knowing {', '.join(names[:_MOST_NAMED])}{more}"
        if useless:
            return f"{known}, which was no better than the median price: {_UNUSABLE}"
        return f"{known}: the interval is as wide as errors without that were"


def _kilometres(distance: float) -> str:
    return f"{distance:,.0f} km" if distance >= 10 else f"{distance:.1f} km"
