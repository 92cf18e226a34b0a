"""Contributions add up to the prediction, are the libraries' own, and are Shapley values by definition."""

import json
from itertools import combinations
from math import factorial

import catboost
import lightgbm
import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from appraise.features.state import State
from appraise.models.base import Model, TrainingData
from appraise.models.blend import Blend
from appraise.models.catalogue import model_from_state, model_state
from appraise.models.contributions import contributions
from appraise.models.forest import Forest, from_lightgbm, from_sklearn, from_xgboost
from appraise.models.gaussian_process import GaussianProcess
from appraise.models.linear import RidgeRegression
from appraise.models.symmetric import SymmetricTrees
from appraise.models.trees import CatBoost, DecisionTree, LightGBM, TreeModel, XGBoost

Array = NDArray[np.float64]


def _sales(rows: int, columns: int = 8, *, seed: int = 0) -> tuple[Array, Array]:
    """Features with interactions and one value in ten missing."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, columns))
    y = 10 + X[:, 0] * X[:, 1] + np.sin(2 * X[:, 2]) + X[:, 3] ** 2 + X[:, 4] * X[:, 0] + random.normal(0, 0.1, rows)
    X[random.random(X.shape) < 0.1] = np.nan
    return X, y


def _model(kind: type[TreeModel], trees: Forest | SymmetricTrees) -> TreeModel:
    model = kind()
    model.trees_ = trees
    return model


def _symmetric(booster: catboost.CatBoostRegressor, folder) -> SymmetricTrees:
    booster.save_model(str(folder / "model.json"), format="json")
    return SymmetricTrees.from_catboost(json.loads((folder / "model.json").read_text()))


def _catboost(X: Array, y: Array, **parameters) -> catboost.CatBoostRegressor:
    fixed = {"border_count": 32, "nan_mode": "Min", "allow_writing_files": False, "verbose": False, "thread_count": 1}
    return catboost.CatBoostRegressor(**fixed, **parameters).fit(X, y)


def _of_node(forest: Forest, node: int, row: Array, known: frozenset[int]) -> float:
    """The value of a coalition below a node, by definition."""
    feature = forest.feature[node]
    if feature < 0:
        return forest.value[node]
    left, right = forest.left[node], forest.right[node]
    if feature in known:
        x = forest.rounded(row[None])[0, feature]
        goes_left = forest.missing_left[node] if np.isnan(x) else x <= forest.threshold[node]
        return _of_node(forest, left if goes_left else right, row, known)
    weights = forest.cover[[left, right]]
    share = weights[0] / weights.sum() if weights.sum() > 0 else 0.5
    return share * _of_node(forest, left, row, known) + (1 - share) * _of_node(forest, right, row, known)


def _of_level(trees: SymmetricTrees, tree: int, level: int, leaf: int, row: Array, known: frozenset[int]) -> float:
    """The same of a symmetric tree, whose root asks the last question."""
    if level < 0:
        return trees.leaf[tree, leaf]
    used, bin_ = trees.question_feature[tree, level], trees.question_bin[tree, level]
    borders = trees.border[trees.first_border[used] : trees.first_border[used + 1]]
    children = [(leaf, 0), (leaf | 1 << level, 1)]
    values = [_of_level(trees, tree, level - 1, child, row, known) for child, _ in children]
    if bin_ >= len(borders):
        return values[0]
    if trees.column[used] in known:
        return values[int(np.float32(row[trees.column[used]]) > borders[bin_])]
    weights = [trees.cover[tree].reshape(-1, 1 << level)[child >> level].sum() for child, _ in children]
    share = weights[0] / sum(weights) if sum(weights) > 0 else 0.5
    return share * values[0] + (1 - share) * values[1]


def _brute_force(trees: Forest | SymmetricTrees, row: Array) -> tuple[float, Array]:
    """Shapley's formula over all subsets of the features."""
    if isinstance(trees, Forest):

        def value(known):
            return trees.base + sum(_of_node(trees, root, row, known) for root in trees.root)
    else:

        def value(known):
            depth = trees.question_feature.shape[1]
            return trees.base + sum(_of_level(trees, t, depth - 1, 0, row, known) for t in range(len(trees.leaf)))

    n = len(row)
    out = np.zeros(n)
    values = {frozenset(s): value(frozenset(s)) for size in range(n + 1) for s in combinations(range(n), size)}
    for feature in range(n):
        for coalition, worth in values.items():
            if feature not in coalition:
                weight = factorial(len(coalition)) * factorial(n - len(coalition) - 1) / factorial(n)
                out[feature] += weight * (values[coalition | {feature}] - worth)
    return values[frozenset()], out


