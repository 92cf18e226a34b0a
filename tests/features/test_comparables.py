"""Comparable sales: what they say, and what they must not know."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.errors import BundleError
from appraise.features.base import FitContext
from appraise.features.comparables import BEST, FAST, Comparables, Metric
from appraise.features.geometry import project
from appraise.features.kernels import ATTRIBUTES, DAY, PRICE, X, Y
from appraise.features.pipeline import FeaturePipeline

Market = Callable[..., tuple[Table, FitContext]]
METRICS = {"fast": FAST, "best": BEST}


def _with(table: Table, name: str, values: NDArray[np.float64] | float) -> Table:
    changed = table.values.copy()
    changed[:, table.names.index(name)] = values
    return Table(table.names, changed)


def _named(comparables: Comparables, features: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return dict(zip(comparables.output_names_, features.T, strict=True))


class TestLeaveOneOut:
    """A row's own price is not among its features."""

    @pytest.mark.parametrize("metrics", METRICS)
    @pytest.mark.parametrize("dated", [True, False])
    def test_a_changed_price_leaves_the_rows_own_features_alone(
        self, metrics: str, dated: bool, market: Market
    ) -> None:
        table, context = market(150, dated=dated)
        fitted = Comparables(metrics).fit(table, context)
        before = fitted.leave_one_out()
        others_changed = 0
        for row in (0, 17, 149):
            target = context.target.copy()
            target[row] += 5.0
            after = fitted.with_pool(table, np.exp(target), target).leave_one_out()
            assert after[row].tobytes() == before[row].tobytes()
            others_changed += int((np.nan_to_num(after) != np.nan_to_num(before)).any(axis=1).sum())
        assert others_changed > 10

    @pytest.mark.parametrize("metrics", METRICS)
    def test_nor_when_everything_is_fitted_again(self, metrics: str, market: Market) -> None:
        table, context = market(150, dated=False)
        # The weight of an attribute follows the ranks of the prices, so a change within its rank leaves all weights.
        row = int(np.argmax(context.target))
        target = context.target.copy()
        target[row] += 5.0
        before = Comparables(metrics).fit_transform(table, context)
        after = Comparables(metrics).fit_transform(table, replace(context, target=target))
        assert after[row].tobytes() == before[row].tobytes()
        assert (np.nan_to_num(after) != np.nan_to_num(before)).any()

    def test_homes_at_one_address_do_not_stand_in_for_the_row_itself(self) -> None:
        table = Table(("area", "lat", "lon"), np.tile([[50.0, -37.8, 144.9]], (5, 1)))
        target = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
        features = Comparables().fit_transform(table, FitContext(target, latitude="lat", longitude="lon"))
        # Nearest among the equally near is the first of the others.
        assert features[:, 0].tolist() == [2.0, 1.0, 1.0, 1.0, 1.0]

    def test_a_sale_asked_for_again_finds_itself(self, market: Market) -> None:
        table, context = market(150, dated=False)
        fitted = Comparables().fit(table, context)
        nearest = _named(fitted, fitted.transform(table))["near_price_nearest"]
        np.testing.assert_array_equal(nearest, context.target)


