"""Conformal intervals: they cover what they promise, and are wide where the model is unsure."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from appraise.errors import FitError
from appraise.models.base import TrainingData
from appraise.models.intervals import (
    FSD_LEVEL,
    CalibrationRows,
    ConformalIntervals,
    calibrate,
    estimates_of,
    fit_scale,
    log_residuals,
    out_of_fold_estimates,
)


def noisy(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose noise grows tenfold along the first column."""
    random = np.random.default_rng(seed)
    X = random.uniform(size=(rows, 2))
    return X, X[:, 1] + (0.1 + 0.9 * X[:, 0]) * random.normal(size=rows)


def rows_of(X: np.ndarray, y: np.ndarray, *, shift: float = 0.0) -> CalibrationRows:
    return CalibrationRows(X, X[:, 1], X[:, 1], y + shift)


@pytest.fixture(scope="module")
def scale_model():
    X, y = noisy(3000, 0)
    return fit_scale(TrainingData(("where", "what"), X, y, X[:0], y[:0]), X[:, 1])


@pytest.fixture(scope="module")
def fitted(scale_model) -> ConformalIntervals:
    rows = rows_of(*noisy(1500, 1))
    return calibrate(scale_model, rows, rows)


def half_width(fitted: ConformalIntervals, X: np.ndarray, level: float, *, stale: bool = False) -> np.ndarray:
    return fitted.scale(X, X[:, 1]) * fitted.quantiles(level, np.full(len(X), stale))


@pytest.mark.parametrize("level", [0.5, FSD_LEVEL, 0.8, 0.9, 0.95])
def test_they_cover_what_they_promise_everywhere(fitted, level):
    X, y = noisy(6000, 2)
    inside = np.abs(y - X[:, 1]) <= half_width(fitted, X, level)
    assert inside.mean() == pytest.approx(level, abs=0.03)
    for quarter in range(4):
        here = (X[:, 0] * 4).astype(int) == quarter
        assert inside[here].mean() == pytest.approx(level, abs=0.07)


def test_they_are_wide_where_the_model_is_unsure(fitted):
    X, _ = noisy(2000, 3)
    scale = fitted.scale(X, X[:, 1])
    assert (scale > 0).all()
    assert scale[X[:, 0] > 0.8].mean() > 3 * scale[X[:, 0] < 0.2].mean()


def test_a_higher_level_is_wider(fitted):
    X, _ = noisy(50, 4)
    widths = [half_width(fitted, X, level) for level in (0.01, 0.5, 0.8, 0.9, 0.99, 0.99999)]
    assert all((narrow <= wide).all() for narrow, wide in itertools.pairwise(widths))
    assert (widths[1] < widths[3]).all()


def test_stale_rows_have_the_width_of_stale_scores(scale_model):
    X, y = noisy(800, 5)
    fitted = calibrate(scale_model, rows_of(X, y), rows_of(X, y, shift=1.0))
    fresh, stale = fitted.quantiles(0.9, np.array([False, True]))
    assert stale > fresh


def test_rescored_stale_widths_lie_between_the_two_bounds(scale_model):
    X, y = noisy(800, 6)
    before = calibrate(scale_model, rows_of(X, y), rows_of(X, y, shift=1.0))
    after = before.rescored(rows_of(X, y))
    fresh, stale = after.quantiles(0.9, np.array([False, True]))
    whole = fresh * np.divide(*before.quantiles(0.9, np.array([True, False])))
    assert fresh < stale < whole
    assert (np.diff(after.stale_scores) >= 0).all()


def test_too_few_validation_rows_are_refused_with_a_hint(scale_model):
    X, y = noisy(29, 7)
    with pytest.raises(FitError, match="29 validation rows are too few") as caught:
        calibrate(scale_model, rows_of(X, y), rows_of(X, y))
    assert "30" in str(caught.value.hint)


@pytest.mark.parametrize("half", [1e-6, 0.05])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_what_may_reach_the_cap_does_not_depend_on_how_wide_the_interval_is(half, logarithmic):
    estimates = np.array([4.0, 4.5, 1.0])
    centre = np.log(estimates) if logarithmic else estimates
    half_fsd = np.full(3, 0.1) if logarithmic else 0.1 * estimates
    bounds = {"floor": 0.0, "values": np.empty((3, 0)), "date": -1, "last_day": np.inf, "cap": 5.0, "reach": 2.0}
    # No upper end reaches the cap; two standard deviations above the second estimate do.
    _, found = estimates_of(centre, np.full(3, half), half_fsd, logarithmic, *bounds.values())
    assert found.tolist() == [1]


def test_one_quantile_serves_all_rows_where_none_is_stale(fitted):
    X, _ = noisy(20, 9)
    assert (fitted.quantiles(0.9, None) == fitted.quantiles(0.9, np.zeros(len(X), np.bool_))).all()


def test_they_come_back_from_their_state_equal_to_the_bit(fitted):
    X, _ = noisy(100, 8)
    again = ConformalIntervals.from_state(fitted.state())
    for stale in (False, True):
        assert half_width(again, X, 0.9, stale=stale).tolist() == half_width(fitted, X, 0.9, stale=stale).tolist()


def test_a_residual_of_zero_is_no_certainty():
    logs = log_residuals(np.array([0.0, 1.0, -1.0, 2.0]))
    assert logs == pytest.approx(np.log([0.1, 1.0, 1.0, 2.0]))
    assert np.isfinite(log_residuals(np.zeros(5))).all()


def test_out_of_fold_estimates_know_nothing_of_their_own_row():
    random = np.random.default_rng(9)
    X, y = random.normal(size=(300, 3)), random.normal(size=300)
    data = TrainingData(("a", "b", "c"), X, y, X[:0], y[:0])
    parameters = {"learning_rate": 0.3, "depth": 6}
    estimates = out_of_fold_estimates(data, parameters, iterations=50)
    # Nothing can be learnt of pure noise, but a model remembers the noise that it has seen.
    assert abs(np.corrcoef(estimates, y)[0, 1]) < 0.25
    changed = y.copy()
    changed[0] += 1000.0
    fold = np.random.RandomState(0).permutation(300) % 3
    again = out_of_fold_estimates(replace(data, y=changed), parameters, iterations=50)
    assert again[fold == fold[0]].tolist() == estimates[fold == fold[0]].tolist()
