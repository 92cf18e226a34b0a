"""What is ordinary, and scores that grow the further a row is from it."""

import numpy as np
import pytest

from appraise.models.intervals import conformal_quantile
from appraise.models.support import Ladder, Support, market_quantiles, place_severity
from appraise.registry.npz import pack_arrays, unpack_arrays

EDGES = np.array([0.0, 1.0, 2.0])


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    random = np.random.default_rng(0)
    severity = random.uniform(-1.0, 3.0, 4000)
    scores = np.abs(random.normal(size=4000)) * np.where(severity > 2, 5.0, np.where(severity > 1, 2.0, 1.0))
    made = Ladder.of(EDGES, severity, scores, least=30)
    assert made is not None
    return made


def support(**changed: object) -> Support:
    parts: dict[str, object] = {
        "near": np.array([0, 1]),
        "farthest": 1.0,
        "least_gap": 0.2,
        "checked": 2.0,
        "place": None,
        "weights": np.array([0.5, 0.0, 0.1]),
        "usual": np.array([False, True, True]),
        "most_missing": 1,
        "inputs": None,
        "least_known": 3.0,
        "market": market_quantiles(np.arange(1.0, 102.0)),
    }
    return Support(**(parts | changed))


@pytest.mark.parametrize("level", [0.5, 0.6827, 0.9, 0.95])
def test_each_rung_covers_its_rows_and_is_wider_than_the_one_below(ladder, level):
    found = ladder.quantiles(level, np.array([-0.5, 0.5, 1.5, 2.5]))
    assert found[0] == 0.0
    assert (np.diff(found) > 0).all()
    random = np.random.default_rng(1)
    for quantile, size in zip(found[1:], (1.0, 2.0, 5.0), strict=True):
        assert (np.abs(random.normal(size=4000)) * size <= quantile).mean() == pytest.approx(level, abs=0.05)


def test_what_is_beyond_everything_has_the_scores_of_the_last_rung(ladder):
    assert ladder.quantiles(0.9, np.array([np.inf])) == ladder.quantiles(0.9, np.array([2.5]))


def test_a_rung_with_smaller_scores_than_the_one_below_takes_those(ladder):
    severity = np.repeat([0.5, 1.5], 100)
    made = Ladder.of(EDGES, severity, np.concatenate((np.linspace(0, 10, 100), np.linspace(0, 1, 100))), least=30)
    low, high = made.quantiles(0.9, np.array([0.5, 1.5]))
    assert high == low


def test_a_rung_with_few_rows_is_left_out_and_what_is_not_ordinary_begins_at_the_first_edge():
    severity = np.array([0.5] * 3 + [1.5] * 100)
    made = Ladder.of(EDGES, severity, np.linspace(0, 1, 103), least=30)
    assert made.edges.tolist() == [0.0]
    assert made.quantiles(0.9, np.array([0.5])) > 0
    assert Ladder.of(EDGES, severity[:3], severity[:3], least=30) is None


def test_a_place_is_ordinary_within_the_limits_and_one_without_any_sale_is_infinitely_far():
    near = np.array([[0.5, 1.0], [1.5, 2.0], [0.5, 0.6], [4.0, 4.01], [np.nan, np.nan]])
    severity = place_severity(near, 1.0, 0.2)
    assert severity[0] <= 0
    assert severity[1] == pytest.approx(0.5)
    assert severity[2] == pytest.approx(0.5)
    assert severity[3] == pytest.approx(3.0)
    assert severity[4] == np.inf
    assert support().is_beyond(near).tolist() == [False, False, False, True, True]


def test_without_places_no_place_is_out_of_the_ordinary():
    bare = support(near=np.empty(0, np.int64))
    X = np.full((3, 2), np.nan)
    assert bare.severity_of_place(X).tolist() == [0.0, 0.0, 0.0]
    assert not bare.is_beyond(X).any()


def test_an_input_is_unknown_where_it_is_usually_known_or_too_many_are_missing():
    nan = np.nan
    values = np.array([[1.0, 1.0, 1.0], [1.0, nan, 1.0], [1.0, nan, nan], [nan, nan, 1.0]])
    outside = np.zeros(values.shape, np.bool_)
    outside[0, 2] = True
    assert support().unknown(values, outside).tolist() == [
        [False, False, True],
        [False, False, False],
        [False, True, True],
        [True, False, False],
    ]


def test_the_typical_range_holds_that_share_of_the_prices():
    low, high = support().typical_range(0.9)
    prices = np.arange(1.0, 102.0)
    assert ((low <= prices) & (prices <= high)).mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("with_ladders", [True, False])
def test_it_comes_back_from_a_bundle_equal_to_the_bit(ladder, with_ladders):
    chosen = ladder if with_ladders else None
    before = support(place=chosen, inputs=chosen, checked=np.inf, least_gap=-np.inf)
    state = before.state()
    after = Support.from_state(type(state)(state.data, unpack_arrays(pack_arrays(state.arrays))))
    severity = np.array([-1.0, 0.5, 1.5, 9.0])
    assert after.quantiles(0.9, severity, severity).tolist() == before.quantiles(0.9, severity, severity).tolist()
    assert (after.checked, after.least_gap, after.most_missing) == (np.inf, -np.inf, 1)
    assert after.usual.dtype == np.bool_
    assert after.near.tolist() == [0, 1]
    assert after.first_loss == before.first_loss


def test_the_larger_of_two_reasons_counts(ladder):
    both = support(place=ladder, inputs=ladder)
    found = both.quantiles(0.9, np.array([0.5, 2.5]), np.array([2.5, 0.5]))
    assert found[0] == found[1] == conformal_quantile(ladder.scores[2], 0.9)