class TestNoLookAhead:
    """In dated data a row knows the sales that were recorded before its date."""

    @pytest.mark.parametrize("metrics", METRICS)
    @pytest.mark.parametrize("lag", [1, 7])
    def test_only_recorded_sales_count(self, metrics: str, lag: int, market: Market) -> None:
        table, context = market(200)
        days = table.column("sold")
        fitted = Comparables(metrics).fit(table, replace(context, recording_lag=lag))
        before = fitted.leave_one_out()
        for row in np.argsort(days)[[60, 120, 199]]:
            unknown = days > days[row] - lag
            target = np.where(unknown, context.target + 3.0, context.target)
            after = fitted.with_pool(table, np.exp(target), target).leave_one_out()
            assert after[row].tobytes() == before[row].tobytes()

    @pytest.mark.parametrize("lag", [1, 7])
    def test_the_lag_is_exact_to_the_day(self, lag: int) -> None:
        table = Table(("area", "sold"), np.array([[50.0, 17000.0], [60.0, 17000.0]]))
        fitted = Comparables().fit(table, FitContext(np.array([1.0, 2.0]), sale_date="sold", recording_lag=lag))
        days = np.arange(16990.0, 17010.0)
        asked = Table(("area", "sold"), np.stack((np.full(20, 50.0), days), axis=1))
        known = ~np.isnan(fitted.transform(asked)).all(axis=1)
        assert days[known].tolist() == [day for day in days if day >= 17000 + lag]

    def test_sales_of_the_same_day_do_not_know_one_another(self) -> None:
        table = Table(("area", "sold"), np.array([[50.0, 17000.0], [50.0, 17000.0], [50.0, 17001.0]]))
        features = Comparables().fit_transform(
            Table((*table.names, "b"), np.column_stack((table.values, [1.0, 2.0, 3.0]))),
            FitContext(np.array([1.0, 2.0, 3.0]), sale_date="sold"),
        )
        assert np.isnan(features[:2]).all()
        assert not np.isnan(features[2]).any()

    def test_a_sale_without_a_date_is_nobodys_comparable(self, market: Market) -> None:
        table, context = market(100)
        days = table.column("sold").copy()
        days[::3] = np.nan
        dateless = _with(table, "sold", days)
        fitted = Comparables().fit(dateless, context)
        target = np.where(np.isnan(days), 99.0, context.target)
        assert fitted.with_pool(dateless, target, target).leave_one_out().tobytes() == fitted.leave_one_out().tobytes()

    def test_a_row_without_a_date_is_valued_as_of_the_last_known_sale(self, market: Market) -> None:
        table, context = market(100)
        fitted = Comparables().fit(table, replace(context, recording_lag=7))
        asked, _ = market(20, seed=9)
        first_day_after = table.column("sold").max() + 7
        np.testing.assert_array_equal(
            fitted.transform(_with(asked, "sold", np.nan)), fitted.transform(_with(asked, "sold", first_day_after))
        )

    def test_before_the_first_sale_there_is_nothing_to_compare_with(self, market: Market) -> None:
        table, context = market(100)
        fitted = Comparables().fit(table, context)
        assert np.isnan(fitted.transform(_with(market(5, seed=9)[0], "sold", table.column("sold").min()))).all()
        assert fitted.nearest_sales(_with(table, "sold", 0.0), 5) == []