def _check_against_definition(model: TreeModel, X: Array) -> None:
    found = contributions(model, X)
    for i, row in enumerate(X):
        base, expected = _brute_force(model.trees_, row)
        assert found.base == pytest.approx(base, rel=1e-12)
        np.testing.assert_allclose(found.features[i], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.base + found.features.sum(axis=1), model.predict(X), rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_symmetric_trees_are_explained_as_catboost_explains_them(tmp_path, depth):
    X, y = _sales(600)
    booster = _catboost(X, y, iterations=60, depth=depth, learning_rate=0.2)
    model = _model(CatBoost, _symmetric(booster, tmp_path))
    theirs = booster.get_feature_importance(catboost.Pool(X[:100]), type="ShapValues")
    found = contributions(model, X[:100])
    assert found.base == pytest.approx(theirs[0, -1], rel=1e-9)
    np.testing.assert_allclose(found.features, theirs[:, :-1], rtol=1e-6, atol=1e-9)


def test_lightgbm_trees_are_explained_as_lightgbm_explains_them():
    X, y = _sales(1500)
    parameters = {"num_leaves": 31, "bagging_fraction": 0.7, "bagging_freq": 1, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(X, y), 60)
    theirs = booster.predict(X[:100], pred_contrib=True)
    found = contributions(_model(LightGBM, from_lightgbm(booster.dump_model())), X[:100])
    assert found.base == pytest.approx(theirs[0, -1], rel=1e-9)
    np.testing.assert_allclose(found.features, theirs[:, :-1], rtol=1e-6, atol=1e-9)


def test_xgboost_trees_are_explained_as_xgboost_explains_them():
    X, y = _sales(1500)
    booster = xgboost.train({"max_depth": 6, "subsample": 0.7, "nthread": 1}, xgboost.DMatrix(X, y), 60)
    theirs = booster.predict(xgboost.DMatrix(X[:100]), pred_contribs=True)
    found = contributions(
        _model(XGBoost, from_xgboost(json.loads(bytes(booster.save_raw(raw_format="json"))))), X[:100]
    )
    # XGBoost adds up in single precision.
    assert found.base == pytest.approx(theirs[0, -1], rel=1e-6)
    np.testing.assert_allclose(
        found.features, theirs[:, :-1], rtol=1e-6, atol=1e-6 * np.abs(theirs[:, :-1]).sum(axis=1).max()
    )


def test_scikit_learn_trees_are_explained_by_the_definition():
    X, y = _sales(300, 6)
    forest = RandomForestRegressor(4, max_depth=6, random_state=0).fit(X, y)
    _check_against_definition(_model(DecisionTree, from_sklearn(list(forest.estimators_), weight=0.25)), X[:10])


def test_symmetric_trees_are_explained_by_the_definition(tmp_path):
    X, y = _sales(300, 6)
    # Few features and deep trees: levels ask for the same feature again, and many leaves saw no row.
    model = _model(CatBoost, _symmetric(_catboost(X[:, :6], y, iterations=4, depth=7), tmp_path))
    assert (model.trees_.cover == 0).any()
    _check_against_definition(model, X[:10])


def test_trees_of_different_depth_and_constant_trees(tmp_path):
    X, y = _sales(200, 6)
    shallow = _catboost(X, y, iterations=2, depth=2)
    deep = _catboost(X, y, iterations=2, depth=4)
    both = catboost.sum_models([shallow, deep], weights=[1.0, 0.5])
    _check_against_definition(_model(CatBoost, _symmetric(both, tmp_path)), X[:5])

    stumps = lightgbm.train({"min_data_in_leaf": 500, "verbosity": -1}, lightgbm.Dataset(X, y), 2)
    constant = _model(LightGBM, from_lightgbm(stumps.dump_model()))
    found = contributions(constant, X[:3])
    assert not found.features.any()
    assert found.base == pytest.approx(constant.predict(X[:1])[0])


def test_a_row_that_goes_where_no_training_row_went():
    # The root's right child has no cover: it is reached only by knowing the feature.
    forest = Forest(
        root=np.array([0], np.int32),
        feature=np.array([0, 1, 0, -1, -1, -1, -1], np.int32),
        threshold=np.zeros(7),
        left=np.array([1, 3, 5, 0, 0, 0, 0], np.int32),
        right=np.array([2, 4, 6, 0, 0, 0, 0], np.int32),
        missing_left=np.zeros(7, np.bool_),
        value=np.array([0, 0, 0, 1.0, 2.0, 30.0, 50.0]),
        cover=np.array([10.0, 10, 0, 4, 6, 0, 0]),
        base=5.0,
        single=False,
    )
    X = np.array([[1.0, 1.0], [-1.0, 1.0], [np.nan, np.nan]])
    _check_against_definition(_model(DecisionTree, forest), X)


def test_one_row_is_explained_as_among_many(tmp_path):
    X, y = _sales(300)
    booster = lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(X, y), 20)
    for model in (
        _model(CatBoost, _symmetric(_catboost(X, y, iterations=20, depth=6), tmp_path)),
        _model(LightGBM, from_lightgbm(booster.dump_model())),
    ):
        among = contributions(model, X[:70]).features
        for i in (0, 33, 69):
            assert contributions(model, X[i : i + 1]).features[0].tolist() == among[i].tolist()


