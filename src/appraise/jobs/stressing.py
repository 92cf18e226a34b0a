"""How estimates fare where little is known: homes of areas held out of training, and homes with inputs taken away.

`docs/decisions/0016-support.md` says what was measured, and why these rows and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.spec import DatasetSpec
from appraise.datasets.splitting import fold_of_blocks, spatial_blocks
from appraise.datasets.table import Table
from appraise.evaluation.provenance import capped_share
from appraise.features.pipeline import FeaturePipeline
from appraise.features.vocabulary import UNSEEN, Vocabulary
from appraise.jobs.fitted import Rows
from appraise.jobs.progress import Task
from appraise.models.base import TrainingData
from appraise.models.support import Ladder, Support, market_quantiles, place_severity
from appraise.models.trees import CatBoost, TreeModel

#: Share of the training rows that count as no ordinary ones in each respect.
_RARE = 0.005

#: Areas are held out in so many folds.
FOLDS = 4

#: Rows that a rung of scores, or a distance that counts as checked, needs.
_LEAST_ROWS = 30

#: Where rungs of the place begin: beyond the ordinary at all, and far beyond it.
_PLACE_EDGES = np.array([0.0, 0.5])

#: By how much errors grow where rungs of the inputs begin.
_INPUT_EDGES = np.array([0.02, 0.10, 0.30, 1.0, 3.0])

#: Width of the bins of log distance in which estimates are held against the market's median.
_BIN = 0.25

#: Validation rows that inputs are taken from, and random sets of inputs that are taken.
_MASKED_ROWS = 1000
_MASKS = 16

_NEAR = ("near_log_distance_8", "near_log_distance_30")


@dataclass(frozen=True, slots=True)
class _Stressed:
    """n rows that were made hard, on the model's scale.

    Attributes:
        near: (n, 2) log distances of `_NEAR`; (n, 0) without places.
        unknown: (n, p) inputs that were taken away, or have a level that was held out.
        error, naive: (n,) absolute errors of the estimate, and of the median price.
        scores: (n,) errors over what the scale model expects.
    """

    near: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    error: NDArray[np.float64]
    naive: NDArray[np.float64]
    scores: NDArray[np.float64]

    def rows(self, kept: Any) -> _Stressed:
        """Some of them."""
        return _Stressed(self.near[kept], self.unknown[kept], self.error[kept], self.naive[kept], self.scores[kept])


@dataclass(frozen=True, slots=True)
class Stress:
    """Makes rows hard and sees how a quick model values them.

    Attributes:
        spec, vocabulary: the dataset.
        train, validation: its rows.
        pipeline: fitted on the training rows, which are its pool.
        known: the pipeline that the validation rows' features in `data` come from.
        data: features and prices on the model's scale.
        scale_model: what errors are expected.
        parameters, iterations: of the quick model.
    """

    spec: DatasetSpec
    vocabulary: Vocabulary
    train: Rows
    validation: Rows
    pipeline: FeaturePipeline
    known: FeaturePipeline
    data: TrainingData
    scale_model: TreeModel
    parameters: dict[str, Any]
    iterations: int

    def support(self, task: Task) -> Support:
        """What was measured; advances the task by `FOLDS` + 1."""
        near = self._near()
        areas = self._areas(near, task)
        whole = self._grown(np.arange(len(self.data.X)))
        masked = _joined([*self._masked(whole, near)])
        task.advance()
        ordinary = np.concatenate((self.data.X[self._settled()][:, near], self.data.X_val[:, near]))
        farthest, least_gap, checked, place = _place(ordinary, areas)
        base = max(float(np.abs(self.data.y_val - whole.predict(self.data.X_val)).mean()), 1e-12)
        weights = _weights(masked, base)
        placed = place is not None
        if areas is not None and not placed:
            # Without places a home of a new area is known by a level that is new.
            held = areas.unknown.any(axis=1)
            areas = areas.rows(held)
            if len(areas.error):
                lost = float(areas.error.mean()) / base - 1.0
                weights = np.where(areas.unknown.any(axis=0), np.maximum(weights, lost), weights)
            masked = _joined([masked, areas])
        lost_by = masked.unknown @ weights
        prices = np.concatenate((self.train.prices, self.validation.prices))
        missing = np.isnan(np.concatenate((self.train.table.values, self.validation.table.values)))
        usual = missing.mean(axis=0) >= _RARE
        return Support(
            near=near if placed else near[:0],
            farthest=farthest,
            least_gap=least_gap,
            checked=checked,
            place=place,
            weights=weights,
            usual=usual,
            most_missing=int(np.quantile(missing[:, usual].sum(axis=1), 1.0 - _RARE, method="higher")),
            inputs=Ladder.of(_INPUT_EDGES, lost_by, masked.scores, least=_LEAST_ROWS),
            least_known=_least_known(lost_by, masked),
            market=market_quantiles(prices),
            cap=float(prices.max()) if capped_share(prices) else np.inf,
            horizon=self._horizon(),
        )

    def _horizon(self) -> float:
        """Days that validation reaches beyond the last sale that training knows; infinite in undated data."""
        date = self.spec.sale_date
        if date is None:
            return np.inf
        last, end = (
            np.fmax.reduce(rows.table.column(date.name), initial=np.nan) for rows in (self.train, self.validation)
        )
        return float(end - last) if end > last else np.inf

    def _near(self) -> NDArray[np.int64]:
        names = self.pipeline.output_names_
        return np.array([names.index(name) for name in _NEAR if name in names], np.int64)

    def _settled(self) -> NDArray[np.bool_]:
        """Which training rows know many sales: all of undated data, of dated data the later half."""
        date = self.spec.sale_date
        days = np.empty(0) if date is None else self.train.table.column(date.name)
        known = days[~np.isnan(days)]
        if not len(known):
            return np.ones(len(self.train), np.bool_)
        settled: NDArray[np.bool_] = days >= np.median(known)
        return settled

    def _grown(self, rows: NDArray[np.int64]) -> TreeModel:
        model = CatBoost(self.parameters)
        model.grow(self.data, self.data.X[rows], self.data.y[rows], iterations=self.iterations)
        return model

    def _areas(self, near: NDArray[np.int64], task: Task) -> _Stressed | None:
        """Training rows valued without the sales of their area; None where there are no areas."""
        folds, settled = self._folds(), self._settled()
        parts = []
        for fold in range(FOLDS):
            inside, outside = np.flatnonzero((folds == fold) & settled), np.flatnonzero(folds != fold)
            if len(inside) and len(outside) >= _LEAST_ROWS:
                parts.append(self._area(inside, outside, near))
            task.advance()
        return _joined(parts) if parts else None

    def _folds(self) -> NDArray[np.int64]:
        """The fold of each training row's area: blocks of the map, or levels of the category that has most of them."""
        table = self.train.table
        latitude, longitude = self.spec.latitude, self.spec.longitude
        if latitude is not None and longitude is not None:
            blocks = spatial_blocks(table.column(latitude.name), table.column(longitude.name))
            return fold_of_blocks(blocks, folds=FOLDS)
        levels = {name: len(known) for name, known in self.vocabulary.levels_.items()}
        name = max(levels, key=levels.__getitem__, default=None)
        if name is None or levels[name] < FOLDS:
            return np.full(len(table), -1)
        codes = table.column(name)
        return fold_of_blocks(np.where(np.isnan(codes), -1, codes).astype(np.int64), folds=FOLDS)

    def _area(self, inside: NDArray[np.int64], outside: NDArray[np.int64], near: NDArray[np.int64]) -> _Stressed:
        table, y = self.train.table, self.data.y
        rest = table.rows(outside)
        pipeline = self.pipeline.with_pool(rest, self.train.prices[outside], y[outside])
        values = table.values[inside].copy()
        unknown = np.zeros(values.shape, np.bool_)
        for name in self.vocabulary.levels_:
            position = table.names.index(name)
            codes = values[:, position]
            unknown[:, position] = ~np.isnan(codes) & ~np.isin(codes, rest.values[:, position])
        values[unknown] = UNSEEN
        X = pipeline.transform(Table(table.names, values))
        return self._valued(self._grown(outside), X, y[inside], near, unknown, float(np.median(y[outside])))

    def _masked(self, model: TreeModel, near: NDArray[np.int64]) -> Iterator[_Stressed]:
        """Validation rows without one input, without all of them, without all optional ones, and without some."""
        table, y = self.validation.table, self.data.y_val
        chosen = np.random.RandomState(self.data.seed).permutation(len(y))[:_MASKED_ROWS]
        rows, y = table.rows(chosen), y[chosen]
        median = float(np.median(self.data.y))
        for taken in self._masks():
            unknown = taken & ~np.isnan(rows.values)
            values = np.where(unknown, self.vocabulary.nothing(), rows.values)
            X = self.known.transform(Table(rows.names, values))
            yield self._valued(model, X, y, near, unknown, median)

    def _masks(self) -> Iterator[NDArray[np.bool_]]:
        names = self.vocabulary.names_
        date = self.spec.sale_date
        able = np.array([date is None or name != date.name for name in names])
        optional = np.array([self.spec.column(name).optional for name in names])
        for position in np.flatnonzero(able):
            yield np.arange(len(names)) == position
        yield able
        if (optional & able).any():
            yield optional & able
        random = np.random.RandomState(self.data.seed)
        for share in np.linspace(0.1, 0.9, _MASKS):
            yield able & (random.uniform(size=len(names)) < share)

    def _valued(
        self,
        model: TreeModel,
        X: NDArray[np.float64],
        y: NDArray[np.float64],
        near: NDArray[np.int64],
        unknown: NDArray[np.bool_],
        median: float,
    ) -> _Stressed:
        estimate = model.predict(X)
        error = np.abs(y - estimate)
        expected = np.exp(self.scale_model.predict(np.concatenate((X, estimate[:, None]), axis=1)))
        return _Stressed(X[:, near], unknown, error, np.abs(y - median), error / expected)


