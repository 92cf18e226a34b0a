"""Trees of any library, kept as flat arrays, answer as the library does."""

import json
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from appraise.features.state import State
from appraise.models.forest import Forest, from_lightgbm, from_sklearn, from_xgboost
from appraise.registry.npz import pack_arrays, unpack_arrays

Array = NDArray[np.float64]


def _sales(rows: int, *, gaps: bool, seed: int = 0) -> tuple[Array, Array]:
    """Numbers, integers, a constant, a flag, tiny differences that single precision cannot tell, and gaps."""
    random = np.random.default_rng(seed)
    X = np.column_stack((
        random.normal(0.0, 1.0, rows),
        random.integers(-3, 4, rows),
        np.full(rows, 7.0),
        random.random(rows) < 0.5,
        17000.0 + random.integers(0, 50, rows) * 1e-4,
        np.exp(random.normal(0.0, 8.0, rows)),
    )).astype(float)  # fmt: skip
    y = X[:, 0] * X[:, 1] + 3.0 * X[:, 3] + np.log(X[:, 5]) / 8 + 300.0 * (X[:, 4] - 17000.0) ** 2
    if gaps:
        X[random.random(X.shape) < 0.15] = np.nan
        X[:, 2] = np.where(random.random(rows) < 0.5, np.nan, 7.0)
    return X, y + random.normal(0.0, 0.1, rows)


def _asked(forest: Forest, X: Array) -> Array:
    """Rows of X with values at each threshold and just beside it, in single and in double precision."""
    random = np.random.default_rng(1)
    # What parts missing values from all others has a threshold beyond everything; LightGBM rounds 1e-35 to nothing.
    size = np.abs(forest.threshold)
    inner = np.flatnonzero((forest.feature >= 0) & (size < 1e38) & ((size > 1e-30) | (size == 0)))
    rows = [X]
    for node in random.permutation(inner)[:400]:
        at = forest.threshold[node]
        single = np.float32(at)
        beside = [at, np.nextafter(at, -np.inf), np.nextafter(at, np.inf), single,
                  np.nextafter(single, np.float32(-np.inf)), np.nextafter(single, np.float32(np.inf))]  # fmt: skip
        some = X[random.integers(0, len(X), len(beside))].copy()
        some[:, forest.feature[node]] = beside
        rows.append(some)
    gaps = X[:50].copy()
    gaps[random.random(gaps.shape) < 0.3] = np.nan
    return np.concatenate((*rows, gaps, np.full((1, X.shape[1]), np.nan)))


def _sklearn_tree(X: Array, y: Array, depth: int) -> tuple[Forest, Callable[[Array], Array]]:
    tree = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(X, y)
    return from_sklearn([tree], weight=1.0), tree.predict


def _sklearn_forest(X: Array, y: Array, depth: int) -> tuple[Forest, Callable[[Array], Array]]:
    forest = RandomForestRegressor(20, max_depth=depth, random_state=0).fit(X, y)
    return from_sklearn(list(forest.estimators_), weight=1 / 20), forest.predict


def _xgboost(X: Array, y: Array, depth: int, **parameters: Any) -> tuple[Forest, Callable[[Array], Array]]:
    settings = {"max_depth": depth, "nthread": 1, "verbosity": 0, "tree_method": "hist", **parameters}
    booster = xgboost.train(settings, xgboost.DMatrix(X, y), 30)
    model = json.loads(bytes(booster.save_raw(raw_format="json")))
    return from_xgboost(model), lambda rows: booster.predict(xgboost.DMatrix(rows))


def _lightgbm(X: Array, y: Array, depth: int, **parameters: Any) -> tuple[Forest, Callable[[Array], Array]]:
    settings = {"max_depth": depth, "num_leaves": 2**depth, "min_data_in_leaf": 2, "min_data_in_bin": 1, **parameters}
    booster = lightgbm.train({"num_threads": 1, "verbosity": -1, **settings}, lightgbm.Dataset(X, y), 30)
    return from_lightgbm(booster.dump_model()), booster.predict


LIBRARIES: dict[str, tuple[Callable[..., tuple[Forest, Callable[[Array], Array]]], float]] = {
    "sklearn-tree": (_sklearn_tree, 0.0),
    "sklearn-forest": (_sklearn_forest, 1e-12),
    # XGBoost adds up in single precision.
    "xgboost": (_xgboost, 2e-5),
    "lightgbm": (_lightgbm, 1e-12),
}