def _fitted(model: Model) -> tuple[Model, TrainingData]:
    X, y = _sales(200)
    names = ("axis_0_km", "axis_90_km", *(f"f{i}" for i in range(X.shape[1] - 2)))
    data = TrainingData(names, X, y, X[:50], y[:50])
    return model.fit(data), data


def test_linear_contributions_are_coefficients_times_distances_from_the_mean():
    model, data = _fitted(RidgeRegression())
    found = contributions(model, data.X)
    np.testing.assert_allclose(found.base + found.features.sum(axis=1), model.predict(data.X), rtol=1e-12)
    assert found.base == pytest.approx(data.y.mean())
    # Over the training rows they come to nothing, but for what is cut off.
    assert np.abs(found.features.mean(axis=0)).max() < 0.01 * np.abs(found.features).max()


def test_a_blend_weighs_its_parts_and_a_gaussian_process_is_not_split():
    ridge, data = _fitted(RidgeRegression())
    process, _ = _fitted(GaussianProcess())
    blend = Blend((ridge, process), np.array([0.25, 0.75]))
    found = contributions(blend, data.X)
    total = found.base + found.features.sum(axis=1) + found.likeness
    np.testing.assert_allclose(total, blend.predict(data.X), rtol=1e-12)
    np.testing.assert_allclose(found.features, 0.25 * contributions(ridge, data.X).features)
    assert np.abs(found.likeness).max() > 0
    assert not contributions(process, data.X).features.any()


def test_saved_trees_are_explained_alike():
    X, y = _sales(300)
    data = TrainingData(tuple(f"f{i}" for i in range(8)), X, y, X[:50], y[:50])
    model = DecisionTree().fit(data)
    saved = model_state(model)
    again = model_from_state(State(json.loads(json.dumps(saved.data)), saved.arrays))
    assert contributions(again, X).features.tolist() == contributions(model, X).features.tolist()


def test_an_unknown_model_is_named():
    with pytest.raises(TypeError, match="object has no contributions"):
        contributions(object(), np.ones((1, 1)))
