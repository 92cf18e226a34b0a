"""The k-d tree finds what looking at every point finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appraise.features.neighbours import LEAF, Tree

Found = tuple[NDArray[np.int64], NDArray[np.float64]]


def _every_point(
    points: NDArray[np.float64],
    queries: NDArray[np.float64],
    k: int,
    *,
    days: NDArray[np.float64] | None = None,
    before: NDArray[np.float64] | None = None,
    exclude: NDArray[np.int64] | None = None,
) -> Found:
    """The same answer by measuring all distances, ties by position."""
    points, queries = points.astype(np.float32).astype(float), queries.astype(np.float32).astype(float)
    positions, distances = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf)
    for row, query in enumerate(queries):
        distance = np.sqrt(((points - query) ** 2).sum(axis=1))
        known = np.ones(len(points), bool) if days is None or before is None else days < before[row]
        if exclude is not None and exclude[row] >= 0:
            known[exclude[row]] = False
        order = np.lexsort((np.arange(len(points)), distance))
        order = order[known[order]][:k]
        positions[row, : len(order)] = order
        distances[row, : len(order)] = distance[order]
    return positions, distances


def _assert_found(found: Found, expected: Found) -> None:
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)


def _grid(seed: int, rows: int, dimensions: int, *, width: int = 4) -> NDArray[np.float64]:
    """Points of a small grid: many at the same place, many equally far, all distances exact."""
    return np.random.default_rng(seed).integers(0, width, (rows, dimensions)).astype(float)


@pytest.mark.parametrize("dimensions", range(1, 13))
@pytest.mark.parametrize("rows", [1, LEAF - 1, LEAF, LEAF + 1, 1000])
def test_ties_and_duplicates_go_by_position(rows: int, dimensions: int) -> None:
    points, queries = _grid(rows, rows, dimensions), _grid(dimensions, 40, dimensions, width=6)
    for k in (1, 7, 40):
        _assert_found(Tree.build(points).query(queries, k), _every_point(points, queries, k))


@pytest.mark.parametrize("dimensions", [1, 2, 5, 12])
@pytest.mark.parametrize("rows", [1, LEAF - 1, LEAF, LEAF + 1, 1000])
def test_only_earlier_points_count_and_never_the_excluded_one(rows: int, dimensions: int) -> None:
    random = np.random.default_rng(rows)
    points, queries = _grid(1, rows, dimensions), _grid(2, 60, dimensions)
    days = random.integers(0, 20, rows).astype(float)
    days[random.random(rows) < 0.1] = np.inf
    before = random.integers(-1, 22, 60).astype(float)
    before[:5] = np.inf
    exclude = random.integers(-1, rows, 60)
    found = Tree.build(points, days).query(queries, 9, before=before, exclude=exclude)
    _assert_found(found, _every_point(points, queries, 9, days=days, before=before, exclude=exclude))
    for row, positions in enumerate(found[0]):
        assert (days[positions[positions >= 0]] < before[row]).all()
        assert exclude[row] < 0 or exclude[row] not in positions


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 300),
    dimensions=st.integers(1, 12),
    places=st.integers(1, 300),
    k=st.integers(1, 50),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
)
def test_anywhere_in_space(seed: int, rows: int, dimensions: int, places: int, k: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    # Few places for many points: duplicates that do not lie on a grid.
    points = scale * random.normal(size=(places, dimensions))[random.integers(0, places, rows)]
    queries = np.concatenate((scale * random.normal(size=(10, dimensions)), points[:10]))
    positions, distances = Tree.build(points).query(queries, k)
    expected = _every_point(points, queries, k)
    np.testing.assert_allclose(distances, expected[1], rtol=1e-5, atol=1e-6 * scale)
    for row, found in enumerate(positions):
        real = found[found >= 0]
        assert len(real) == min(k, rows) == len(set(real.tolist()))
        gaps = np.linalg.norm(points[real] - queries[row], axis=1)
        np.testing.assert_allclose(distances[row][found >= 0], gaps, rtol=1e-4, atol=1e-6 * scale)
        assert (np.diff(distances[row][found >= 0]) >= 0).all()


def test_where_there_are_fewer_than_asked_for_the_rest_is_padding() -> None:
    positions, distances = Tree.build(np.array([[0.0], [3.0], [1.0]])).query(np.array([[1.1]]), 5)
    assert positions.tolist() == [[2, 0, 1, -1, -1]]
    np.testing.assert_allclose(distances, [[0.1, 1.1, 1.9, np.inf, np.inf]], rtol=1e-5)


def test_one_point_that_is_excluded_or_not_yet_known_is_not_found() -> None:
    tree = Tree.build(np.array([[1.0, 2.0]]), np.array([5.0]))
    here = np.array([[1.0, 2.0]])
    assert tree.query(here, 1)[0].tolist() == [[0]]
    assert tree.query(here, 1, before=np.array([5.5]))[0].tolist() == [[0]]
    assert tree.query(here, 1, before=np.array([5.0]))[0].tolist() == [[-1]]
    assert tree.query(here, 1, exclude=np.array([0]))[0].tolist() == [[-1]]
    assert np.isinf(tree.query(here, 1, exclude=np.array([0]))[1]).all()


def test_a_thousand_sales_in_one_building() -> None:
    points = np.full((1000, 3), 0.1)
    positions, distances = Tree.build(points).query(points[:2], 40, exclude=np.array([0, 5]))
    assert positions[0].tolist() == list(range(1, 41))
    assert positions[1].tolist() == [i for i in range(41) if i != 5]
    assert not distances.any()


def test_equal_homes_of_many_leaves_go_by_position() -> None:
    random = np.random.default_rng(0)
    for dimensions in (9, 10, 11, 12) * 10:
        home = random.integers(0, 3, 300)
        points = random.normal(size=(3, dimensions))[home]
        for found in Tree.build(points).query(random.normal(size=(20, dimensions)), 31)[0]:
            for kind in range(3):
                counted = found[home[found] == kind]
                assert (counted == np.flatnonzero(home == kind)[: len(counted)]).all()


def test_a_single_query_equals_that_query_in_a_batch() -> None:
    random = np.random.default_rng(0)
    tree, queries = Tree.build(random.normal(size=(500, 11))), random.normal(size=(50, 11))
    positions, distances = tree.query(queries, 32)
    for row in range(50):
        one = tree.query(queries[row : row + 1], 32)
        assert one[0].tobytes() == positions[row].tobytes()
        assert one[1].tobytes() == distances[row].tobytes()


def test_no_queries() -> None:
    positions, distances = Tree.build(np.zeros((3, 2))).query(np.empty((0, 2)), 4)
    assert positions.shape == distances.shape == (0, 4)


def test_the_points_are_unchanged_and_may_be_in_any_layout() -> None:
    points = np.asfortranarray(np.random.default_rng(1).normal(size=(100, 3)))
    days = np.arange(200.0)[::2]
    before = points.copy(), days.copy()
    found = Tree.build(points, days).query(points[::2], 4, before=np.full(50, 90.0))
    assert points.tobytes() == before[0].tobytes()
    assert days.tobytes() == before[1].tobytes()
    expected = Tree.build(np.ascontiguousarray(points), days.copy()).query(
        points[::2].copy(), 4, before=np.full(50, 90.0)
    )
    _assert_found(found, expected)


@pytest.mark.parametrize(
    "points",
    [np.empty((0, 2)), np.empty((3, 0)), np.array([[1.0, np.nan]]), np.array([[np.inf, 1.0]]), np.array([[1e39]])],
    ids=["no points", "no dimensions", "nan", "infinity", "beyond single precision"],
)
def test_what_is_no_place_is_refused(points: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="a tree needs"):
        Tree.build(points)
