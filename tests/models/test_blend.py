"""A blend errs less than its parts, and keeps to weights that mean something."""

import numpy as np
import pytest

from appraise.models.base import TrainingData
from appraise.models.blend import Blend, blend_weights
from appraise.models.candidates import BEST_KINDS, FAST_KINDS, MOST_ROWS, candidate_kinds, make, objective_error
from appraise.models.catalogue import MODELS, model_from_state, model_state
from appraise.models.linear import RidgeRegression
from appraise.models.trees import CatBoost, DecisionTree


@pytest.fixture(scope="module")
def data() -> TrainingData:
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 4))
    y = X[:, 0] + np.sin(3 * X[:, 1]) + random.normal(0, 0.1, 300)
    return TrainingData(("a", "b", "c", "d"), X[:200], y[:200], X[200:], y[200:])


@pytest.fixture(scope="module")
def blend(data: TrainingData) -> Blend:
    parts = (RidgeRegression().fit(data), DecisionTree({"max_depth": 4, "min_samples_leaf": 5}).fit(data))
    return Blend(parts, np.array([0.25, 0.75]))


def test_weights_are_those_of_the_least_squared_error():
    random = np.random.default_rng(0)
    y = random.normal(0, 1, 2000)
    predictions = np.stack([y + random.normal(0, 1, 2000), y + random.normal(0, 0.5, 2000)], axis=1)
    weights = blend_weights(predictions, y)
    assert weights.sum() == pytest.approx(1.0)
    assert weights == pytest.approx([0.2, 0.8], abs=0.05)
    blended = np.mean((predictions @ weights - y) ** 2)
    assert blended < np.mean((predictions - y[:, None]) ** 2, axis=0).min()


def test_a_model_that_is_not_worth_its_time_gets_no_weight():
    random = np.random.default_rng(0)
    y = random.normal(0, 1, 500)
    good = y + random.normal(0, 0.1, 500)
    assert blend_weights(np.stack([good, random.normal(0, 5, 500)], axis=1), y).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e7])
def test_weights_do_not_depend_on_the_unit(scale):
    random = np.random.default_rng(0)
    y = random.normal(0, 1, 300)
    predictions = np.stack([y + random.normal(0, 1, 300), y + random.normal(0, 1, 300)], axis=1)
    assert blend_weights(predictions * scale, y * scale) == pytest.approx(blend_weights(predictions, y), abs=1e-6)


def test_weights_of_perfect_predictions_add_up_to_one():
    y = np.arange(10.0)
    assert blend_weights(np.stack([y, y], axis=1), y).sum() == pytest.approx(1.0)


def test_a_blend_is_the_weighted_mean_of_its_parts(blend, data):
    ridge, tree = (part.predict(data.X_val) for part in blend.parts)
    assert blend.predict(data.X_val) == pytest.approx(0.25 * ridge + 0.75 * tree)
    assert blend.importances().sum() == pytest.approx(1.0)
    assert blend.importances()[:2].sum() > 0.9


def test_a_blend_comes_back_from_its_state_equal_to_the_bit(blend, data):
    again = model_from_state(model_state(blend))
    assert again.predict(data.X_val).tolist() == blend.predict(data.X_val).tolist()
    assert again.importances().tolist() == blend.importances().tolist()


def test_refitting_makes_new_parts_and_leaves_the_old_ones(blend, data):
    before = blend.predict(data.X_val)
    refitted = blend.refit(data)
    assert refitted.weights.tolist() == blend.weights.tolist()
    assert refitted.predict(data.X_val).tolist() != before.tolist()
    assert blend.predict(data.X_val).tolist() == before.tolist()


def test_candidates_that_would_take_too_long_are_left_out_and_named():
    assert candidate_kinds("fast", 1000) == (FAST_KINDS, ())
    assert candidate_kinds("best", 1000) == (BEST_KINDS, ())
    most = MOST_ROWS["random_forest"]
    assert "random_forest" in candidate_kinds("fast", most)[0]
    kinds, left_out = candidate_kinds("fast", most + 1)
    assert left_out == ("random_forest",)
    assert "random_forest" not in kinds
    assert candidate_kinds("best", most + 1)[1] == ("random_forest", "gaussian_process")


def test_every_candidate_can_be_made_and_tuned_parameters_reach_it():
    assert [make(kind).kind for kind in BEST_KINDS] == list(BEST_KINDS)
    assert set(BEST_KINDS) < set(MODELS)
    model = make("catboost", {"depth": 3})
    assert isinstance(model, CatBoost)
    assert model.parameters == {**CatBoost.defaults, "depth": 3}


def test_the_objectives_errors_are_in_money_and_as_a_share():
    actual, estimate = np.array([100.0, 200.0]), np.array([110.0, 180.0])
    assert objective_error("rmse", actual, estimate) == pytest.approx(np.sqrt(250))
    assert objective_error("relative", actual, estimate) == pytest.approx(0.1)