class TestPool:
    """The pool is replaced in one reference."""

    @pytest.mark.parametrize("metrics", METRICS)
    @pytest.mark.parametrize("shape", [(True, True), (True, False), (False, True), (False, False)])
    def test_sales_added_later_equal_a_pool_built_at_once(
        self, metrics: str, shape: tuple[bool, bool], market: Market
    ) -> None:
        placed, dated = shape
        table, context = market(140, placed=placed, dated=dated)
        asked, _ = market(30, seed=9, placed=placed, dated=dated)
        prices, target = np.exp(context.target), context.target
        first, later = slice(0, 90), slice(90, 140)
        fitted = Comparables(metrics).fit(table.rows(first), replace(context, target=target[first]))
        fitted = fitted.with_prices(prices[first])
        before = fitted.transform(asked)
        grown = fitted.with_sales(table.rows(later), prices[later], target[later])
        at_once = fitted.with_pool(table, prices, target)
        assert grown.transform(asked).tobytes() == at_once.transform(asked).tobytes()
        assert grown.leave_one_out().tobytes() == at_once.leave_one_out().tobytes()
        assert len(grown.pool_) == 140
        assert grown.pool_.prices.tobytes() == prices.tobytes()
        assert fitted.transform(asked).tobytes() == before.tobytes()
        assert len(fitted.pool_) == 90
        assert not np.array_equal(np.nan_to_num(before), np.nan_to_num(grown.transform(asked)))

    def test_added_sales_may_order_or_lack_columns(self, market: Market) -> None:
        table, context = market(60)
        more, later = market(20, seed=9)
        fitted = Comparables().fit(table, context)
        kept = tuple(name for name in reversed(more.names) if name not in {"land", "city"})
        lacking = Table(kept, np.ascontiguousarray(more.select(kept)))
        found = fitted.with_sales(lacking, np.exp(later.target), later.target)
        emptied = _with(_with(more, "land", np.nan), "city", np.nan)
        expected = fitted.with_sales(emptied, np.exp(later.target), later.target)
        assert found.transform(table).tobytes() == expected.transform(table).tobytes()
        assert found.pool_.table.values.tobytes() == expected.pool_.table.values.tobytes()

    def test_no_sales_added_changes_nothing(self, market: Market) -> None:
        table, context = market(60)
        fitted = Comparables().fit(table, context)
        same = fitted.with_sales(table.rows(slice(0, 0)), np.empty(0), np.empty(0))
        assert same.transform(table).tobytes() == fitted.transform(table).tobytes()

    def test_a_pipeline_learns_sales_and_keeps_the_old_one(self, market: Market) -> None:
        table, context = market(120)
        more, later = market(60, seed=9)
        pipeline = FeaturePipeline()
        pipeline.fit_transform(table, np.exp(context.target), context)
        asked = _with(market(20, seed=10)[0], "sold", 18500.0)
        before = pipeline.transform(asked)
        grown = pipeline.with_sales(more, np.exp(later.target), later.target)
        changed = {
            name.split("_")[0]
            for name, old, new in zip(pipeline.output_names_, before.T, grown.transform(asked).T, strict=True)
            if not np.array_equal(old, new, equal_nan=True)
        }
        assert changed == {"near", "alike", "like"}
        assert pipeline.transform(asked).tobytes() == before.tobytes()

    def test_a_pipeline_without_comparables_has_no_pool(self, market: Market) -> None:
        table, context = market(30)
        pipeline = FeaturePipeline(None)
        pipeline.fit_transform(table, np.exp(context.target), context)
        assert pipeline.pool_state() is None
        assert pipeline.with_sales(table, np.exp(context.target), context.target) is pipeline
        assert pipeline.nearest_sales(table, 3) == []

    def test_a_pipeline_that_lost_its_pool_is_refused(self, market: Market) -> None:
        table, context = market(30)
        pipeline = FeaturePipeline()
        pipeline.fit_transform(table, np.exp(context.target), context)
        with pytest.raises(BundleError, match="pool of sales is missing"):
            FeaturePipeline.from_state(pipeline.state(), None)


