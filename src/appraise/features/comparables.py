"""Comparable sales: what the nearest earlier sales fetched, what they are like, and what they say of this home.

A sale is near in one of several metrics: in place alone, in place and likeness, mostly in likeness. Each metric gives
the neighbours' prices at several scales, their quantiles, how far away they are, and local planes ("the price at my
attributes, here"). Which of these pay was found by trial: `docs/decisions/0001-comparables.md`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
from appraise.features.dates import YEAR
from appraise.features.geometry import project
from appraise.features.kernels import ATTRIBUTES, DAY, PRICE, X, Y, summarise
from appraise.features.neighbours import Tree
from appraise.features.ratios import rank_correlation
from appraise.features.state import State

#: Attributes that take part in likeness, context and planes: the ones whose ranks follow the price most closely.
MAX_ATTRIBUTES = 8

#: A sale's place is measured against the median distance to this neighbour.
_REFERENCE_NEIGHBOUR = 32

_PROBABILITIES = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Metric:
    """A way of measuring how near a sale is, and what to make of the nearest.

    Attributes:
        name: prefix of its features.
        reach: the distance that counts as one, in multiples of the dataset's typical distance between neighbours;
            0 leaves place out.
        likeness: how far one standard deviation of an attribute counts, times the attribute's own weight.
        years: how far a year of age counts in dated data.
        neighbours: how many are sought.
        mean_sizes, quantile_sizes, distance_sizes: numbers of neighbours of the means, quantiles and distances.
        bandwidths: of Gaussian means, in the metric's unit.
        context_sizes: numbers of neighbours of the context means.
        place_planes, attribute_planes: numbers of neighbours of the local planes.
    """

    name: str
    reach: float
    likeness: float
    years: float
    neighbours: int
    mean_sizes: tuple[int, ...]
    quantile_sizes: tuple[int, ...]
    distance_sizes: tuple[int, ...]
    bandwidths: tuple[float, ...] = ()
    context_sizes: tuple[int, ...] = ()
    place_planes: tuple[int, ...] = ()
    attribute_planes: tuple[int, ...] = ()


FAST: tuple[Metric, ...] = (
    Metric(
        "near", reach=1.0, likeness=0.0, years=0.5, neighbours=32,
        mean_sizes=(3, 5, 10, 20, 32), quantile_sizes=(10, 30), distance_sizes=(8, 30),
        bandwidths=(0.125, 0.25, 0.5, 1.25), context_sizes=(8, 30), place_planes=(12, 30), attribute_planes=(32,),
    ),
    Metric(
        "alike", reach=2.5, likeness=0.6, years=0.5, neighbours=32,
        mean_sizes=(3, 5, 10, 20, 32), quantile_sizes=(10, 30), distance_sizes=(8, 30), attribute_planes=(32,),
    ),
    Metric(
        "like", reach=15.0, likeness=0.9, years=0.5, neighbours=16,
        mean_sizes=(3, 5, 10, 16), quantile_sizes=(10,), distance_sizes=(8,),
    ),
)  # fmt: skip

BEST: tuple[Metric, ...] = (
    Metric(
        "near", reach=1.0, likeness=0.0, years=0.5, neighbours=100,
        mean_sizes=(1, 3, 5, 10, 20, 30), quantile_sizes=(10, 30), distance_sizes=(8, 30, 100),
        bandwidths=(0.125, 0.25, 0.5, 1.25, 2.5, 5.0), context_sizes=(8, 30, 100), place_planes=(12, 30),
        attribute_planes=(60, 100),
    ),
    Metric(
        "alike", reach=2.5, likeness=0.6, years=0.5, neighbours=64,
        mean_sizes=(1, 3, 5, 10, 20, 30), quantile_sizes=(10, 30), distance_sizes=(8, 30), attribute_planes=(60,),
    ),
    Metric(
        "like", reach=15.0, likeness=0.9, years=0.5, neighbours=32,
        mean_sizes=(1, 3, 5, 10, 20, 30), quantile_sizes=(10, 30), distance_sizes=(8, 30),
    ),
)  # fmt: skip

_SETS = {"fast": FAST, "best": BEST}


@dataclass(frozen=True, slots=True)
class SalesPool:
    """The known sales: a part of its own beside the trees, replaceable in one reference.

    Attributes:
        table: the sales as they were encoded, p columns, for display.
        prices: (n,) prices in money.
        records: (n, 4 + m) price on the model's scale, day, x and y in km, and m standardised attributes.
        trees: one tree a metric.
    """

    table: Table
    prices: NDArray[np.float64]
    records: NDArray[np.float64]
    trees: tuple[Tree, ...]

    def __len__(self) -> int:
        return len(self.prices)


class Comparables(Transformation):
    """Features made of comparable sales; a training row is never its own comparable."""

    kind = "comparables"

    pool_: SalesPool

    def __init__(self, metrics: str = "fast") -> None:
        self.metrics = metrics

    def fit(self, table: Table, context: FitContext) -> Self:
        """Learn scales and weights, and make the training rows the pool."""
        self._learn(table, context)
        self.pool_ = self.with_pool(table, np.full(len(table), np.nan), context.target).pool_
        return self

    def fit_transform(self, table: Table, context: FitContext) -> NDArray[np.float64]:
        """Fit; features of each training row from the other, and in dated data from earlier, sales."""
        return self.fit(table, context).leave_one_out()

    def leave_one_out(self) -> NDArray[np.float64]:
        """Features of the pool's own sales, each from the others."""
        return self._summarise(self.pool_.records, np.arange(len(self.pool_)))

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Features of shape (n, len(output_names_)) from the pool's sales that are known at the row's date."""
        return self._summarise(self.records(table), np.full(len(table), -1))

    def with_pool(self, table: Table, prices: NDArray[np.float64], target: NDArray[np.float64]) -> Self:
        """A copy of this transformation whose pool is these n sales.

        Args:
            table: the sales.
            prices: (n,) in money, for display.
            target: (n,) on the model's scale.
        """
        records = self.records(table)
        records[:, PRICE] = target
        return self._with(table, prices, records)

    def with_sales(self, table: Table, prices: NDArray[np.float64], target: NDArray[np.float64]) -> Self:
        """A copy whose pool knows these sales as well; this one is unchanged."""
        records = self.records(table)
        records[:, PRICE] = target
        return self._with(
            Table.stack((self.pool_.table, table)),
            np.concatenate((self.pool_.prices, prices)),
            np.concatenate((self.pool_.records, records)),
        )

    def _with(self, table: Table, prices: NDArray[np.float64], records: NDArray[np.float64]) -> Self:
        days = records[:, DAY] if self.dated_ else None
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.pool_ = SalesPool(
            table, prices, records, tuple(Tree.build(self._points(records, metric), days) for metric in self.metrics_)
        )
        return other

    def _learn(self, table: Table, context: FitContext) -> None:
        self.dated_ = context.sale_date is not None
        self.placed_ = context.latitude is not None and context.longitude is not None
        self.recording_lag_ = context.recording_lag
        special = {context.latitude, context.longitude, context.sale_date}
        candidates = sorted(set(table.names) - special - set(context.categories))
        strength = {name: abs(rank_correlation(table.column(name), context.target)) for name in candidates}
        varied = [name for name in candidates if np.nanstd(table.column(name)) > 0]
        self.attributes_ = tuple(sorted(varied, key=lambda name: -strength[name])[:MAX_ATTRIBUTES])
        self._place = tuple(name for name in (context.latitude, context.longitude) if name and self.placed_)
        self._date = (context.sale_date,) if context.sale_date is not None else ()
        self.input_names_ = (*self._date, *self._place, *self.attributes_)
        self.weights_ = np.array([0.3 + strength[name] for name in self.attributes_])
        values = table.select(self.attributes_)
        self.fill_ = np.array([np.nanmedian(column) for column in values.T])
        values = np.where(np.isnan(values), self.fill_, values)
        self.log_shift_ = np.array([_log_shift(column) for column in values.T])
        values = self._logged(values)
        self.centre_ = values.mean(axis=0)
        self.scale_ = values.std(axis=0)
        self.origin_ = (0.0, 0.0)
        self.reference_ = 1.0
        metrics = _SETS[self.metrics]
        if self.placed_:
            place = table.select(self._place)
            middle = np.nanmedian(place, axis=0)
            self.origin_ = (float(middle[0]), float(middle[1]))
            self.reference_ = _reference_distance(self.records(table)[:, X : Y + 1])
        else:
            metrics = tuple(
                replace(metric, place_planes=(), bandwidths=()) for metric in metrics if metric.likeness > 0
            )
        self.metrics_ = metrics
        self._name()

    def _name(self) -> None:
        names: list[str] = []
        for metric in self.metrics_:
            names += [f"{metric.name}_{part}" for part in _feature_names(metric, self.attributes_, self.dated_)]
        self.output_names_ = tuple(names)

    def _logged(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        shifted = self.log_shift_ > 0
        if not shifted.any():
            return values
        out = values.copy()
        # A request may name a size below anything seen in training, where the logarithm has no value.
        out[:, shifted] = np.log(np.maximum(values[:, shifted], 0.0) + self.log_shift_[shifted])
        return out

    def records(self, table: Table) -> NDArray[np.float64]:
        """Rows in the layout of the pool's records, shape (n, 4 + m), prices zero."""
        out = np.zeros((len(table), ATTRIBUTES + len(self.attributes_)))
        if self.dated_:
            out[:, DAY] = table.select(self._date)[:, 0]
        if self.placed_:
            place = table.select(self._place)
            place = np.where(np.isnan(place), self.origin_, place)
            out[:, X : Y + 1] = project(place[:, 0], place[:, 1], self.origin_)
        values = table.select(self.attributes_)
        values = np.where(np.isnan(values), self.fill_, values)
        out[:, ATTRIBUTES:] = np.clip((self._logged(values) - self.centre_) / self.scale_, -4.0, 4.0)
        return out

    def _points(self, records: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
        parts: list[NDArray[np.float64]] = []
        if self.placed_ and metric.reach > 0:
            parts.append(records[:, X : Y + 1] / (metric.reach * self.reference_))
        if metric.likeness > 0:
            parts.append(records[:, ATTRIBUTES:] * (metric.likeness * self.weights_))
        if self.dated_ and metric.years > 0:
            parts.append(records[:, DAY : DAY + 1] * (metric.years / YEAR))
        return np.concatenate(parts, axis=1)

    def _summarise(self, own: NDArray[np.float64], exclude: NDArray[np.int64]) -> NDArray[np.float64]:
        out = np.empty((len(own), len(self.output_names_)))
        before = own[:, DAY] - (self.recording_lag_ - 1) if self.dated_ else np.full(len(own), np.inf)
        at = 0
        for metric, tree in zip(self.metrics_, self.pool_.trees, strict=True):
            width = len(_feature_names(metric, self.attributes_, self.dated_))
            summarise(
                *tree.arrays(), self.pool_.records, self._points(own, metric).astype(np.float32), own, before, exclude,
                metric.neighbours, *_arrays(metric), self.dated_, out[:, at : at + width],
            )  # fmt: skip
            at += width
        return out

    def state(self) -> State:
        """Scales and weights, without the pool, which is saved as a part of its own by `pool_state`."""
        return State(
            data={
                "metrics": self.metrics,
                "metrics_": [asdict(metric) for metric in self.metrics_],
                "dated": self.dated_,
                "placed": self.placed_,
                "recording_lag": self.recording_lag_,
                "attributes": list(self.attributes_),
                "place": list(self._place),
                "date": list(self._date),
                "origin": list(self.origin_),
                "reference": self.reference_,
            },
            arrays={
                "weights": self.weights_,
                "fill": self.fill_,
                "log_shift": self.log_shift_,
                "centre": self.centre_,
                "scale": self.scale_,
            },
        )

    def pool_state(self) -> State:
        """The pool: tables, prices and records; the trees are rebuilt from them."""
        pool = self.pool_
        return State(
            data={"names": list(pool.table.names)},
            arrays={"values": pool.table.values, "prices": pool.prices, "records": pool.records},
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`; call `with_pool_state` before using it."""
        data, arrays = state.data, state.arrays
        self = cls(data["metrics"])
        self.metrics_ = tuple(_metric(entry) for entry in data["metrics_"])
        self.dated_, self.placed_, self.recording_lag_ = data["dated"], data["placed"], data["recording_lag"]
        self.attributes_, self._place, self._date = tuple(data["attributes"]), tuple(data["place"]), tuple(data["date"])
        self.input_names_ = (*self._date, *self._place, *self.attributes_)
        self.origin_ = (data["origin"][0], data["origin"][1])
        self.reference_ = data["reference"]
        self.weights_, self.fill_, self.log_shift_ = arrays["weights"], arrays["fill"], arrays["log_shift"]
        self.centre_, self.scale_ = arrays["centre"], arrays["scale"]
        self._name()
        return self

    def with_pool_state(self, state: State) -> Self:
        """A copy with the saved pool."""
        table = Table(tuple(state.data["names"]), state.arrays["values"])
        return self._with(table, state.arrays["prices"], state.arrays["records"])


def _feature_names(metric: Metric, attributes: tuple[str, ...], dated: bool) -> list[str]:  # noqa: FBT001
    names = ["price_nearest", *(f"price_mean_{k}" for k in metric.mean_sizes), "price_spread"]
    names += [f"price_q{round(100 * p)}_of_{k}" for k in metric.quantile_sizes for p in _PROBABILITIES]
    names += [f"log_distance_{k}" for k in metric.distance_sizes]
    names += ["mean_age_days"] if dated else []
    names += [f"price_within_{band:g}" for band in metric.bandwidths]
    for attribute in attributes if metric.context_sizes else ():
        names += [f"{attribute}_spread", f"{attribute}_rank"]
        for k in metric.context_sizes:
            names += [f"{attribute}_minus_mean_{k}", f"{attribute}_mean_{k}"]
    names += [f"place_plane_{k}" for k in metric.place_planes]
    names += [f"attribute_plane_{k}" for k in metric.attribute_planes]
    return names


def _arrays(metric: Metric) -> tuple[Any, ...]:
    """The metric's sizes as `summarise` takes them, from `mean_sizes` to `softening`."""

    def sizes(values: tuple[int, ...]) -> NDArray[np.int64]:
        return np.array(values, dtype=np.int64) if values else _NONE

    return (
        sizes(metric.mean_sizes),
        sizes(metric.quantile_sizes),
        _PROBABILITIES,
        sizes(metric.distance_sizes),
        np.array(metric.bandwidths, dtype=np.float64),
        sizes(metric.context_sizes),
        min(30, metric.neighbours),
        sizes(metric.place_planes),
        sizes(metric.attribute_planes),
        0.03 if metric.likeness == 0 else 0.1,
    )


def _metric(entry: dict[str, Any]) -> Metric:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Metric(**values)


def _log_shift(values: NDArray[np.float64]) -> float:
    """What to add before taking logarithms of a skewed, non-negative column; 0 leaves the column as it is."""
    if values.min() < 0:
        return 0.0
    spread = values.std()
    skewness = ((values - values.mean()) ** 3).mean() / spread**3 if spread > 0 else 0.0
    if skewness < 1:
        return 0.0
    positive = values[values > 0]
    return 1e-9 if len(positive) == len(values) else float(np.quantile(positive, 0.05))


def _reference_distance(place: NDArray[np.float64]) -> float:
    """Median distance in km to the 32nd neighbour, over at most 2,000 rows evenly taken."""
    tree = Tree.build(place)
    sample = place[:: max(1, len(place) // 2000)]
    distance = tree.query(sample, min(_REFERENCE_NEIGHBOUR, len(place)))[1][:, -1]
    return max(float(np.median(distance)), 1e-3)
