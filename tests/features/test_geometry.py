"""Coordinates as kilometres along turned axes."""

import numpy as np
import pytest

from appraise.datasets.table import Table
from appraise.features.base import FitContext
from appraise.features.geometry import ANGLES, RotatedCoordinates, project

MELBOURNE = (-37.8136, 144.9631)


def _haversine(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance in km on the mean sphere."""
    (lat1, lon1), (lat2, lon2) = np.radians(a), np.radians(b)
    h = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return float(2 * 6371.0 * np.arcsin(np.sqrt(h)))


@pytest.mark.parametrize("offset", [(0.1, 0.0), (0.0, 0.1), (0.2, -0.3), (-0.4, 0.1)])
def test_distances_over_a_city_are_true(offset: tuple[float, float]) -> None:
    place = (MELBOURNE[0] + offset[0], MELBOURNE[1] + offset[1])
    ((east, north),) = project(np.array([place]), MELBOURNE)
    assert np.hypot(east, north) == pytest.approx(_haversine(MELBOURNE, place), rel=5e-3)
    assert np.sign([north, east]).tolist() == np.sign(offset).tolist()


def _fitted(place: np.ndarray) -> RotatedCoordinates:
    table = Table(("lat", "lon"), place)
    return RotatedCoordinates().fit(table, FitContext(np.zeros(len(table)), latitude="lat", longitude="lon"))


def test_axes_turn_from_east_to_north() -> None:
    rotated = _fitted(np.array([[-38.0, 145.0], MELBOURNE, [-37.0, 144.0]]))
    assert rotated.origin_ == MELBOURNE
    assert rotated.output_names_[0] == "axis_0_km"
    found = rotated.transform(Table(("lat", "lon"), np.array([[MELBOURNE[0] + 0.1, MELBOURNE[1]], MELBOURNE])))
    km = 11.1195
    np.testing.assert_allclose(found[0], [km * np.sin(np.radians(angle)) for angle in ANGLES], atol=1e-9)
    np.testing.assert_array_equal(found[1], 0.0)


def test_a_missing_coordinate_has_no_place() -> None:
    found = _fitted(np.array([MELBOURNE] * 3)).transform(
        Table(("lat", "lon"), np.array([[np.nan, 145.0], [-37.0, np.nan]]))
    )
    assert np.isnan(found).all()


def test_swapped_or_impossible_coordinates_are_far_away_and_finite() -> None:
    found = _fitted(np.array([MELBOURNE] * 3)).transform(
        Table(("lat", "lon"), np.array([[144.9631, -37.8136], [1e308, -1e308], [0.0, 0.0]]))
    )
    assert np.isfinite(found).all()
    assert (np.abs(found).max(axis=1) > 1000).all()


@pytest.mark.parametrize("place", [np.full((3, 2), np.nan), np.array([[np.nan, 1.0]] * 3), np.empty((0, 2))])
def test_places_that_nobody_knows_have_no_axes(place: np.ndarray) -> None:
    rotated = _fitted(place)
    assert rotated.output_names_ == ()
    assert rotated.transform(Table(("lat", "lon"), np.zeros((2, 2)))).shape == (2, 0)


@pytest.mark.parametrize("context", [{}, {"latitude": "lat"}, {"longitude": "lon"}])
def test_a_dataset_without_both_coordinates_has_no_axes(context: dict[str, str]) -> None:
    table = Table(("lat", "lon"), np.zeros((2, 2)))
    assert RotatedCoordinates().fit(table, FitContext(np.zeros(2), **context)).output_names_ == ()