def _neighbours(
    fitted: Comparables, metric: Metric, own: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions and distances of one row's neighbours in a metric, nearest first, from its definition."""
    pool = fitted.pool_.records

    def points(records: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack((
            records[:, [X, Y]] / (metric.reach * fitted.reference_),
            records[:, ATTRIBUTES:] * metric.likeness * fitted.weights_,
            records[:, [DAY]] * metric.years / 365.2425,
        ))  # fmt: skip

    distance = np.sqrt(((points(pool) - points(own[None])) ** 2).sum(axis=1))
    earlier = np.flatnonzero(pool[:, DAY] < own[DAY])
    nearest = earlier[np.argsort(distance[earlier], kind="stable")][: metric.neighbours]
    return nearest, distance[nearest]


def _plane(
    offsets: NDArray[np.float64], price: NDArray[np.float64], distance: NDArray[np.float64], *, ridge: float
) -> float:
    """Weighted ridge regression of price on offsets: its value at no offset."""
    near = distance / (distance[-1] + 1e-3)
    weight = np.maximum(1 - near**3, 0.05)
    mean = np.average(price, weights=weight)
    design = np.column_stack((np.ones(len(price)), offsets))
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 1e-6
    gram = design.T @ (weight[:, None] * design) + np.diag(penalty) * weight.sum()
    return float(np.linalg.solve(gram, design.T @ (weight * (price - mean)))[0] + mean)


def _expected_context(
    fitted: Comparables, metric: Metric, sales: NDArray[np.float64], offsets: NDArray[np.float64]
) -> dict[str, float]:
    """What the neighbours are like: places and attributes of the sales, and those less the home's own."""
    out: dict[str, float] = {}
    for column, name in enumerate(fitted.attributes_ if metric.context_sizes else (), start=2):
        out[f"{name}_spread"] = offsets[:30, column].std()
        out[f"{name}_rank"] = (offsets[:30, column] < 0).mean()
        for k in metric.context_sizes:
            out[f"{name}_minus_mean_{k}"] = -offsets[:k, column].mean()
            out[f"{name}_mean_{k}"] = sales[:k, column].mean()
    return out


def _expected_planes(
    metric: Metric, price: NDArray[np.float64], distance: NDArray[np.float64], offsets: NDArray[np.float64]
) -> dict[str, float]:
    out: dict[str, float] = {}
    for k in {*metric.place_planes, *metric.attribute_planes}:
        scaled = offsets[:k] / np.where(np.arange(offsets.shape[1]) < 2, np.hypot(*offsets[:k, :2].T).max(), 1.0)
        if k in metric.place_planes:
            out[f"place_plane_{k}"] = _plane(scaled[:, :2], price[:k], distance[:k], ridge=0.01)
        if k in metric.attribute_planes:
            out[f"attribute_plane_{k}"] = _plane(scaled, price[:k], distance[:k], ridge=0.03)
    return out


def _expected(fitted: Comparables, metric: Metric, own: NDArray[np.float64]) -> dict[str, float]:
    """All features of one row in one metric, computed the plain way."""
    nearest, distance = _neighbours(fitted, metric, own)
    sales = fitted.pool_.records[nearest]
    price, offsets = sales[:, PRICE], sales[:, X:] - own[X:]
    softening = 0.03 if metric.likeness == 0 else 0.1
    out = {"price_nearest": price[0], "price_spread": price.std(), "mean_age_days": (own[DAY] - sales[:, DAY]).mean()}
    for k in metric.mean_sizes:
        out[f"price_mean_{k}"] = np.average(price[:k], weights=1 / (distance[:k] + softening))
    for k in metric.quantile_sizes:
        for p in (10, 25, 50, 75, 90):
            out[f"price_q{p}_of_{k}"] = np.quantile(price[:k], p / 100)
    for k in metric.distance_sizes:
        out[f"log_distance_{k}"] = np.log(distance[:k][-1] + 1e-3)
    for band in metric.bandwidths:
        out[f"price_within_{band:g}"] = np.average(price, weights=np.exp(-0.5 * (distance / band) ** 2) + 1e-9)
    out |= _expected_context(fitted, metric, sales[:, X:], offsets)
    out |= _expected_planes(metric, price, distance, offsets)
    return {f"{metric.name}_{name}": float(value) for name, value in out.items()}


class TestSummaries:
    """Every feature is what its name says."""

    @pytest.mark.parametrize("metrics", METRICS)
    @pytest.mark.parametrize("rows", [3, 25, 250])
    def test_equal_to_their_definitions(self, metrics: str, rows: int, market: Market) -> None:
        table, context = market(rows)
        fitted = Comparables(metrics).fit(table, context)
        asked, _ = market(6, seed=9)
        asked = _with(asked, "sold", [17300.0, 17600.0, 18000.0, 18000.0, 18200.0, 18500.0])
        features = _named(fitted, fitted.transform(asked))
        compared = 0
        for row, own in enumerate(fitted.records(asked)):
            if not (fitted.pool_.records[:, DAY] < own[DAY]).any():
                continue
            expected = {
                name: value for metric in METRICS[metrics] for name, value in _expected(fitted, metric, own).items()
            }
            assert expected.keys() == features.keys()
            for name, value in expected.items():
                assert features[name][row] == pytest.approx(value, rel=2e-5, abs=2e-5), name
                compared += 1
        assert compared >= 3 * len(features)

    def test_records_are_places_in_km_and_standardised_attributes(self, market: Market) -> None:
        table, context = market(300, dated=False)
        fitted = Comparables().fit(table, context)
        place = table.select(("lat", "lon"))
        assert fitted.origin_ == tuple(np.median(place, axis=0))
        np.testing.assert_array_equal(fitted.pool_.records[:, [X, Y]], project(place, fitted.origin_))
        attributes = fitted.pool_.records[:, ATTRIBUTES:]
        assert np.abs(attributes).max() <= 4.0
        np.testing.assert_allclose(attributes.mean(axis=0), 0.0, atol=0.1)
        np.testing.assert_allclose(attributes.std(axis=0), 1.0, atol=0.1)
        # What follows the price most comes first, and categories are not attributes.
        assert fitted.attributes_[0] == "area"
        assert set(fitted.attributes_) == {"area", "land", "rooms", "view", "garage"}

    @pytest.mark.parametrize("metrics", METRICS)
    def test_planes_find_a_price_that_rises_with_place(self, metrics: str) -> None:
        random = np.random.default_rng(0)
        place = np.array([-37.8, 144.9]) + random.uniform(-0.05, 0.05, (2000, 2))
        area = random.normal(100.0, 10.0, 2000)
        target = 12.0 + 8.0 * (place[:, 0] + 37.8) - 5.0 * (place[:, 1] - 144.9)
        table = Table(("lat", "lon", "area"), np.column_stack((place, area)))
        fitted = Comparables(metrics).fit(table, FitContext(target, latitude="lat", longitude="lon"))
        inside = np.abs(place - (-37.8, 144.9)).max(axis=1) < 0.04
        features = _named(fitted, fitted.leave_one_out()[inside])
        for name in ("near_place_plane_12", "near_place_plane_30"):
            error = np.abs(features[name] - target[inside])
            nearest = np.abs(features["near_price_nearest"] - target[inside])
            # The ridge holds the slope back by a few hundredths; the nearest sale is off by its whole distance.
            assert np.median(error) < 0.1 * np.median(nearest)
            assert error.max() < 0.03

    @pytest.mark.parametrize("metrics", METRICS)
    def test_attribute_planes_find_a_price_that_rises_with_size(self, metrics: str) -> None:
        random = np.random.default_rng(0)
        place = np.array([-37.8, 144.9]) + random.uniform(-0.05, 0.05, (2000, 2))
        view = random.normal(0.0, 1.0, 2000)
        target = 12.0 + 0.3 * view
        table = Table(("lat", "lon", "view"), np.column_stack((place, view)))
        fitted = Comparables(metrics).fit(table, FitContext(target, latitude="lat", longitude="lon"))
        features = _named(fitted, fitted.leave_one_out())
        plain = np.median(np.abs(features["near_price_mean_20"] - target))
        for name in features:
            if "near_attribute_plane" in name:
                assert np.median(np.abs(features[name] - target)) < 0.1 * plain

    @pytest.mark.parametrize("metrics", METRICS)
    def test_one_price_everywhere_is_what_every_summary_says(self, metrics: str, market: Market) -> None:
        table, context = market(120, dated=False)
        fitted = Comparables(metrics).fit(table, replace(context, target=np.full(120, 13.25)))
        for name, values in _named(fitted, fitted.transform(table)).items():
            if name.endswith("price_spread"):
                np.testing.assert_allclose(values, 0.0, atol=1e-6, err_msg=name)
            elif "_price_" in name or "plane" in name:
                np.testing.assert_allclose(values, 13.25, rtol=1e-9, err_msg=name)


class TestOddMarkets:
    """What a file may hold."""

    def test_one_sale_alone_has_no_comparables(self, market: Market) -> None:
        table, context = market(1)
        fitted = Comparables()
        assert np.isnan(fitted.fit_transform(table, context)).all()
        assert not np.isnan(fitted.transform(_with(table, "sold", 20000.0))).any()

    def test_without_coordinates_likeness_finds_them(self, market: Market) -> None:
        table, context = market(100, placed=False, dated=False)
        fitted = Comparables("best").fit(table, context)
        assert {name.split("_")[0] for name in fitted.output_names_} == {"alike", "like"}
        assert not any("place_plane" in name or "price_within" in name for name in fitted.output_names_)
        assert not np.isnan(fitted.leave_one_out()).any()

    def test_with_constant_attributes_place_finds_them(self, market: Market) -> None:
        table, context = market(100, dated=False)
        for name in ("area", "land", "rooms", "view", "garage"):
            table = _with(table, name, 0.1)
        fitted = Comparables().fit(table, context)
        assert fitted.attributes_ == ()
        assert not np.isnan(fitted.leave_one_out()).any()
        np.testing.assert_array_equal(fitted.transform(_with(table, "area", 1e9)), fitted.transform(table))

    def test_with_dates_alone_the_latest_sales_are_nearest(self) -> None:
        days = np.arange(17000.0, 17100.0)
        table = Table(("sold",), days[:, None])
        fitted = Comparables().fit(table, FitContext(days - 17000.0, sale_date="sold"))
        features = _named(fitted, fitted.transform(Table(("sold",), np.array([[17050.0]]))))
        assert features["alike_price_nearest"].tolist() == [49.0]

    def test_where_nothing_tells_sales_apart_there_are_no_features(self) -> None:
        table = Table(("rooms",), np.full((50, 1), 3.0))
        fitted = Comparables()
        assert fitted.fit_transform(table, FitContext(np.arange(50.0))).shape == (50, 0)
        assert fitted.nearest_sales(table, 3) == []

    def test_zero_swapped_and_impossible_coordinates_have_finite_features(self, market: Market) -> None:
        table, context = market(100, dated=False)
        fitted = Comparables().fit(table, context)
        asked, _ = market(5, seed=9, dated=False)
        asked = _with(asked, "lat", [0.0, 144.9, 1e300, -1e300, np.nan])
        asked = _with(asked, "lon", [0.0, -37.8, 1e300, 0.0, np.nan])
        assert np.isfinite(fitted.transform(asked)).all()

    def test_a_few_zero_coordinates_in_training_leave_the_others_alone(self, market: Market) -> None:
        table, context = market(200, dated=False)
        lost = table.values.copy()
        lost[:4, [table.names.index("lat"), table.names.index("lon")]] = 0.0
        fitted = Comparables().fit(Table(table.names, lost), context)
        features = _named(fitted, fitted.leave_one_out())
        assert np.exp(features["near_log_distance_30"][:4]).min() > 100
        assert np.exp(features["near_log_distance_30"][4:]).max() < 10

    def test_a_home_of_unknown_place_is_valued_in_the_middle(self, market: Market) -> None:
        table, context = market(100, dated=False)
        fitted = Comparables().fit(table, context)
        asked, _ = market(5, seed=9, dated=False)
        unknown = _with(_with(asked, "lat", np.nan), "lon", np.nan)
        latitude, longitude = fitted.origin_
        middle = _with(_with(asked, "lat", latitude), "lon", longitude)
        np.testing.assert_array_equal(fitted.transform(unknown), fitted.transform(middle))

    def test_one_wild_size_does_not_make_the_others_equal(self, market: Market) -> None:
        table, context = market(200, dated=False)
        area = table.column("area").copy()
        area[0] = 1e12
        fitted = Comparables().fit(_with(table, "area", area), context)
        spread = fitted.pool_.records[1:, ATTRIBUTES + fitted.attributes_.index("area")]
        assert spread.std() > 0.2


class TestNearestSales:
    """The sales that are shown beside an estimate."""

    def test_are_the_nearest_known_ones(self, market: Market) -> None:
        table, context = market(150)
        fitted = Comparables().fit(table, context)
        asked = _with(market(1, seed=9)[0], "sold", 17500.0)
        sales = fitted.nearest_sales(asked, 7)
        alike = next(metric for metric in FAST if metric.name == "alike")
        (own,) = fitted.records(asked)
        nearest, distance = _neighbours(fitted, alike, own)
        assert [sale.position for sale in sales] == nearest[:7].tolist()
        np.testing.assert_allclose([sale.likeness for sale in sales], distance[:7], rtol=1e-4)
        places = fitted.pool_.records[nearest[:7]][:, [X, Y]]
        np.testing.assert_allclose([sale.distance_km for sale in sales], np.hypot(*(places - own[[X, Y]]).T))

    def test_have_no_distance_without_coordinates(self, market: Market) -> None:
        table, context = market(10, placed=False, dated=False)
        sales = Comparables().fit(table, context).nearest_sales(table, 99)
        assert len(sales) == 10
        assert {sale.distance_km for sale in sales} == {None}
