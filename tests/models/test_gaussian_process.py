"""The Gaussian process: what it learns, what it survives, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from appraise.errors import FitError
from appraise.features.state import State
from appraise.models import covariance, gaussian_process
from appraise.models.base import TrainingData
from appraise.models.covariance import Conditional, Scaled, solve
from appraise.models.gaussian_process import MAX_ROWS, GaussianProcess

NAMES = (
    "axis_0_km",
    "axis_90_km",
    "near_size_minus_mean_30",
    "near_size_mean_30",
    "near_age_minus_mean_30",
    "near_age_mean_30",
    "near_price_mean_10",
    "constant",
)


def _market(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features of n sales and a price that is smooth in place and size, with 5% noise."""
    rng = np.random.RandomState(seed)
    X = np.column_stack((rng.uniform(-20, 20, (n, 2)), rng.normal(0, 1, (n, 4)), rng.normal(0, 1, n), np.full(n, 7.0)))
    surface = np.sin(X[:, 0] / 6) + np.cos(X[:, 1] / 8)
    y = np.exp(12 + 0.4 * surface + 0.3 * (X[:, 2] + X[:, 3]) + rng.normal(0, 0.05, n))
    return X, y


def _data(n: int = 300, *, names: tuple[str, ...] = NAMES, seed: int = 0) -> TrainingData:
    X, y = _market(n + 100)
    X = X[:, [NAMES.index(name) for name in names]]
    return TrainingData(names, X[:n], y[:n], X[n:], y[n:], seed=seed)


def _explained(model: GaussianProcess, data: TrainingData) -> float:
    return 1 - float(((data.y_val - model.predict(data.X_val)) ** 2).mean() / data.y_val.var())