def _joined(parts: list[_Stressed]) -> _Stressed:
    return _Stressed(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("near", "unknown", "error", "naive", "scores")
        )
    )


def _place(ordinary: NDArray[np.float64], areas: _Stressed | None) -> tuple[float, float, float, Ladder | None]:
    """Farthest distance and least gap that are ordinary, how far was checked, and the scores beyond.

    Args:
        ordinary: (n, 2) log distances of training and calibration rows, as of `_Stressed`.
        areas: rows of areas that were held out.
    """
    nothing = (np.inf, -np.inf, np.inf, None)
    ordinary = ordinary[~np.isnan(ordinary).any(axis=1)]
    if areas is None or not ordinary.size:
        return nothing
    farthest = float(np.quantile(ordinary[:, 0], 1.0 - _RARE))
    least_gap = float(np.quantile(ordinary[:, 1] - ordinary[:, 0], _RARE))
    known = areas.rows(~np.isnan(areas.near).any(axis=1))
    severity = place_severity(known.near, farthest, least_gap)
    ladder = Ladder.of(_PLACE_EDGES, severity, known.scores, least=_LEAST_ROWS)
    if ladder is None:
        # In few rows hardly any lies beyond the ordinary: the most remote stand for those that would.
        remote = np.argsort(-severity, kind="stable")[:_LEAST_ROWS]
        ladder = Ladder.of(_PLACE_EDGES[:1], np.ones(len(remote)), known.scores[remote], least=_LEAST_ROWS)
    if ladder is None:
        return nothing
    return farthest, least_gap, _checked(known, farthest), ladder