@pytest.fixture(params=LIBRARIES, ids=str)
def library(request: pytest.FixtureRequest) -> tuple[Callable[..., tuple[Forest, Callable[[Array], Array]]], float]:
    return LIBRARIES[request.param]


def _assert_equal(forest: Forest, predict: Callable[[Array], Array], X: Array, tolerance: float) -> None:
    asked = _asked(forest, X)
    found, expected = forest.predict(asked), np.asarray(predict(asked), dtype=float)
    scale = max(float(np.abs(expected).max()), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "whole"])
@pytest.mark.parametrize("depth", range(1, 9))
def test_predictions_are_the_librarys(library, depth: int, gaps: bool) -> None:
    train, tolerance = library
    X, y = _sales(400, gaps=gaps)
    forest, predict = train(X, y, depth)
    _assert_equal(forest, predict, X, tolerance)
    # As good as the library, and not only as bad.
    assert np.std(forest.predict(X) - y) < np.std(y)


@pytest.mark.parametrize("parameters", [
    {"gamma": 2.0}, {"grow_policy": "lossguide", "max_leaves": 9}, {"base_score": 0.5}, {"gamma": 1e9},
    {"min_child_weight": 30, "reg_lambda": 9.0}, {"subsample": 0.5, "colsample_bytree": 0.4},
], ids=str)  # fmt: skip
def test_xgboost_however_it_grew(parameters: dict[str, Any]) -> None:
    X, y = _sales(300, gaps=True)
    forest, predict = _xgboost(X, y, 6, **parameters)
    _assert_equal(forest, predict, X, 2e-5)


def test_a_slice_of_a_booster_is_that_many_trees() -> None:
    X, y = _sales(300, gaps=True)
    booster = xgboost.train({"max_depth": 4, "nthread": 1, "verbosity": 0}, xgboost.DMatrix(X, y), 30)[:7]
    forest = from_xgboost(json.loads(bytes(booster.save_raw(raw_format="json"))))
    assert len(forest.root) == 7
    _assert_equal(forest, lambda rows: booster.predict(xgboost.DMatrix(rows)), X, 2e-5)


@pytest.mark.parametrize("parameters", [
    {"min_data_in_leaf": 150}, {"min_data_in_leaf": 1000}, {"bagging_fraction": 0.5, "bagging_freq": 1},
    {"feature_fraction": 0.4, "lambda_l2": 5.0},
], ids=str)  # fmt: skip
def test_lightgbm_however_it_grew(parameters: dict[str, Any]) -> None:
    X, y = _sales(300, gaps=True)
    forest, predict = _lightgbm(X, y, 5, **parameters)
    _assert_equal(forest, predict, X, 1e-12)


def test_one_price_everywhere_is_what_every_library_says(library) -> None:
    train, _ = library
    X, _ = _sales(60, gaps=True)
    forest, _ = train(X, np.full(60, 13.5), 3)
    np.testing.assert_allclose(forest.predict(X), 13.5, rtol=1e-6)


def test_a_single_row_equals_that_row_in_a_batch_to_the_bit(library) -> None:
    train, _ = library
    X, y = _sales(200, gaps=True)
    forest, _ = train(X, y, 5)
    batch = forest.predict(X)
    for row in range(len(X)):
        assert forest.predict(X[row : row + 1]).tobytes() == batch[row : row + 1].tobytes()
    order = np.random.default_rng(2).permutation(len(X))
    assert forest.predict(X[order]).tobytes() == batch[order].tobytes()
    assert forest.predict(X[:0]).shape == (0,)


def test_the_rows_are_unchanged_and_may_be_in_any_layout(library) -> None:
    train, _ = library
    X, y = _sales(100, gaps=True)
    forest, _ = train(X, y, 4)
    before = X.tobytes()
    expected = forest.predict(X)
    assert forest.predict(np.asfortranarray(X)).tobytes() == expected.tobytes()
    assert forest.predict(np.repeat(X, 2, axis=0)[::2]).tobytes() == expected.tobytes()
    assert X.tobytes() == before


def test_the_state_survives_the_disk_to_the_bit(library) -> None:
    train, _ = library
    X, y = _sales(200, gaps=True)
    forest, _ = train(X, y, 5)
    state = forest.state()
    again = Forest.from_state(State(json.loads(json.dumps(state.data)), unpack_arrays(pack_arrays(state.arrays))))
    assert again.predict(X).tobytes() == forest.predict(X).tobytes()
    assert again.state().data == state.data
    assert pack_arrays(again.state().arrays) == pack_arrays(state.arrays)
