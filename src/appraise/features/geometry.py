"""Rotated coordinates: trees cut along axes, and coasts and roads do not run along meridians."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
from appraise.features.state import State

#: Length of a degree of latitude in kilometres, on the mean sphere.
KM_PER_DEGREE = 111.195

#: Angles in degrees.
ANGLES = tuple(range(0, 180, 15))


#: Nothing lies farther than a full turn away; what a request claims beyond that is cut off.
_FULL_TURN = 360.0

#: Cells to a side of a Z-curve, as a power of two: a city has many of a state's.
_CURVE_BITS = 12


def place_columns(table: Table, context: FitContext) -> tuple[str, ...]:
    """The columns of latitude and longitude, or none where no row knows them."""
    if context.latitude is None or context.longitude is None:
        return ()
    names = (context.latitude, context.longitude)
    return () if np.isnan(table.select(names)).all(axis=0).any() else names


def middle(place: NDArray[np.float64]) -> tuple[float, float]:
    """Median latitude and longitude of places (n, 2) of which some are known."""
    latitude, longitude = np.nanmedian(_within_a_turn(place), axis=0)
    return float(latitude), float(longitude)


def project(place: NDArray[np.float64], origin: tuple[float, float]) -> NDArray[np.float64]:
    """Kilometres east and north of `origin` (latitude, longitude): equirectangular, true at the origin.

    Over a metropolitan region the error is far below the distance between neighbours.

    Args:
        place: (n, 2) latitude and longitude in degrees; NaN stays NaN.
        origin: latitude and longitude in degrees.

    Returns:
        (n, 2) kilometres.
    """
    degrees = _within_a_turn(place) - origin
    return degrees[:, ::-1] * km_per_degree(origin)


def km_per_degree(origin: tuple[float, float]) -> tuple[float, float]:
    """Of longitude and of latitude."""
    return KM_PER_DEGREE * math.cos(math.radians(origin[0])), KM_PER_DEGREE


@njit(cache=True, nogil=True)
def place_of(latitude, longitude, latitude_0, longitude_0, km_east, km_north):  # type: ignore[no-untyped-def]
    """`project` for one place, compiled: kilometres east and north."""
    if latitude == latitude:
        latitude = min(max(latitude, -_FULL_TURN), _FULL_TURN)
    if longitude == longitude:
        longitude = min(max(longitude, -_FULL_TURN), _FULL_TURN)
    return (longitude - longitude_0) * km_east, (latitude - latitude_0) * km_north


@njit(cache=True, nogil=True)
def _rotate(  # type: ignore[no-untyped-def]
    place, latitude_0, longitude_0, km_east, km_north, cosines, sines, out
):
    for row in range(place.shape[0]):
        x, y = place_of(place[row, 0], place[row, 1], latitude_0, longitude_0, km_east, km_north)
        for turn in range(cosines.shape[0]):
            out[row, turn] = x * cosines[turn] + y * sines[turn]


def _within_a_turn(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(np.maximum(degrees, -_FULL_TURN), _FULL_TURN)


class RotatedCoordinates(Transformation):
    """Kilometres from the middle of the training rows along axes turned by 15 degrees each."""

    kind = "rotated_coordinates"

    origin_: tuple[float, float]

    def fit(self, table: Table, context: FitContext) -> Self:
        """Find the middle of the training rows."""
        self.input_names_ = place_columns(table, context)
        self.origin_ = middle(table.select(self.input_names_)) if self.input_names_ else (0.0, 0.0)
        self._prepare()
        return self

    def _prepare(self) -> None:
        angles = np.radians(ANGLES)
        self._turns = np.cos(angles), np.sin(angles)
        self.output_names_ = tuple(f"axis_{angle}_km" for angle in ANGLES) if self.input_names_ else ()

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Rotated coordinates of shape (n, angles), or (n, 0) without coordinates."""
        if not self.input_names_:
            return np.empty((len(table), 0))
        out = np.empty((len(table), len(ANGLES)))
        self.write(table, out)
        return out

    def write(self, table: Table, out: NDArray[np.float64]) -> None:
        """The same, into a matrix that is there."""
        if self.input_names_:
            _rotate(table.select(self.input_names_), *self.origin_, *km_per_degree(self.origin_), *self._turns, out)

    def state(self) -> State:
        """Names and origin."""
        return State(data={"input_names": list(self.input_names_), "origin": list(self.origin_)})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`."""
        rotated = cls()
        rotated.input_names_ = tuple(state.data["input_names"])
        latitude, longitude = state.data["origin"]
        rotated.origin_ = (latitude, longitude)
        rotated._prepare()
        return rotated


def curve_order(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """The order of n points along a Z-curve (Morton, 1966), in which those that are near come near each other.

    Args:
        x, y: (n,) in any unit; a point without place comes first.

    Returns:
        (n,) indices.
    """
    code = np.zeros(len(x), np.int64)
    for shift, axis in enumerate((x, y)):
        if np.isnan(axis).all():
            continue
        low, high = np.nanmin(axis), np.nanmax(axis)
        cells = np.nan_to_num((axis - low) / max(high - low, 1e-12) * (2**_CURVE_BITS - 1)).astype(np.int64)
        for bit in range(_CURVE_BITS):
            code |= (cells >> bit & 1) << (2 * bit + shift)
    return np.argsort(code, kind="stable")
