"""`Predictor`: from checked rows to estimates with intervals. REST, Kafka and batch files all go through it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.spec import DatasetSpec
from appraise.datasets.specfile import spec_from_dict
from appraise.datasets.table import Table, days_since_epoch
from appraise.errors import BundleError, RowError
from appraise.features.compiler import ready_compiler
from appraise.features.geometry import curve_order
from appraise.features.pipeline import FeaturePipeline
from appraise.features.state import State
from appraise.features.vocabulary import Values, Vocabulary
from appraise.models.base import Model
from appraise.models.catalogue import model_from_state, model_state
from appraise.models.intervals import FSD_LEVEL, ConformalIntervals
from appraise.models.level import MarketLevel
from appraise.models.support import Support
from appraise.registry.bundle import read_bundle
from appraise.registry.manifest import Manifest
from appraise.serving.cautions import Cautions, Strained
from appraise.serving.estimates import DEFAULT_LEVEL, Estimates, joined
from appraise.serving.limits import Limits
from appraise.serving.rows import RowChecker
from appraise.serving.sales import Comparable, shown_sales
from appraise.serving.threads import in_threads, threads_used

__all__ = ["DEFAULT_LEVEL", "Estimates", "Predictor", "Scale"]

#: The scale that models work on: prices as they are, or their logarithms.
Scale = Literal["linear", "log"]

#: Where little is known the FSD is at least what the 90% interval says of it, were errors normal.
_TAIL_LEVEL, _TAIL_DEVIATIONS = 0.90, 1.645

#: Rows valued at a time by one of several threads: enough to be quick, few enough that all have some.
_PIECE = 256

#: The same where there is one thread; more would not stay in the processor's cache.
_LARGE_PIECE = 1024

#: Rows from which it pays to value those that are near each other together.
_MANY = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A trained model and all that it needs to answer: immutable, and safe to share between threads.

    ```
    from appraise import Predictor

    predictor = Predictor.load("models/california")
    print(predictor.predict([{"MedInc": 8.3, "HouseAge": 41, ...}]).estimate)
    ```

    Attributes:
        spec: the dataset.
        vocabulary, pipeline, model, intervals: the fitted parts.
        level: the market level, None in undated data or where validation found that it does not help.
        scale: the scale the model works on.
        last_sale: day of the newest known sale, since 1970-01-01; NaN in undated data.
        window_days: how long a sale counts as recent.
        ranges: (p, 2) least and greatest value seen in training of each input column, NaN for categories.
        manifest: what is known of the model, None before it is saved.
        support: what was measured of homes unlike those that intervals were calibrated on; None in older bundles.
    """

    spec: DatasetSpec
    vocabulary: Vocabulary
    pipeline: FeaturePipeline
    model: Model
    intervals: ConformalIntervals
    level: MarketLevel | None
    scale: Scale
    ranges: NDArray[np.float64]
    last_sale: float
    window_days: int
    checker: RowChecker
    manifest: Manifest | None = None
    support: Support | None = None
    #: Where the date of a row is, None in undated data: asked twice for each call.
    _date: int | None = field(init=False, repr=False)
    _cautions: Cautions = field(init=False, repr=False)
    _limits: Limits = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Find the date's column, and what rows are held against."""
        date = self.spec.sale_date
        position = None if date is None else self.vocabulary.names_.index(date.name)
        object.__setattr__(self, "_date", position)
        limits = Limits(self.spec, self.support, position, self.last_sale)
        cautions = Cautions(self.spec, self.vocabulary, self.ranges, self.support, limits.last_day)
        object.__setattr__(self, "_limits", limits)
        object.__setattr__(self, "_cautions", cautions)

    @classmethod
    def load(cls, folder: str | Path, *, digest: str | None = None) -> Self:
        """Load a model bundle.

        Args:
            folder: the bundle.
            digest: the digest that the registry has for it.

        Raises:
            BundleError: the bundle is missing, damaged, altered, or of another format.
        """
        ready_compiler()
        bundle = read_bundle(Path(folder), digest=digest)
        parts = bundle.parts
        try:
            spec = spec_from_dict(bundle.manifest.spec)
            return cls(
                spec=spec,
                vocabulary=Vocabulary.from_state(parts["vocabulary"]),
                pipeline=FeaturePipeline.from_state(parts["pipeline"], parts.get("pool")),
                model=model_from_state(parts["model"]),
                intervals=ConformalIntervals.from_state(parts["intervals"]),
                level=MarketLevel.from_state(parts["level"]) if "level" in parts else None,
                scale=bundle.manifest.extra["scale"],
                ranges=parts["vocabulary"].arrays["ranges"],
                last_sale=_or_nan(bundle.manifest.extra["last_sale"]),
                window_days=bundle.manifest.extra["window_days"],
                checker=RowChecker(spec),
                manifest=bundle.manifest,
                support=Support.from_state(parts["support"]) if "support" in parts else None,
            )
        except KeyError as error:
            raise BundleError(
                f"the model bundle {folder} has no {error.args[0]}",
                hint="it was written by another version of Appraise: train the model again",
            ) from error

    def parts(self) -> dict[str, State]:
        """What a bundle keeps of the predictor, by part; the pool and the market level are parts of their own."""
        vocabulary = self.vocabulary.state()
        parts = {
            "vocabulary": State(data=vocabulary.data, arrays={**vocabulary.arrays, "ranges": self.ranges}),
            "pipeline": self.pipeline.state(),
            "model": model_state(self.model),
            "intervals": self.intervals.state(),
        }
        pool = self.pipeline.pool_state()
        if pool is not None:
            parts["pool"] = pool
        if self.level is not None:
            parts["level"] = self.level.state()
        if self.support is not None:
            parts["support"] = self.support.state()
        return parts

    def predict(self, rows: Sequence[Mapping[str, Any]], *, level: float = DEFAULT_LEVEL) -> Estimates:
        """Value rows.

        Args:
            rows: n rows of values by column name; a missing value is None or left out. A row of dated data without its
                date is valued as of today.
            level: nominal level of the intervals, in (0, 1).

        Raises:
            RowError: rows that are refused, every refused field named.
        """
        problems = self.checker.problems(rows)
        if problems:
            raise RowError(tuple(problems), hint="correct these fields; nothing was valued")
        return self.value(self.vocabulary.encode_rows(rows), level=level)

    def predict_columns(self, columns: Mapping[str, Values], *, level: float = DEFAULT_LEVEL) -> Estimates:
        """Value rows that were checked already, given as columns of equal length."""
        return self.value(self.vocabulary.encode(columns), level=level)

    def value(self, table: Table, *, level: float = DEFAULT_LEVEL) -> Estimates:
        """Value encoded rows; the one path under all others.

        Many rows are valued in pieces, by as many threads as there are processors.

        Raises:
            ValueError: a level that is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"a level of {level}; it lies between 0 and 1, such as 0.9")
        if len(table) <= _PIECE:
            return self._value_piece(table, level)
        order = self._order(table)
        ordered = table if order is None else table.rows(order)
        size = _LARGE_PIECE if threads_used() == 1 else _PIECE
        pieces = [ordered.rows(slice(start, start + size)) for start in range(0, len(table), size)]
        estimates = joined(in_threads(lambda piece: self._value_piece(piece, level), pieces))
        return estimates if order is None else estimates.take(np.argsort(order))

    def _order(self, table: Table) -> NDArray[np.int64] | None:
        """An order in which rows near each other follow each other, for they ask for the same comparables.

        The sales that one row's search touched are still in the processor's cache for the next: a quarter of the time
        of comparables. None where there are few rows, no places or no comparables.
        """
        latitude, longitude = self.spec.latitude, self.spec.longitude
        if latitude is None or longitude is None or len(table) < _MANY or self.pipeline.comparables_ is None:
            return None
        return curve_order(table.column(latitude.name), table.column(longitude.name))

    def _value_piece(self, table: Table, level: float) -> Estimates:
        table = self.dated(table)
        features = self.pipeline.transform(table)
        centre = self.model.predict(features)
        spread = self.intervals.scale(features, centre)
        if self.level is not None:
            centre = centre + self.level_shift(table, centre)
        stale = self._stale(table)
        half = spread * self.intervals.quantiles(level, stale)
        half_fsd = spread * self.intervals.quantiles(FSD_LEVEL, stale)
        outside, unusual = self._cautions.find(table.values, features)
        strained = self._cautions.strained(unusual, table, features, self.pipeline)
        if strained is not None:
            half_tail = spread * self.intervals.quantiles(_TAIL_LEVEL, stale)
            self._widen(strained, table, spread, (half, half_fsd, half_tail), (level, FSD_LEVEL, _TAIL_LEVEL))
            # Errors where little is known have heavy tails, of which the middle 68% say too little.
            half_fsd[strained.rows] = np.maximum(half_fsd, half_tail / _TAIL_DEVIATIONS)[strained.rows]
        ends, found = self._limits.ends(centre, half, half_fsd, table.values, logarithmic=self.scale == "log")
        held = {}
        if strained is not None or len(found):
            held = self._limits.hold(table.values, ends, found, strained, level)
        plain = strained is None and not len(outside) and not held
        warnings = ((),) * len(table) if plain else self._cautions.warnings(table.values, outside, strained, held)
        return Estimates(ends.estimate, ends.lower, ends.upper, level, ends.fsd, warnings)

    def _widen(
        self,
        strained: Strained,
        table: Table,
        spread: NDArray[np.float64],
        halves: Sequence[NDArray[np.float64]],
        levels: Sequence[float],
    ) -> None:
        """Make half widths (n,) on the model's scale, one array a level, at least what strained rows' errors were."""
        assert self.support is not None  # noqa: S101  without it no row is strained
        rows = strained.rows
        wide = self._spread_without(strained, table, spread)[rows]
        for half, level in zip(halves, levels, strict=True):
            quantiles = self.support.quantiles(level, strained.place, strained.inputs)
            half[rows] = np.maximum(half[rows], wide * quantiles)

    def _spread_without(self, strained: Strained, table: Table, spread: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scale (n,) of errors, where a value is nothing like those seen at least what it is without the value.

        Trees take such a value for the greatest or least that they know, and are as sure of it.
        """
        chosen = strained.unheard.any(axis=1)
        if not chosen.any():
            return spread
        rows = strained.rows[chosen]
        values = np.where(strained.unheard[chosen], self.vocabulary.nothing(), table.values[rows])
        features = self.pipeline.transform(Table(table.names, values))
        wider = spread.copy()
        wider[rows] = np.maximum(spread[rows], self.intervals.scale(features, self.model.predict(features)))
        return wider

    def dated(self, table: Table) -> Table:
        """The table with today's date where a row has none."""
        if self._date is None:
            return table
        undated = np.isnan(table.values[:, self._date])
        if not undated.any():
            return table
        values = table.values.copy()
        values[undated, self._date] = days_since_epoch(dt.datetime.now(tz=dt.UTC).date())
        return Table(table.names, values)

    def _stale(self, table: Table) -> NDArray[np.bool_] | None:
        """Whether the newest known sale is older than the market level's window, for each row; None where for none."""
        if self._date is None:
            return None
        stale: NDArray[np.bool_] = table.values[:, self._date] - self.last_sale > self.window_days
        return stale if stale.any() else None

    def level_shift(self, table: Table, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the market level adds on the model's scale to predictions (n,) of dated rows, shape (n,)."""
        if self.level is None or self._date is None:
            return np.zeros(len(centre))
        level = self.level.at(table.values[:, self._date])
        return level if self.scale == "log" else centre * np.expm1(level)

    def with_sales(self, columns: Mapping[str, Values], prices: NDArray[np.float64]) -> Self:
        """A predictor whose pool of comparable sales and market level know these sales too; the trees are the same.

        In dated data an estimate uses a sale only from `recording_lag` days after it, whenever it was added.

        Args:
            columns: input columns of n sales, as for `predict_columns`.
            prices: (n,) what they fetched, in the target's unit.
        """
        table = self.vocabulary.encode(columns)
        target = self.to_scale(prices)
        pipeline = self.pipeline.with_sales(table, prices, target)
        known = replace(self, pipeline=pipeline)
        if self.spec.sale_date is None:
            return known
        newest = float(np.nanmax(table.column(self.spec.sale_date.name), initial=self.last_sale))
        known = replace(known, last_sale=newest)
        if self.level is None:
            return known
        residuals = self._log_residuals(known, table, prices)
        return replace(known, level=self.level.with_sales(table.column(self.spec.sale_date.name), residuals))

    def _log_residuals(self, known: Predictor, table: Table, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log price over estimate without level, each from the sales before it."""
        centre = known.model.predict(known.pipeline.transform(table))
        estimate = np.exp(centre) if self.scale == "log" else np.maximum(centre, 1e-9)
        residuals: NDArray[np.float64] = np.log(np.maximum(prices, 1e-9) / estimate)
        return residuals

    def to_scale(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prices on the model's scale."""
        return np.log(prices) if self.scale == "log" else np.asarray(prices, np.float64)

    def comparables(self, row: Mapping[str, Any], *, count: int = 5) -> tuple[Comparable, ...]:
        """The known sales nearest to one checked row in place and likeness, nearest first."""
        if self.pipeline.comparables_ is None:
            return ()
        table = self.dated(self.vocabulary.encode_rows([row]))
        pool = self.pipeline.comparables_.pool_
        return shown_sales(self.spec, self.vocabulary, pool, self.pipeline.nearest_sales(table, count))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else float(value)
