"""Comparable sales: what the nearest earlier sales fetched, what they are like, and what they say of this home.

A sale is near in one of several metrics: in place alone, in place and likeness, mostly in likeness. Each metric gives
the neighbours' prices at several scales, their quantiles, how far away they are, and local planes ("the price at my
attributes, here"). Which of these pay was found by trial: `docs/decisions/0001-comparables.md`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
from appraise.features.dates import YEAR
from appraise.features.geometry import km_per_degree, middle, place_columns
from appraise.features.kernels import ATTRIBUTES, DAY, PRICE, X, Y, standardise, summarise
from appraise.features.neighbours import Tree
from appraise.features.ratios import rank_correlation
from appraise.features.state import State

#: Attributes that take part in likeness, context and planes: the ones whose ranks follow the price most closely.
MAX_ATTRIBUTES = 8

#: A sale's place is measured against the median distance to this neighbour.
_REFERENCE_NEIGHBOUR = 32

#: Leaves that a search visits at least, before it ends early, in dated data.
_DATED_LEAVES = 32

#: Standard deviations at which an attribute is cut off.
_FARTHEST = 4.0

_PROBABILITIES = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
_NONE = np.empty(0, np.int64)
_NOWHERE = np.empty((0, 2))


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
        most_leaves: leaves of the tree that one search visits: with more, neighbours change a little.
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
    most_leaves: int = 32


FAST: tuple[Metric, ...] = (
    Metric(
        "near", reach=1.0, likeness=0.0, years=0.5, neighbours=32,
        mean_sizes=(3, 5, 10, 20, 32), quantile_sizes=(10, 30), distance_sizes=(8, 30),
        bandwidths=(0.125, 0.25, 0.5, 1.25), context_sizes=(8, 30), place_planes=(12, 30), attribute_planes=(32,),
        most_leaves=10,
    ),
    Metric(
        "alike", reach=2.5, likeness=0.6, years=0.5, neighbours=32,
        mean_sizes=(3, 5, 10, 20, 32), quantile_sizes=(10, 30), distance_sizes=(8, 30), attribute_planes=(32,),
        most_leaves=10,
    ),
    Metric(
        "like", reach=15.0, likeness=0.9, years=0.5, neighbours=8,
        mean_sizes=(3, 5, 8), quantile_sizes=(), distance_sizes=(8,), most_leaves=10,
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
        last_day: the latest day of a sale, in days since 1970-01-01; 0 without dates.
    """

    table: Table
    prices: NDArray[np.float64]
    records: NDArray[np.float64]
    trees: tuple[Tree, ...]
    last_day: float

    def __len__(self) -> int:
        return len(self.prices)


