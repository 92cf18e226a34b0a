"""Tree models: what is kept is what the library grew, stopped where validation was best."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import catboost
import lightgbm
import numpy as np
import pytest
import sklearn.ensemble
import sklearn.tree
import xgboost
from numpy.typing import NDArray

from appraise.errors import FitError
from appraise.features.state import State
from appraise.models import trees
from appraise.models.base import TrainingData
from appraise.models.catalogue import model_from_state, model_state
from appraise.models.trees import (
    CatBoost,
    DecisionTree,
    DeepCatBoost,
    LightGBM,
    RandomForest,
    TreeModel,
    XGBoost,
    curve,
)
from appraise.registry.npz import pack_arrays, unpack_arrays

Array = NDArray[np.float64]

#: Few and large steps: the libraries are not what is under test.
QUICK: dict[type[TreeModel], dict[str, Any]] = {
    DecisionTree: {"max_depth": 5, "min_samples_leaf": 5},
    RandomForest: {"n_estimators": 12},
    XGBoost: {"n_estimators": 300, "learning_rate": 0.2, "max_depth": 4},
    LightGBM: {"n_estimators": 300, "learning_rate": 0.2, "num_leaves": 15},
    CatBoost: {"iterations": 300, "learning_rate": 0.2, "depth": 4},
    DeepCatBoost: {"iterations": 300, "learning_rate": 0.3},
}
BOOSTED = (XGBoost, LightGBM, CatBoost)
every = pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.kind)
boosted = pytest.mark.parametrize("kind", BOOSTED, ids=lambda kind: kind.kind)


@pytest.fixture(scope="module", autouse=True)
def _little_patience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "PATIENCE", 10)
        yield


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No library writes to the terminal, on which data and messages go."""
    yield
    assert tuple(capfd.readouterr()) == ("", "")


