"""Least squares and ridge on what files hold."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression as Reference
from sklearn.linear_model import Ridge

from appraise.features.state import State
from appraise.models.base import TrainingData
from appraise.models.linear import LinearRegression, RidgeRegression
from appraise.registry.npz import pack_arrays, unpack_arrays

Array = NDArray[np.float64]
KINDS = pytest.mark.parametrize("kind", [LinearRegression, RidgeRegression])


def _data(rows: int = 200, *, columns: int = 5, noise: float = 0.1, seed: int = 0) -> TrainingData:
    random = np.random.default_rng(seed)
    X = random.uniform(-1.0, 1.0, (rows + 100, columns)) * 10.0 ** np.arange(columns)
    y = 12.0 + X @ (10.0 ** -np.arange(columns)) + random.normal(0.0, noise, len(X))
    names = tuple(f"x{i}" for i in range(columns))
    return TrainingData(names, X[:rows], y[:rows], X[rows:], y[rows:])


def _with(data: TrainingData, column: int, value: float) -> TrainingData:
    X, X_val = data.X.copy(), data.X_val.copy()
    X[:, column] = X_val[:, column] = value
    return replace(data, X=X, X_val=X_val)


def test_least_squares_is_that_of_scikit_learn() -> None:
    data = _data()
    expected = Reference().fit(data.X, data.y).predict(data.X_val)
    np.testing.assert_allclose(LinearRegression().fit(data).predict(data.X_val), expected, atol=1e-6)


def test_ridge_is_that_of_scikit_learn_at_its_penalty() -> None:
    data = _data(40, columns=12, noise=3.0)
    model = RidgeRegression().fit(data)
    Z = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
    Z_val = (data.X_val - data.X.mean(axis=0)) / data.X.std(axis=0)
    expected = Ridge(model.penalty_ * len(Z)).fit(Z, data.y).predict(Z_val)
    np.testing.assert_allclose(model.predict(data.X_val), expected, rtol=1e-9)


def test_the_penalty_is_the_one_that_validates_best() -> None:
    data = _data(40, columns=30, noise=20.0)
    model = RidgeRegression().fit(data)

    def error(penalty: float, X: Array, y: Array) -> float:
        trial = RidgeRegression()
        trial.penalties = (penalty,)
        return float(np.mean((trial.fit(data).predict(X) - y) ** 2))

    validation = {penalty: error(penalty, data.X_val, data.y_val) for penalty in RidgeRegression.penalties}
    assert model.penalty_ == min(validation, key=lambda penalty: validation[penalty])
    training = {penalty: error(penalty, data.X, data.y) for penalty in RidgeRegression.penalties}
    assert min(training, key=lambda penalty: training[penalty]) == min(RidgeRegression.penalties) < model.penalty_


def test_other_validation_rows_choose_another_penalty() -> None:
    data = _data(40, columns=30, noise=20.0)
    noisy = RidgeRegression().fit(data)
    own = RidgeRegression().fit(replace(data, X_val=data.X, y_val=data.y))
    assert own.penalty_ < noisy.penalty_


@KINDS
def test_a_refit_takes_all_rows_and_the_penalty_that_was_found(kind: type[LinearRegression]) -> None:
    data = _data(40, columns=30, noise=20.0)
    model = kind().fit(data)
    before = model.predict(data.X_val)
    again = model.refit(data)
    assert again.penalty_ == model.penalty_
    assert (again.predict(data.X_val) != before).any()
    assert model.predict(data.X_val).tobytes() == before.tobytes()
    X, y = np.concatenate((data.X, data.X_val)), np.concatenate((data.y, data.y_val))
    expected = kind()
    expected.penalties = (model.penalty_,)
    expected.fit(TrainingData(data.names, X, y, X, y))
    assert again.predict(data.X).tobytes() == expected.predict(data.X).tobytes()


@KINDS
def test_missing_values_count_as_the_median(kind: type[LinearRegression]) -> None:
    data = _data()
    X = data.X.copy()
    X[::3, 1] = np.nan
    model = kind().fit(replace(data, X=X))
    asked, filled = data.X_val.copy(), data.X_val.copy()
    asked[:, 1], filled[:, 1] = np.nan, np.nanmedian(X[:, 1])
    assert model.predict(asked).tobytes() == model.predict(filled).tobytes()


@KINDS
@pytest.mark.parametrize("value", [np.nan, 0.0, 3.3, 123_456.789, 1e15])
def test_a_column_that_never_varies_has_no_say(kind: type[LinearRegression], value: float) -> None:
    data = _with(_data(), 2, value)
    model = kind().fit(data)
    assert np.isfinite(model.predict(data.X_val)).all()
    assert model.importances()[2] == 0.0
    for other in (-1e9, 0.0, 1e30, np.nan):
        asked = _with(data, 2, other).X_val
        np.testing.assert_allclose(model.predict(asked), model.predict(data.X_val), rtol=1e-12)


@KINDS
def test_nothing_known_of_any_row_is_the_mean_price(kind: type[LinearRegression]) -> None:
    data = _data()
    data = replace(data, X=np.full_like(data.X, np.nan), X_val=np.full_like(data.X_val, np.nan))
    model = kind().fit(data)
    np.testing.assert_allclose(model.predict(data.X_val), data.y.mean())
    np.testing.assert_allclose(model.importances(), 1 / 5)


@KINDS
def test_equal_columns_share_one_coefficient(kind: type[LinearRegression]) -> None:
    data = _data()
    X, X_val = np.column_stack((data.X, data.X[:, 0])), np.column_stack((data.X_val, data.X_val[:, 0]))
    twins = kind().fit(replace(data, names=(*data.names, "twin"), X=X, X_val=X_val))
    assert twins.coefficients_[0] == pytest.approx(twins.coefficients_[5], rel=1e-4)
    np.testing.assert_allclose(twins.predict(X_val), kind().fit(data).predict(data.X_val), atol=0.05)


@KINDS
def test_a_wild_value_moves_the_estimate_no_further_than_an_unusual_one(kind: type[LinearRegression]) -> None:
    data = _data()
    model = kind().fit(data)
    wild, unusual = _with(data, 0, 1e38).X_val, _with(data, 0, 50.0).X_val
    assert model.predict(wild).tobytes() == model.predict(unusual).tobytes()


@KINDS
def test_a_wild_training_value_does_not_break_the_others(kind: type[LinearRegression]) -> None:
    data = _data()
    X = data.X.copy()
    X[0, 0] = 1e38
    assert np.isfinite(kind().fit(replace(data, X=X)).predict(data.X_val)).all()


@KINDS
@pytest.mark.parametrize("rows", [1, 2])
def test_very_few_rows(kind: type[LinearRegression], rows: int) -> None:
    data = _data()
    few = replace(data, X=data.X[:rows], y=data.y[:rows], X_val=data.X_val[:1], y_val=data.y_val[:1])
    assert np.isfinite(kind().fit(few).predict(data.X_val)).all()


@KINDS
def test_one_price_everywhere(kind: type[LinearRegression]) -> None:
    data = replace(_data(), y=np.full(200, 13.5), y_val=np.full(100, 13.5))
    np.testing.assert_allclose(kind().fit(data).predict(data.X_val), 13.5)


@KINDS
def test_a_single_row_equals_that_row_in_a_batch_to_the_bit(kind: type[LinearRegression]) -> None:
    data = _data(columns=90)
    model = kind().fit(data)
    batch = model.predict(data.X_val)
    for row in range(len(batch)):
        assert model.predict(data.X_val[row : row + 1]).tobytes() == batch[row : row + 1].tobytes()
    assert model.predict(np.asfortranarray(data.X_val)).tobytes() == batch.tobytes()
    assert model.predict(data.X_val[:37]).tobytes() == batch[:37].tobytes()
    assert model.predict(data.X_val[:0]).shape == (0,)


@KINDS
def test_importances_add_up_to_one(kind: type[LinearRegression]) -> None:
    importances = kind().fit(_data()).importances()
    assert importances.shape == (5,)
    assert (importances >= 0).all()
    assert importances.sum() == pytest.approx(1.0)


@KINDS
def test_the_state_survives_the_disk_to_the_bit(kind: type[LinearRegression]) -> None:
    data = _with(_data(), 3, 5.0)
    model = kind().fit(data)
    state = model.state()
    text = json.dumps(state.data, allow_nan=False)
    again = kind.from_state(State(json.loads(text), unpack_arrays(pack_arrays(state.arrays))))
    assert again.predict(data.X_val).tobytes() == model.predict(data.X_val).tobytes()
    assert again.penalty_ == model.penalty_
    assert pack_arrays(again.state().arrays) == pack_arrays(state.arrays)
    assert again.refit(data).predict(data.X).tobytes() == model.refit(data).predict(data.X).tobytes()


@KINDS
def test_the_rows_are_unchanged_and_each_penalty_is_reported(kind: type[LinearRegression]) -> None:
    steps: list[tuple[int, int]] = []
    data = replace(_data(), report=lambda done, total: steps.append((done, total)))
    before = data.X.tobytes(), data.y.tobytes(), data.X_val.tobytes()
    kind().fit(data).predict(data.X_val)
    assert (data.X.tobytes(), data.y.tobytes(), data.X_val.tobytes()) == before
    assert steps == [(i, len(kind.penalties)) for i in range(1, len(kind.penalties) + 1)]
