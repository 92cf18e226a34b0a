from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appraise.errors import DataError
from appraise.evaluation import point_errors
from appraise.evaluation.bootstrap import MAX_DRAWS, percentile_intervals
from appraise.evaluation.metrics import METRICS, Measured, measure, standings

JSON_KEYS = {
    "rmse", "mae", "r2", "mape", "mdape", "ppe10", "ppe20", "median_ratio", "cod", "prd", "prb", "mki", "vei",
}  # fmt: skip


def market(rows: int, seed: int = 0, error: float = 0.12) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    actual = np.exp(generator.normal(12.5, 0.5, rows))
    return actual, actual * np.exp(generator.normal(0.0, error, rows))


def test_point_errors_of_a_hand_made_case() -> None:
    actual, estimate = [100.0, 200.0, 400.0, 500.0], [110.0, 180.0, 400.0, 625.0]
    figures = {key: measured.value for key, measured in measure(actual, estimate, resamples=0).items()}
    assert figures["rmse"] == pytest.approx(math.sqrt((100 + 400 + 0 + 15625) / 4))
    assert figures["mae"] == pytest.approx((10 + 20 + 0 + 125) / 4)
    assert figures["r2"] == pytest.approx(1 - 16125 / 100000)
    assert figures["mape"] == pytest.approx((0.1 + 0.1 + 0 + 0.25) / 4)
    assert figures["mdape"] == pytest.approx(0.1)
    assert figures["bias"] == pytest.approx((0.1 - 0.1 + 0 + 0.25) / 4)
    assert figures["ppe20"] == 0.75
    assert figures["fsd"] == pytest.approx(np.std([0.1, -0.1, 0.0, 0.25], ddof=1))


def test_an_error_of_exactly_ten_percent_counts_as_within() -> None:
    assert point_errors.ppe10([1000.0, 1000.0], [1100.0, 900.0]) == 1.0


def test_every_key_of_the_json_is_there_and_perfect_estimates_are_perfect() -> None:
    actual, _ = market(600)
    figures = {key: one.value for key, one in measure(actual, actual, resamples=0).items()}
    assert figures.keys() >= JSON_KEYS
    ideal = {"r2": 1.0, "ppe10": 1.0, "ppe20": 1.0, "median_ratio": 1.0, "prd": 1.0, "mki": 1.0}
    for key, value in figures.items():
        assert value == pytest.approx(ideal.get(key, 0.0), abs=1e-12), key


def test_regressive_estimates_are_called_regressive_by_all_four() -> None:
    actual, _ = market(2000)
    figures = {key: one.value for key, one in measure(actual, actual**0.8 * 12.0, resamples=0).items()}
    assert figures["prd"] > 1.03
    assert figures["prb"] < -0.05
    assert figures["mki"] < 0.95
    assert figures["vei"] < -10.0


prices = st.floats(min_value=1.0, max_value=1e7)


@given(st.lists(st.tuples(prices, prices), min_size=1, max_size=80), st.randoms(use_true_random=False))
def test_no_metric_depends_on_the_order_of_rows_or_on_the_currency(rows, random) -> None:
    actual, estimate = np.array(rows).T
    shuffled = rows[:]
    random.shuffle(shuffled)
    other_actual, other_estimate = np.array(shuffled).T * 8.0
    for metric in METRICS.values():
        one, other = metric.function(actual, estimate), metric.function(other_actual, other_estimate)
        scale = 8.0 if metric.unit == "price" else 1.0
        assert other == pytest.approx(one * scale, rel=1e-6, abs=1e-6, nan_ok=True), metric.key


@pytest.mark.parametrize("rows", [1, 2, 3, 19, 20, 51, 501])
def test_tiny_samples_give_a_number_or_nan_and_never_a_warning(rows: int) -> None:
    measured = measure(*market(rows), resamples=30)
    assert math.isnan(measured["vei"].value) == (rows < 20)
    for key in ("r2", "prb", "mki", "fsd"):
        assert math.isnan(measured[key].value) == (rows == 1), key
    if rows == 1:
        assert all(math.isnan(one.low) and math.isnan(one.high) for one in measured.values())


def test_equal_prices_leave_what_needs_their_spread_undefined() -> None:
    estimate = np.linspace(90.0, 110.0, 40)
    measured = measure(np.full(40, 100.0), estimate, resamples=30)
    assert math.isnan(measured["r2"].value)
    assert math.isnan(measured["mki"].value)
    assert measured["median_ratio"].value == pytest.approx(1.0)


def test_equal_estimates_of_equal_prices_leave_prb_undefined() -> None:
    assert math.isnan(METRICS["prb"].function([100.0] * 30, [90.0] * 30))


def test_constant_estimates_of_different_prices_are_measured_as_useless() -> None:
    actual, _ = market(500)
    measured = measure(actual, np.full(500, actual.mean()), resamples=0)
    assert measured["r2"].value == pytest.approx(0.0)
    assert measured["mki"].value == pytest.approx(0.0, abs=1e-9)


def test_negative_estimates_are_measured_where_they_can_be() -> None:
    actual, estimate = market(200)
    measured = measure(actual, -estimate, resamples=20)
    assert measured["rmse"].value > 0.0
    assert all(math.isnan(measured[key].value) for key in ("cod", "prd", "prb", "mki", "vei"))