@pytest.fixture(scope="module", autouse=True)
def _short_search() -> Iterator[None]:
    """Length scales from fewer rows and steps: what they are is no part of most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian_process, "_SAMPLE", 100)
        patch.setattr(gaussian_process, "_NEIGHBOURS", 16)
        patch.setattr(gaussian_process, "_STEPS", 15)
        yield


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return _data()


@pytest.fixture(scope="module")
def fitted(data: TrainingData) -> GaussianProcess:
    return GaussianProcess().fit(data)


def test_a_smooth_price_is_recovered(fitted: GaussianProcess, data: TrainingData) -> None:
    assert _explained(fitted, data) > 0.9


def test_more_rows_make_refit_better(data: TrainingData) -> None:
    few = replace(data, X=data.X[:30], y=data.y[:30], X_val=data.X[30:], y_val=data.y[30:])
    model = GaussianProcess().fit(few)
    refitted = model.refit(few)
    assert _explained(refitted, data) > _explained(model, data)
    assert len(model.weights_) == 30


def test_without_coordinates_likeness_is_enough() -> None:
    rng = np.random.RandomState(0)
    X = rng.normal(0, 1, (300, 3))
    y = 5 + np.sin(X[:, 0]) + X[:, 1] ** 2 + rng.normal(0, 0.05, 300)
    data = TrainingData(("area", "rooms", "noise"), X[:250], y[:250], X[250:], y[250:])
    model = GaussianProcess().fit(data)
    assert _explained(model, data) > 0.8
    assert model.importances()[2] < model.importances()[0]


def test_without_attributes_place_is_enough() -> None:
    data = _data(names=("axis_0_km", "axis_90_km"))
    assert _explained(GaussianProcess().fit(data), data) > 0.3


def test_negative_targets_are_taken_as_they_are() -> None:
    data = _data()
    logged = replace(data, y=np.log(data.y) - 12, y_val=np.log(data.y_val) - 12)
    assert _explained(GaussianProcess().fit(logged), logged) > 0.9


def test_what_prices_are_made_of_is_not_an_input(fitted: GaussianProcess) -> None:
    importances = dict(zip(NAMES, fitted.importances(), strict=True))
    assert importances["near_price_mean_10"] == importances["constant"] == 0
    assert sum(importances.values()) == pytest.approx(1)


def test_the_gradient_is_the_slope() -> None:
    rng = np.random.RandomState(3)
    points = rng.normal(0, 1, (60, 5))
    points[1] = points[0]
    groups = np.array([rng.permutation(60)[:12] for _ in range(9)] + [[0, *range(2, 12), 1]])
    conditional = Conditional(points, rng.normal(0, 1, 60), groups, threads=2)
    theta = rng.normal(-0.5, 0.3, 6 + 2 * 3)
    _, gradient = conditional.loss(theta)
    for position in range(len(theta)):
        step = np.zeros_like(theta)
        step[position] = 1e-5
        slope = (conditional.loss(theta + step)[0] - conditional.loss(theta - step)[0]) / 2e-5
        assert gradient[position] == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_blocks_solve_what_the_whole_matrix_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "_BLOCK", 32)
    rng = np.random.RandomState(1)
    points, y = rng.normal(0, 1, (100, 4)), rng.normal(0, 1, 100)
    theta = rng.normal(-0.5, 0.3, 6 + 2 * 2)
    scaled = Scaled.by(points, theta)
    # The covariance times a unit vector is one of its columns: what `posterior_mean` gives for that weight.
    matrix = np.column_stack([covariance.posterior_mean(scaled, scaled, unit, theta) for unit in np.eye(100)])
    matrix[np.diag_indices(100)] += np.exp(2 * theta[0])
    shares: list[float] = []
    assert solve(scaled, y, theta, 2, shares.append) == pytest.approx(np.linalg.solve(matrix, y), rel=1e-8)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_state_comes_back_equal_to_the_bit(fitted: GaussianProcess, data: TrainingData) -> None:
    state = fitted.state()
    again = GaussianProcess.from_state(State(data=json.loads(json.dumps(state.data)), arrays=state.arrays))
    assert np.array_equal(again.predict(data.X_val), fitted.predict(data.X_val))
    assert np.array_equal(again.importances(), fitted.importances())


def test_the_seed_decides(fitted: GaussianProcess, data: TrainingData) -> None:
    again = GaussianProcess().fit(replace(data, threads=2))
    assert np.array_equal(again.predict(data.X_val), fitted.predict(data.X_val))


def test_one_row_is_answered_as_among_many(fitted: GaussianProcess, data: TrainingData) -> None:
    assert fitted.predict(data.X_val[5:6])[0] == fitted.predict(data.X_val)[5]


def test_missing_values_and_empty_columns_are_survived(data: TrainingData) -> None:
    holes = data.X.copy()
    holes[np.random.RandomState(0).uniform(size=holes.shape) < 0.1] = np.nan
    holes[:, NAMES.index("near_age_mean_30")] = np.nan
    model = GaussianProcess().fit(replace(data, X=holes))
    assert _explained(model, data) > 0.5
    assert np.isfinite(model.predict(np.full((1, len(NAMES)), np.nan))).all()


def test_duplicates_are_survived(data: TrainingData) -> None:
    twice = replace(data, X=np.tile(data.X, (2, 1)), y=np.tile(data.y, 2))
    assert _explained(GaussianProcess().fit(twice), data) > 0.8


def test_thirty_rows_beat_the_mean() -> None:
    data = _data(30)
    assert _explained(GaussianProcess().fit(data), data) > 0.2


def test_a_price_of_zero_among_validation_rows_is_survived() -> None:
    data = _data(60)
    zero = replace(data, y_val=np.r_[0.0, data.y_val[1:]])
    assert _explained(GaussianProcess().fit(zero).refit(zero), data) > 0.8


def test_equal_prices_are_predicted() -> None:
    data = replace(_data(40), y=np.full(40, 3.0))
    assert GaussianProcess().fit(data).predict(data.X_val) == pytest.approx(np.full(100, 3.0))


def test_capped_prices_do_not_hide_the_noise() -> None:
    data = _data()
    capped = replace(data, y=np.minimum(data.y, np.quantile(data.y, 0.5)))
    model = GaussianProcess().fit(capped)
    assert np.exp(model.theta_[covariance.NOISE]) >= gaussian_process._LEAST_NOISE
    assert model.predict(data.X_val).max() == capped.y.max()


def test_progress_ends_complete(data: TrainingData) -> None:
    seen: list[tuple[int, int]] = []
    GaussianProcess().fit(replace(data, report=lambda done, total: seen.append((done, total))))
    assert seen == sorted(seen)
    assert seen[-1] == (100, 100)


def test_more_rows_than_the_limit_are_refused() -> None:
    X, y = np.zeros((MAX_ROWS, 1)), np.ones(MAX_ROWS)
    data = TrainingData(("area",), X, y, X[:1], y[:1])
    with pytest.raises(FitError, match="20,001 rows") as caught:
        GaussianProcess().fit(data)
    assert "20,000" in str(caught.value.hint)
