"""Symmetric trees as flat arrays answer as CatBoost does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
from numpy.typing import NDArray

from appraise.features.state import State
from appraise.models.symmetric import MAX_DEPTH, SymmetricTrees
from appraise.registry.npz import pack_arrays, unpack_arrays

Array = NDArray[np.float64]
Grown = tuple[SymmetricTrees, catboost.CatBoostRegressor]


@pytest.fixture
def grow(tmp_path: Path) -> Callable[..., Grown]:
    """Train CatBoost and read its model."""

    def grown(X: Array, y: Array, *, depth: int = 4, **parameters: Any) -> Grown:
        settings = {
            "iterations": 40, "learning_rate": 0.3, "border_count": 128, "nan_mode": "Min", "random_seed": 0,
            "thread_count": 1, "allow_writing_files": False, "verbose": False, **parameters,
        }  # fmt: skip
        booster = catboost.CatBoostRegressor(depth=depth, **settings).fit(X, y)
        booster.save_model(str(tmp_path / "model.json"), format="json")
        return SymmetricTrees.from_catboost(json.loads((tmp_path / "model.json").read_text())), booster

    return grown


def _sales(rows: int, *, gaps: bool = True, seed: int = 0) -> tuple[Array, Array]:
    """Numbers, integers, a constant, a flag, steps that single precision cannot tell apart, and gaps."""
    random = np.random.default_rng(seed)
    X = np.column_stack((
        random.normal(0.0, 1.0, rows),
        random.integers(-3, 4, rows),
        np.full(rows, 7.0),
        random.random(rows) < 0.5,
        17000.0 + random.integers(0, 50, rows) * 1e-3,
        np.exp(random.normal(0.0, 8.0, rows)),
    )).astype(float)  # fmt: skip
    y = X[:, 0] * X[:, 1] + 3.0 * X[:, 3] + np.log(X[:, 5]) / 8 + random.normal(0.0, 0.1, rows)
    if gaps:
        X[random.random(X.shape) < 0.15] = np.nan
    return X, y


def _asked(trees: SymmetricTrees, X: Array) -> Array:
    """Rows of X with values on every border and just beside it, gaps, and sizes that no home has."""
    random = np.random.default_rng(1)
    rows = [X]
    for used, column in enumerate(trees.column):
        borders = trees.border[trees.first_border[used] : trees.first_border[used + 1]]
        # The lowest border parts missing values from all others.
        for border in borders[np.abs(borders) < 1e38]:
            beside = [border, np.nextafter(border, np.float32(-np.inf)), np.nextafter(border, np.float32(np.inf)),
                      np.nextafter(float(border), -np.inf), np.nextafter(float(border), np.inf)]  # fmt: skip
            some = X[random.integers(0, len(X), len(beside))].copy()
            some[:, column] = beside
            rows.append(some)
    gaps = X[:50].copy()
    gaps[random.random(gaps.shape) < 0.3] = np.nan
    return np.concatenate((*rows, gaps, *(np.full((1, X.shape[1]), value) for value in (np.nan, 0.0, -1e38, 1e38))))


def _assert_equal(grown: Grown, X: Array) -> None:
    trees, booster = grown
    asked = _asked(trees, X)
    np.testing.assert_allclose(trees.predict(asked), booster.predict(asked), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "whole"])
@pytest.mark.parametrize("depth", range(1, MAX_DEPTH + 1))
def test_predictions_are_the_librarys(grow: Callable[..., Grown], depth: int, gaps: bool) -> None:
    X, y = _sales(400, gaps=gaps)
    grown = grow(X, y, depth=depth)
    _assert_equal(grown, X)
    assert np.std(grown[0].predict(X) - y) < np.std(y)
    assert grown[0].leaf.shape == (40, 2**depth)


@pytest.mark.parametrize("parameters", [
    {"border_count": 254}, {"border_count": 1}, {"rsm": 0.3}, {"boost_from_average": False}, {"loss_function": "MAE"},
    {"iterations": 1}, {"model_shrink_rate": 0.1},
], ids=str)  # fmt: skip
def test_however_it_grew(grow: Callable[..., Grown], parameters: dict[str, Any]) -> None:
    X, y = _sales(1500)
    _assert_equal(grow(X, y, **parameters), X)


def test_scale_and_bias_are_the_models(grow: Callable[..., Grown], tmp_path: Path) -> None:
    X, y = _sales(200)
    _, booster = grow(X, y)
    booster.set_scale_and_bias(0.5, 3.0)
    booster.save_model(str(tmp_path / "scaled.json"), format="json")
    _assert_equal((SymmetricTrees.from_catboost(json.loads((tmp_path / "scaled.json").read_text())), booster), X)


@pytest.mark.parametrize("rows", [2, 3, 5, 9])
def test_trees_that_could_not_grow_deep(grow: Callable[..., Grown], rows: int) -> None:
    X, y = _sales(rows, gaps=False)
    _assert_equal(grow(X, y, depth=8), X)


def test_more_trees_than_sums_of_digits_hold(grow: Callable[..., Grown]) -> None:
    X, y = _sales(300)
    trees, booster = grow(X, y, depth=2, iterations=1100, learning_rate=0.02)
    assert trees.leaf.shape == (1100, 4)
    _assert_equal((trees, booster), X)
    assert trees.predict(X[:1]).tobytes() == trees.predict(X)[:1].tobytes()


@pytest.mark.parametrize("scale", [0.0, 1e-250, 1e-9, 1e9, 1e300])
def test_leaves_of_any_size(grow: Callable[..., Grown], scale: float) -> None:
    X, y = _sales(100)
    trees, booster = grow(X, y, iterations=5)
    scaled = replace(trees, leaf=trees.leaf * scale, base=0.0)
    expected = (booster.predict(X) - trees.base) * scale
    np.testing.assert_allclose(scaled.predict(X), expected, rtol=1e-11, atol=1e-12 * scale)
    unbounded = replace(trees, leaf=np.full_like(trees.leaf, np.inf))
    assert np.isnan(unbounded.predict(X)).all()


def test_a_processor_without_byte_permutes_says_the_same_to_the_bit(grow: Callable[..., Grown], tmp_path: Path) -> None:
    X, y = _sales(300)
    trees, _ = grow(X, y, depth=6)
    state = trees.state()
    np.savez(tmp_path / "trees.npz", asked=X, **state.arrays)
    program = (
        "import sys, numpy as np\n"
        "from appraise.models.oblivious import can_permute\n"
        "from appraise.models.symmetric import SymmetricTrees\n"
        "from numba import njit\n"
        "parts = dict(np.load(sys.argv[1]))\n"
        "asked, base = parts.pop('asked'), float(sys.argv[2])\n"
        "assert not njit(lambda: can_permute())()\n"
        "sys.stdout.write(SymmetricTrees(**parts, base=base).predict(asked).tobytes().hex())\n"
    )
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "trees.npz"), repr(state.data["base"])],
        env=environment, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert said.stdout == trees.predict(X).tobytes().hex()


@pytest.mark.parametrize("rows", [1, 2, 31, 32, 63, 64, 65, 128, 130, 256, 300])
def test_a_single_row_equals_that_row_in_a_batch_to_the_bit(grow: Callable[..., Grown], rows: int) -> None:
    X, y = _sales(300)
    # One and two more trees than are added together.
    trees, _ = grow(X, y, depth=6, iterations=41 + rows % 2)
    batch = trees.predict(X[:rows])
    assert batch.shape == (rows,)
    for row in range(rows):
        assert trees.predict(X[row : row + 1]).tobytes() == batch[row : row + 1].tobytes()
    assert trees.predict(X[:rows][::-1]).tobytes() == batch[::-1].tobytes()
    assert trees.predict(X[:0]).shape == (0,)


def test_the_rows_are_unchanged_and_may_be_in_any_layout(grow: Callable[..., Grown]) -> None:
    X, y = _sales(100)
    trees, _ = grow(X, y)
    before, expected = X.tobytes(), trees.predict(X)
    assert trees.predict(np.asfortranarray(X)).tobytes() == expected.tobytes()
    assert trees.predict(np.repeat(X, 2, axis=0)[::2]).tobytes() == expected.tobytes()
    assert X.tobytes() == before


def test_the_state_survives_the_disk_to_the_bit(grow: Callable[..., Grown]) -> None:
    X, y = _sales(200)
    trees, _ = grow(X, y)
    state = trees.state()
    again = SymmetricTrees.from_state(
        State(json.loads(json.dumps(state.data)), unpack_arrays(pack_arrays(state.arrays)))
    )
    assert again.predict(X).tobytes() == trees.predict(X).tobytes()
    assert again.state().data == state.data
    assert pack_arrays(again.state().arrays) == pack_arrays(state.arrays)


def test_every_training_row_is_counted_in_one_leaf_of_each_tree(grow: Callable[..., Grown]) -> None:
    X, y = _sales(200)
    trees, _ = grow(X, y, depth=5)
    assert trees.cover.sum(axis=1).tolist() == [200.0] * 40


def test_trees_too_deep_are_refused(grow: Callable[..., Grown]) -> None:
    X, y = _sales(2000, gaps=False)
    with pytest.raises(ValueError, match=f"depth {MAX_DEPTH + 1}; at most {MAX_DEPTH}"):
        grow(X, y, depth=MAX_DEPTH + 1, iterations=3)
