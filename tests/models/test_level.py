"""The market level: what recent sales fetched above the model, as far as it is known on the day."""

import numpy as np
import pytest

from appraise.models.level import MarketLevel


def days(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def shrunk(median: float, count: int) -> float:
    return median * count / (count + 10)


def test_it_is_the_median_of_the_window_drawn_towards_zero_where_sales_are_few():
    level = MarketLevel.of(days(100, 101, 102), np.array([0.1, 0.9, 0.2]), window=30, lag=1)
    assert level.at(days(103)) == pytest.approx(shrunk(0.2, 3))
    many = MarketLevel.of(np.full(1000, 100.0), np.full(1000, 0.3), window=30, lag=1)
    assert many.at(days(101)) == pytest.approx(0.3, abs=0.004)


@pytest.mark.parametrize("lag", [1, 7])
def test_a_sale_counts_from_its_lag_on(lag):
    level = MarketLevel.of(days(100), np.array([0.5]), window=30, lag=lag)
    assert level.at(days(99, 100, 100 + lag - 1)).tolist() == [0, 0, 0]
    assert level.at(days(100 + lag)) == pytest.approx(shrunk(0.5, 1))


def test_the_window_forgets_and_the_last_level_stands():
    level = MarketLevel.of(days(100, 129, 130), np.array([0.8, 0.1, 0.1]), window=30, lag=1)
    assert level.at(days(130)) == pytest.approx(shrunk(0.45, 2))
    assert level.at(days(131)) == pytest.approx(shrunk(0.1, 2))
    assert level.at(days(5000)) == level.at(days(131))


def test_it_is_zero_before_the_first_sale_and_without_sales():
    assert MarketLevel.empty(window=30, lag=1).at(days(0, 1e5, np.nan)).tolist() == [0, 0, 0]
    assert MarketLevel.of(days(100), np.array([0.5]), window=30, lag=1).at(days(-5)) == 0


def test_a_row_without_a_day_is_valued_with_all_sales():
    level = MarketLevel.of(days(100, 200), np.array([0.5, 0.2]), window=30, lag=1)
    assert level.at(days(np.nan)) == level.at(days(300))


def test_a_sale_without_a_day_never_becomes_known():
    known = MarketLevel.of(days(100, 101), np.array([0.1, 0.2]), window=30, lag=1)
    with_undated = MarketLevel.of(days(np.nan, 100, 101), np.array([9.0, 0.1, 0.2]), window=30, lag=1)
    assert with_undated.at(days(50, 101, 102, 500)).tolist() == known.at(days(50, 101, 102, 500)).tolist()


@pytest.mark.parametrize("lag", [1, 7])
def test_no_later_sale_has_a_say_in_the_level_of_a_day(lag):
    random = np.random.default_rng(0)
    # Long silences: the level of a day in one must not depend on whether the market speaks again.
    day = np.floor(np.cumsum(random.exponential(6.0, 300) * random.choice([0.2, 5.0], 300)))
    residual = random.normal(0.1, 0.2, 300)
    everything = MarketLevel.of(day, residual, window=30, lag=lag)
    for asked in np.linspace(day[0] - 5, day[-1] + 60, 120).round():
        known = day <= asked - lag
        as_of = MarketLevel.of(day[known], residual[known], window=30, lag=lag)
        assert as_of.at(days(asked)) == everything.at(days(asked))


def test_sales_may_come_in_any_order_and_in_parts():
    random = np.random.default_rng(1)
    day, residual = random.integers(0, 200, 80).astype(float), random.normal(0, 0.2, 80)
    whole = MarketLevel.of(np.sort(day), residual[np.argsort(day, kind="stable")], window=30, lag=1)
    parts = MarketLevel.empty(window=30, lag=1).with_sales(day[50:], residual[50:]).with_sales(day[:50], residual[:50])
    asked = np.arange(-10.0, 260.0)
    assert parts.at(asked).tolist() == whole.at(asked).tolist()


def test_it_comes_back_from_its_state_equal_to_the_bit():
    random = np.random.default_rng(2)
    level = MarketLevel.of(random.integers(0, 99, 50).astype(float), random.normal(0, 1, 50), window=30, lag=7)
    again = MarketLevel.from_state(level.state())
    asked = np.arange(-10.0, 200.0)
    assert (again.window, again.lag) == (30, 7)
    assert again.at(asked).tolist() == level.at(asked).tolist()