def _checked(areas: _Stressed, farthest: float) -> float:
    """The log distance up to which estimates in held-out areas were better than the median price."""
    checked = farthest
    while True:
        inside = (areas.near[:, 0] > checked) & (areas.near[:, 0] <= checked + _BIN)
        if inside.sum() < _LEAST_ROWS or areas.error[inside].mean() >= areas.naive[inside].mean():
            return checked
        checked += _BIN


def _weights(masked: _Stressed, base: float) -> NDArray[np.float64]:
    """By how much errors grow, as a share, where one input is unknown, shape (p,)."""
    alone = masked.unknown.sum(axis=1) == 1
    weights = np.zeros(masked.unknown.shape[1])
    for position in range(len(weights)):
        rows = alone & masked.unknown[:, position]
        if rows.any():
            weights[position] = max(float(masked.error[rows].mean()) / base - 1.0, 0.0)
    return weights


def _least_known(lost: NDArray[np.float64], masked: _Stressed) -> float:
    """The loss from which estimates were no better than the median price; infinite where they always were."""
    for start, stop in zip(_INPUT_EDGES, [*_INPUT_EDGES[1:], np.inf], strict=True):
        inside = (lost > start) & (lost <= stop)
        if inside.sum() >= _LEAST_ROWS and masked.error[inside].mean() >= masked.naive[inside].mean():
            return float(start)
    return np.inf
