"""Rotated coordinates: trees cut along axes, and coasts and roads do not run along meridians."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.table import Table
from appraise.features.base import FitContext, Transformation
from appraise.features.state import State

#: Length of a degree of latitude in kilometres, on the mean sphere.
KM_PER_DEGREE = 111.195

#: Angles in degrees.
ANGLES = tuple(range(0, 180, 15))


def project(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], origin: tuple[float, float]
) -> NDArray[np.float64]:
    """Kilometres east and north of `origin` (latitude, longitude), shape (n, 2): equirectangular, true at the origin.

    Over a metropolitan region the error is far below the distance between neighbours.
    """
    east = (longitude - origin[1]) * (KM_PER_DEGREE * np.cos(np.radians(origin[0])))
    north = (latitude - origin[0]) * KM_PER_DEGREE
    return np.stack((east, north), axis=1)


class RotatedCoordinates(Transformation):
    """Kilometres from the middle of the training rows along axes turned by 15 degrees each."""

    kind = "rotated_coordinates"

    origin_: tuple[float, float]

    def fit(self, table: Table, context: FitContext) -> Self:
        """Find the middle of the training rows."""
        if context.latitude is None or context.longitude is None:
            self.input_names_, self.origin_ = (), (0.0, 0.0)
        else:
            self.input_names_ = (context.latitude, context.longitude)
            self.origin_ = (
                float(np.nanmedian(table.column(context.latitude))),
                float(np.nanmedian(table.column(context.longitude))),
            )
        self._prepare()
        return self

    def _prepare(self) -> None:
        angles = np.radians(ANGLES)
        self._turn = np.stack((np.cos(angles), np.sin(angles)))
        self.output_names_ = tuple(f"axis_{angle}_km" for angle in ANGLES) if self.input_names_ else ()

    def transform(self, table: Table) -> NDArray[np.float64]:
        """Rotated coordinates of shape (n, angles), or (n, 0) without coordinates."""
        if not self.input_names_:
            return np.empty((len(table), 0))
        place = table.select(self.input_names_)
        turned: NDArray[np.float64] = project(place[:, 0], place[:, 1], self.origin_) @ self._turn
        return turned

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