@dataclass(frozen=True, slots=True)
class NearSale:
    """A sale of the pool that is near a row.

    Attributes:
        position: in the pool.
        likeness: its distance in the metric of place and likeness.
        distance_km: how far away it is, None without coordinates.
    """

    position: int
    likeness: float
    distance_km: float | None


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
        out = np.empty((len(self.pool_), len(self.output_names_)))
        own = self._with_days(self.pool_.records, self.pool_.last_day)
        self._summarise(own, np.arange(len(self.pool_)), out)
        return out

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Features of shape (n, len(output_names_)) from the pool's sales that are known at the row's date."""
        out = np.empty((len(table), len(self.output_names_)))
        self.write(table, out)
        return out

    def write(self, table: Table, out: NDArray[np.float64]) -> None:
        """The same, into a matrix that is there."""
        own = self._with_days(self.records(table), self.pool_.last_day)
        self._summarise(own, np.full(len(table), -1), out)

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

    def with_prices(self, prices: NDArray[np.float64]) -> Self:
        """A copy whose pool's n sales have these prices in money, for display."""
        other = copy(self)
        other.pool_ = replace(self.pool_, prices=prices)
        return other

    def with_sales(self, table: Table, prices: NDArray[np.float64], target: NDArray[np.float64]) -> Self:
        """A copy whose pool knows these sales as well; this one is unchanged."""
        records = self.records(table)
        records[:, PRICE] = target
        names = self.pool_.table.names
        return self._with(
            Table.stack((self.pool_.table, Table(names, table.select(names)))),
            np.concatenate((self.pool_.prices, prices)),
            np.concatenate((self.pool_.records, records)),
        )

    def _with(self, table: Table, prices: NDArray[np.float64], records: NDArray[np.float64]) -> Self:
        # A sale without a date may be a later one: it never becomes known.
        days = np.where(np.isnan(records[:, DAY]), np.inf, records[:, DAY]) if self.dated_ else None
        known = records[~np.isnan(records[:, DAY]), DAY]
        last_day = float(known.max()) if len(known) else 0.0
        dated = self._with_days(records, last_day)
        trees = tuple(Tree.build(self._points(dated, step), days) for step in range(len(self.metrics_)))
        other = copy(self)
        other.pool_ = SalesPool(table, prices, records, trees, last_day)
        return other

    def _with_days(self, records: NDArray[np.float64], last_day: float) -> NDArray[np.float64]:
        """The records, those without a date valued on the first day on which all dated sales are known."""
        if not self.dated_:
            return records
        missing = np.isnan(records[:, DAY])
        if not missing.any():
            return records
        out = records.copy()
        out[missing, DAY] = last_day + self.recording_lag_
        return out

    def _learn(self, table: Table, context: FitContext) -> None:
        self.recording_lag_ = context.recording_lag
        self._place = place_columns(table, context)
        self._date = _date_column(table, context)
        self.placed_, self.dated_ = bool(self._place), bool(self._date)
        self._weigh(table, context)
        self.input_names_ = (*self._date, *self._place, *self.attributes_)
        self.origin_ = (0.0, 0.0)
        self.reference_ = 1.0
        metrics = _SETS[self.metrics]
        if self.placed_:
            self.origin_ = middle(table.select(self._place))
            self.reference_ = _reference_distance(self.records(table)[:, X : Y + 1])
        else:
            metrics = tuple(
                replace(metric, place_planes=(), bandwidths=()) for metric in metrics if metric.likeness > 0
            )
        if self.dated_:
            # Sales that are not known yet shape the tree too: with a bound that is seldom met they say nothing.
            metrics = tuple(replace(metric, most_leaves=max(metric.most_leaves, _DATED_LEAVES)) for metric in metrics)
        # Where nothing tells two sales apart, none is nearer than another.
        self.metrics_ = metrics if self.input_names_ else ()
        self._name()

    def _weigh(self, table: Table, context: FitContext) -> None:
        """Choose the attributes, and learn how they are filled, scaled and weighed."""
        special = {context.latitude, context.longitude, context.sale_date}
        candidates = sorted(set(table.names) - special - set(context.categories))
        varied = [name for name in candidates if _varies(table.column(name))]
        strength = {name: abs(rank_correlation(table.column(name), context.target)) for name in varied}
        self.attributes_ = tuple(sorted(varied, key=lambda name: -strength[name])[:MAX_ATTRIBUTES])
        self.weights_ = np.array([0.3 + strength[name] for name in self.attributes_])
        values = table.select(self.attributes_)
        self.fill_ = np.array([np.nanmedian(column) for column in values.T])
        values = np.where(np.isnan(values), self.fill_, values)
        self.log_shift_ = np.array([_log_shift(column) for column in values.T])
        values = self._logged(values)
        with np.errstate(over="ignore", invalid="ignore"):
            self.centre_, self.scale_ = values.mean(axis=0), values.std(axis=0)
        # Of values so wild, or so close, that floating point cannot say how far apart they are, nothing can be made.
        usable = np.isfinite(self.centre_) & np.isfinite(self.scale_) & (self.scale_ > 0)
        self.attributes_ = tuple(name for name, kept in zip(self.attributes_, usable, strict=True) if kept)
        self.weights_, self.fill_, self.log_shift_ = self.weights_[usable], self.fill_[usable], self.log_shift_[usable]
        self.centre_, self.scale_ = self.centre_[usable], self.scale_[usable]

    def _name(self) -> None:
        names: list[str] = []
        for metric in self.metrics_:
            names += [f"{metric.name}_{part}" for part in _feature_names(metric, self.attributes_, self.dated_)]
        self.output_names_ = tuple(names)
        self._sizes = tuple(_arrays(metric) for metric in self.metrics_)
        self._axes = tuple(self._coordinates(metric) for metric in self.metrics_)
        widths = [len(_feature_names(metric, self.attributes_, self.dated_)) for metric in self.metrics_]
        self._first = tuple(accumulate(widths, initial=0))

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
        place = table.select(self._place) if self.placed_ else _NOWHERE
        values = table.select(self.attributes_)
        standardise(
            place, *self.origin_, *km_per_degree(self.origin_),
            values, self.fill_, self.log_shift_, self.centre_, self.scale_, _FARTHEST, out,
        )  # fmt: skip
        return out

    def _coordinates(self, metric: Metric) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Which columns of a record are the metric's coordinates, shape (d,), and what they are multiplied by."""
        columns: list[int] = []
        factors: list[float] = []
        if self.placed_ and metric.reach > 0:
            columns += [X, Y]
            factors += [1.0 / (metric.reach * self.reference_)] * 2
        if metric.likeness > 0:
            columns += range(ATTRIBUTES, ATTRIBUTES + len(self.attributes_))
            factors += (metric.likeness * self.weights_).tolist()
        if self.dated_ and metric.years > 0:
            columns.append(DAY)
            factors.append(metric.years / YEAR)
        return np.array(columns, np.int64), np.array(factors)

    def _points(self, records: NDArray[np.float64], step: int) -> NDArray[np.float64]:
        columns, factors = self._axes[step]
        return records[:, columns] * factors

    def _summarise(self, own: NDArray[np.float64], exclude: NDArray[np.int64], out: NDArray[np.float64]) -> None:
        before = self._known_before(own)
        for step, (metric, tree) in enumerate(zip(self.metrics_, self.pool_.trees, strict=True)):
            summarise(
                *tree.arrays(), self.pool_.records, own, before, exclude, *self._axes[step], metric.neighbours,
                metric.most_leaves, *self._sizes[step], self.dated_, out, self._first[step], self._first[step + 1],
            )  # fmt: skip

    def nearest_sales(self, table: Table, count: int) -> list[NearSale]:
        """The sales nearest to the first row of the table in place and likeness, that are known at its date."""
        if not self.metrics_:
            return []
        own = self._with_days(self.records(table.rows(slice(0, 1))), self.pool_.last_day)
        ranking = next(i for i, metric in enumerate(self.metrics_) if metric.likeness > 0)
        positions, likeness = self.pool_.trees[ranking].query(
            self._points(own, ranking), count, before=self._known_before(own)
        )
        found = positions[0] >= 0
        sales = self.pool_.records[positions[0][found]]
        kilometres = np.hypot(sales[:, X] - own[0, X], sales[:, Y] - own[0, Y])
        return [
            NearSale(int(position), float(near), float(km) if self.placed_ else None)
            for position, near, km in zip(positions[0][found], likeness[0][found], kilometres, strict=True)
        ]

    def nearest_in_place(self, table: Table, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distances in km and days (NaN in undated data) of the known sales nearest to n rows, both (n, count).

        A sale's age counts as distance, so that they need not ascend. They are infinite where so many are not known.

        Raises:
            ValueError: the data have no places.
        """
        own = self._with_days(self.records(table), self.pool_.last_day)
        place = self._in_place()
        positions = self.pool_.trees[place].query(self._points(own, place), count, before=self._known_before(own))[0]
        sales = self.pool_.records[positions]
        distances = np.hypot(sales[..., X] - own[:, None, X], sales[..., Y] - own[:, None, Y])
        days = sales[..., DAY] if self.dated_ else np.full(positions.shape, np.nan)
        return np.where(positions < 0, np.inf, distances), days

    def _in_place(self) -> int:
        """Which metric is of place alone."""
        place = next((i for i, metric in enumerate(self.metrics_) if metric.likeness == 0), None)
        if place is None:
            raise ValueError("without places there are no distances in place")
        return place

    def kilometres(self, log_distance: float) -> float:
        """The kilometres of a `near_log_distance`, of sales of the row's own day.

        Raises:
            ValueError: the data have no places.
        """
        return float(np.exp(log_distance)) * self.metrics_[self._in_place()].reach * self.reference_

    def _known_before(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """The day before which a sale must lie to be known at each row's date."""
        return own[:, DAY] - (self.recording_lag_ - 1) if self.dated_ else np.full(len(own), np.inf)

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


def _date_column(table: Table, context: FitContext) -> tuple[str, ...]:
    """The column of the sale date, or none where no row knows it."""
    if context.sale_date is None or np.isnan(table.column(context.sale_date)).all():
        return ()
    return (context.sale_date,)


def _varies(values: NDArray[np.float64]) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 0 and bool(known.min() < known.max())


def _log_shift(values: NDArray[np.float64]) -> float:
    """What to add before taking logarithms of a skewed, non-negative column; 0 leaves the column as it is."""
    if values.min() < 0:
        return 0.0
    with np.errstate(all="ignore"):
        skewness = ((values - values.mean()) ** 3).mean() / values.std() ** 3
    if not skewness >= 1:
        return 0.0
    positive = values[values > 0]
    return 1e-9 if len(positive) == len(values) else float(np.quantile(positive, 0.05))


def _reference_distance(place: NDArray[np.float64]) -> float:
    """Median distance in km to the 32nd neighbour, over at most 2,000 rows evenly taken."""
    tree = Tree.build(place)
    sample = place[:: max(1, len(place) // 2000)]
    distance = tree.query(sample, min(_REFERENCE_NEIGHBOUR, len(place)))[1][:, -1]
    return max(float(np.median(distance)), 1e-3)