@pytest.mark.parametrize(
    ("actual", "estimate", "sentence"),
    [
        ([], [], "no rows"),
        ([1.0, math.nan], [1.0, 1.0], "1 of 2 actual prices are missing or infinite"),
        ([1.0, 1.0], [math.inf, 1.0], "1 of 2 estimates are missing or infinite"),
        ([1.0, 0.0, -5.0], [1.0, 1.0, 1.0], "2 of 3 sale prices are zero or negative"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused_with_a_hint(actual, estimate, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        measure(actual, estimate)
    assert caught.value.hint


def test_negative_prices_are_fine_where_nothing_divides_by_them() -> None:
    assert measure([-1.0, 2.0], [0.0, 2.0], keys=("rmse", "mae", "r2"), resamples=0)["mae"].value == 0.5


def test_arrays_of_different_length_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="not paired"):
        measure([1.0, 2.0], [1.0])


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(KeyError, match="rmsle"):
        measure([1.0], [1.0], keys=["rmsle"])


def test_equal_seeds_give_equal_intervals_whatever_the_order_of_the_rows() -> None:
    actual, estimate = market(400)
    first = measure(actual, estimate, seed=3, resamples=50)
    again = measure(actual[::-1], estimate[::-1], seed=3, resamples=50)
    other = measure(actual, estimate, seed=4, resamples=50)
    assert {key: one.low for key, one in again.items()} == pytest.approx({key: one.low for key, one in first.items()})
    assert other["rmse"].low != first["rmse"].low


def test_interval_of_a_mean_is_what_theory_says() -> None:
    actual, estimate = market(4000)
    measured = measure(actual, estimate, keys=["mae"], resamples=1000)["mae"]
    reach = 1.96 * np.abs(estimate - actual).std() / math.sqrt(4000)
    assert measured.high - measured.value == pytest.approx(reach, rel=0.12)
    assert measured.value - measured.low == pytest.approx(reach, rel=0.12)


def test_capped_resamples_give_the_interval_of_all_the_rows() -> None:
    rows = 8 * MAX_DRAWS
    values = np.random.default_rng(0).normal(0.0, 1.0, rows)
    [(low, high)] = percentile_intervals(
        lambda index: [float(values[index].mean())],
        [float(values.mean())],
        rows=rows,
        seed=0,
        resamples=800,
        level=0.95,
    )
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(rows), rel=0.12)


def test_a_figure_that_most_resamples_leave_undefined_has_no_interval() -> None:
    [(low, high)] = percentile_intervals(
        lambda index: [math.nan if index[0] == 0 else 1.0], [1.0], rows=5, seed=0, resamples=100, level=0.95
    )
    assert math.isnan(low)
    assert math.isnan(high)


def test_standing_tells_within_from_unsure_from_outside() -> None:
    cod, prb = METRICS["cod"], METRICS["prb"]
    assert cod.standing(Measured(12.0, 11.0, 16.0)) == "within"
    assert cod.standing(Measured(15.5, 14.5, 16.5)) == "unsure"
    assert cod.standing(Measured(18.0, 17.0, 19.0)) == "outside"
    assert cod.standing(Measured(15.5)) == "outside"
    assert cod.standing(Measured(math.nan)) is None
    assert prb.standing(Measured(0.08, 0.06, 0.11)) == "unsure", "PRB is refused only when its interval is beyond 0.10"
    assert prb.standing(Measured(0.15, 0.12, 0.18)) == "outside"
    assert METRICS["rmse"].standing(Measured(1.0, 0.9, 1.1)) is None


def test_vei_is_within_where_the_rank_intervals_overlap() -> None:
    apart = {"vei": Measured(14.0, 12.0, 16.0), "vei_significance": Measured(3.0, 1.0, 5.0)}
    overlapping = apart | {"vei_significance": Measured(-1.0, -3.0, 1.0)}
    assert standings(apart)["vei"] == "outside"
    assert standings(overlapping)["vei"] == "within"


def test_worse_by_reads_each_metric_its_own_way() -> None:
    assert METRICS["rmse"].worse_by(2.0, 1.0) > 0
    assert METRICS["ppe10"].worse_by(0.6, 0.5) < 0
    assert METRICS["prd"].worse_by(0.95, 1.03) == pytest.approx(0.02)


def test_share_within_fsd_is_two_in_three_for_normal_errors() -> None:
    generator = np.random.default_rng(0)
    estimate = np.full(20_000, 100.0)
    actual = estimate * (1.0 + 0.1 * generator.standard_normal(20_000))
    assert point_errors.share_within_fsd(actual, estimate, 0.1) == pytest.approx(0.683, abs=0.01)


def test_hit_rate() -> None:
    assert point_errors.hit_rate(90, 100) == 0.9
    assert math.isnan(point_errors.hit_rate(0, 0))
    with pytest.raises(ValueError, match="3 homes valued of 2"):
        point_errors.hit_rate(3, 2)


def test_every_metric_is_documented_with_its_title() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "metrics.md").read_text(encoding="utf-8")
    for metric in METRICS.values():
        assert f"| `{metric.key}` | {metric.title} |" in page


def test_importing_the_metrics_brings_no_plotting_or_terminal_library() -> None:
    code = (
        "import sys, appraise.evaluation.metrics, appraise.evaluation.splits\n"
        "sys.exit(', '.join({'plotly', 'rich', 'polars', 'sklearn'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
