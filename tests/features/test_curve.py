import numpy as np

from appraise.features.geometry import curve_order


def test_points_that_are_near_come_near_each_other():
    random = np.random.default_rng(0)
    x, y = random.random(2000), random.random(2000)
    order = curve_order(x, y)
    assert sorted(order.tolist()) == list(range(2000))
    step = np.hypot(np.diff(x[order]), np.diff(y[order]))
    assert np.median(step) < 0.05 < np.median(np.hypot(np.diff(x), np.diff(y)))


def test_places_that_are_not_known_and_all_one_are_no_trouble():
    nothing = np.full(3, np.nan)
    assert curve_order(nothing, nothing).tolist() == [0, 1, 2]
    assert sorted(curve_order(np.array([1.0, np.nan, 1.0]), np.ones(3)).tolist()) == [0, 1, 2]