def _sales(rows: int, *, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    X = np.column_stack((
        random.normal(0.0, 1.0, (rows, 3)), random.integers(0, 5, rows), np.full(rows, 2.0), np.full(rows, np.nan)
    )).astype(float)  # fmt: skip
    y = 12.0 + X[:, 0] + 0.3 * X[:, 1] * X[:, 3] + random.normal(0.0, 0.5, rows)
    X[:, :4][random.random((rows, 4)) < 0.1] = np.nan
    return X, y


def _data(rows: int = 300, **changes: Any) -> TrainingData:
    X, y = _sales(rows + 150)
    names = ("size", "land", "noise", "rooms", "constant", "missing")
    data = TrainingData(names, X[:rows], y[:rows], X[rows:], y[rows:])
    return replace(data, **changes)


def _rmse(model: TreeModel, X: Array, y: Array) -> float:
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


class Recorder:
    """What the library returned, by which our copy is judged."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.grown: list[Any] = []
        for module in (xgboost, lightgbm):
            patch.setattr(module, "train", self._noting(module.train))
        for cls in (sklearn.tree.DecisionTreeRegressor, sklearn.ensemble.RandomForestRegressor,
                    catboost.CatBoostRegressor):  # fmt: skip
            patch.setattr(cls, "fit", self._noting(cls.fit))

    def _noting(self, train: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            fitted = train(*args, **kwargs)
            self.grown.append(fitted)
            return fitted

        return noted

    def predict(self, X: Array, iterations: int) -> Array:
        last = self.grown[-1]
        if isinstance(last, xgboost.Booster):
            return np.asarray(last.predict(xgboost.DMatrix(X), iteration_range=(0, iterations)))
        if isinstance(last, lightgbm.Booster):
            return np.asarray(last.predict(X, num_iteration=iterations))
        return np.asarray(last.predict(X))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with pytest.MonkeyPatch.context() as patch:
        yield Recorder(patch)


@every
@pytest.mark.parametrize("refitted", [False, True], ids=["fit", "refit"])
def test_predictions_are_the_librarys(kind: type[TreeModel], refitted: bool, recorder: Recorder) -> None:
    data = _data()
    model = kind(QUICK[kind]).fit(data)
    if refitted:
        model = model.refit(data)
    tolerance = 1e-5 if kind is XGBoost else 1e-10
    np.testing.assert_allclose(
        model.predict(data.X_val), recorder.predict(data.X_val, model.iterations_), atol=tolerance
    )
    assert _rmse(model, data.X_val, data.y_val) < 0.9 * np.std(data.y_val)


@boosted
def test_boosting_stops_where_validation_is_best(kind: type[TreeModel]) -> None:
    data = _data()
    model = kind(QUICK[kind]).fit(data)
    assert 1 < model.iterations_ < 290
    assert model.curve_ is not None
    best = _rmse(model, data.X_val, data.y_val)
    assert best == pytest.approx(min(model.curve_.validation), rel=0.01)
    assert best <= min(model.curve_.validation) + 1e-6
    # Patience runs out after the best iteration, which is the one that is kept.
    assert model.curve_.iterations[0] == 1
    assert model.curve_.iterations[-1] == model.iterations_ + trees.PATIENCE
    assert model.curve_.train[-1] < model.curve_.train[0]


@boosted
def test_other_validation_rows_stop_elsewhere_and_teach_nothing(kind: type[TreeModel]) -> None:
    data = _data()
    model = kind(QUICK[kind]).fit(data)
    noise = replace(data, y_val=np.random.default_rng(5).normal(12.0, 1.0, len(data.y_val)))
    stopped = kind(QUICK[kind]).fit(noise)
    assert stopped.iterations_ < model.iterations_
    fixed = kind(QUICK[kind])
    fixed.grow(noise, data.X, data.y, iterations=model.iterations_)
    assert fixed.predict(data.X).tobytes() == model.predict(data.X).tobytes()


@boosted
def test_a_refit_grows_in_proportion_to_the_rows_and_leaves_the_model(kind: type[TreeModel]) -> None:
    data = _data()
    model = kind(QUICK[kind]).fit(data)
    before = model.predict(data.X)
    again = model.refit(data)
    assert again.iterations_ == round(model.iterations_ * 450 / 300)
    assert model.predict(data.X).tobytes() == before.tobytes()
    assert _rmse(again, data.X_val, data.y_val) < 0.9 * _rmse(model, data.X_val, data.y_val)
    assert again.parameters == model.parameters


def test_a_forest_has_as_many_trees_after_a_refit() -> None:
    data = _data()
    assert RandomForest(QUICK[RandomForest]).fit(data).refit(data).iterations_ == 12
    assert DecisionTree().fit(data).refit(data).iterations_ == 1


@every
def test_the_same_seed_gives_the_same_model(kind: type[TreeModel]) -> None:
    data = _data()
    first, second = kind(QUICK[kind]).fit(data), kind(QUICK[kind]).fit(data)
    assert first.predict(data.X_val).tobytes() == second.predict(data.X_val).tobytes()
    assert first.importances().tobytes() == second.importances().tobytes()
    if kind is not DecisionTree:
        other = kind(QUICK[kind]).fit(replace(data, seed=1))
        assert (other.predict(data.X_val) != first.predict(data.X_val)).any()


@every
def test_importances_add_up_to_one_and_name_what_matters(kind: type[TreeModel]) -> None:
    data = _data()
    importances = kind(QUICK[kind]).fit(data).importances()
    assert importances.shape == (6,)
    assert (importances >= 0).all()
    assert importances.sum() == pytest.approx(1.0)
    assert data.names[int(importances.argmax())] == "size"
    assert importances[4:].tolist() == [0.0, 0.0]


@every
def test_the_state_survives_the_disk_to_the_bit(kind: type[TreeModel]) -> None:
    data = _data()
    model = kind(QUICK[kind]).fit(data)
    state = model_state(model)
    text = json.dumps(state.data, allow_nan=False)
    again = model_from_state(State(json.loads(text), unpack_arrays(pack_arrays(state.arrays))))
    assert type(again) is kind
    assert isinstance(again, TreeModel)
    assert again.predict(data.X_val).tobytes() == model.predict(data.X_val).tobytes()
    assert again.importances().tobytes() == model.importances().tobytes()
    assert (again.parameters, again.iterations_) == (model.parameters, model.iterations_)
    assert json.dumps(model_state(again).data) == text
    assert pack_arrays(model_state(again).arrays) == pack_arrays(state.arrays)


@every
def test_a_single_row_equals_that_row_in_a_batch_to_the_bit(kind: type[TreeModel]) -> None:
    data = _data()
    model = kind(QUICK[kind]).fit(data)
    batch = model.predict(data.X_val)
    for row in range(len(batch)):
        assert model.predict(data.X_val[row : row + 1]).tobytes() == batch[row : row + 1].tobytes()


@every
def test_hyperparameters_are_defaults_and_what_is_given(kind: type[TreeModel]) -> None:
    assert kind().parameters == kind.defaults
    name = next(iter(kind.defaults))
    assert kind({name: 3}).parameters == {**kind.defaults, name: 3}
    assert kind.defaults[name] != 3


@every
def test_the_rows_are_unchanged(kind: type[TreeModel]) -> None:
    data = _data()
    arrays = (data.X, data.y, data.X_val, data.y_val)
    before = [array.tobytes() for array in arrays]
    model = kind(QUICK[kind]).fit(data)
    model.refit(data).predict(data.X_val)
    assert [array.tobytes() for array in arrays] == before


@every
def test_progress_goes_up_to_no_more_than_the_most(kind: type[TreeModel]) -> None:
    steps: list[tuple[int, int]] = []
    model = kind(QUICK[kind]).fit(_data(report=lambda done, total: steps.append((done, total))))
    done, totals = [step for step, _ in steps], {total for _, total in steps}
    assert done == sorted(set(done))
    assert len(totals) == 1
    assert model.iterations_ <= done[-1] <= totals.pop()


@every
def test_a_few_rows_are_enough(kind: type[TreeModel]) -> None:
    X, y = _sales(40)
    data = TrainingData(tuple("abcdef"), X[:20], y[:20], X[20:], y[20:])
    model = kind(QUICK[kind]).fit(data)
    assert np.isfinite(model.refit(data).predict(X)).all()
    assert model.importances().sum() == pytest.approx(1.0)


@pytest.mark.parametrize("refused", ["features", "prices"])
def test_rows_that_catboost_refuses_are_named_in_a_sentence(refused: str) -> None:
    data = _data()
    X = np.full_like(data.X, 5.0) if refused == "features" else data.X
    y = np.full_like(data.y, 5.0) if refused == "prices" else data.y
    with pytest.raises(FitError, match=r"cannot be trained on 300 rows: all (features|train targets) are") as caught:
        CatBoost(QUICK[CatBoost]).fit(replace(data, X=X, y=y))
    assert caught.value.hint is not None


@pytest.mark.parametrize("kind", [kind for kind in QUICK if not issubclass(kind, CatBoost)], ids=lambda kind: kind.kind)
def test_one_price_everywhere_is_what_the_model_says(kind: type[TreeModel]) -> None:
    data = _data(y=np.full(300, 13.5), y_val=np.full(150, 13.5))
    model = kind(QUICK[kind]).fit(data)
    np.testing.assert_allclose(model.predict(data.X_val), 13.5, rtol=1e-6)
    np.testing.assert_allclose(model.importances(), 1 / 6)


@every
def test_rows_of_which_nothing_is_known_have_a_price(kind: type[TreeModel]) -> None:
    data = _data()
    model = kind(QUICK[kind]).fit(data)
    prices = model.predict(np.full((2, 6), np.nan))
    assert prices[0] == prices[1]
    assert data.y.min() - 1 < prices[0] < data.y.max() + 1


@pytest.mark.parametrize("length", [1, 2, 59, 60, 61, 119, 120, 500, 2000])
def test_a_learning_curve_has_at_most_sixty_points(length: int) -> None:
    train, validation = [float(i) for i in range(length)], [float(-i) for i in range(length)]
    kept = curve(train, validation)
    assert len(kept.iterations) == len(set(kept.iterations)) == min(length, 60)
    assert (kept.iterations[0], kept.iterations[-1]) == (1, length)
    assert kept.train == tuple(i - 1.0 for i in kept.iterations)
    assert kept.validation == tuple(1.0 - i for i in kept.iterations)
