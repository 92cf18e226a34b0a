"""Coordinates under any name, with any of the usual mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from appraise.datasets.infer import Inference, infer_spec

ROWS = 200


def infer(tmp_path: Path, first: str, firsts: object, second: str, seconds: object) -> Inference:
    rng = np.random.default_rng(1)
    area = rng.uniform(40, 250, ROWS)
    frame = pl.DataFrame({"area": area, first: firsts, second: seconds, "price": area * rng.uniform(900, 4000, ROWS)})
    frame.write_csv(tmp_path / "sales.csv")
    return infer_spec(tmp_path / "sales.csv", target="price")


@pytest.fixture
def melbourne() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(-37.8, 0.1, ROWS).round(5), rng.normal(145.0, 0.1, ROWS).round(5)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        ("lat", "lon"),
        ("Latitude", "Longitude"),
        ("Lattitude", "Longtitude"),
        ("LAT_DD", "LON_DD"),
        ("geo_lat", "geo_lng"),
        ("property.latitude", "property.longitude"),
        ("INTPTLAT_lat", "INTPTLON_long"),
        ("addressLatitude", "addressLongitude"),
        ("y_coord", "x_coord"),
        ("Y", "X"),
        ("coordY", "coordX"),
        ("Breitengrad", "Längengrad"),
        ("latitud", "longitud"),
    ],
)
def test_spellings(tmp_path: Path, melbourne, latitude: str, longitude: str) -> None:
    spec = infer(tmp_path, latitude, melbourne[0], longitude, melbourne[1]).spec
    assert spec.latitude is not None
    assert spec.longitude is not None
    assert (spec.latitude.name, spec.longitude.name) == (latitude, longitude)
    assert (spec.latitude.minimum, spec.latitude.maximum) == (-90, 90)
    assert (spec.longitude.minimum, spec.longitude.maximum) == (-180, 180)


def test_projected_coordinates_are_no_degrees(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inference = infer(tmp_path, "lat", rng.uniform(5e6, 6e6, ROWS), "lon", rng.uniform(3e5, 4e5, ROWS))
    assert inference.spec.latitude is None
    assert "are not degrees" in inference.notes["lat"]
    inference = infer(tmp_path, "y", rng.uniform(5e6, 6e6, ROWS), "x", rng.uniform(3e5, 4e5, ROWS))
    assert inference.spec.latitude is None
    assert inference.spec.column("x").role == "feature"


def test_axes_of_whole_numbers_are_a_grid_and_no_degrees(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    assert infer(tmp_path, "y", rng.integers(0, 9, ROWS), "x", rng.integers(0, 9, ROWS)).spec.latitude is None


def test_names_exchanged(tmp_path: Path, melbourne) -> None:
    inference = infer(tmp_path, "lat", melbourne[1], "lon", melbourne[0])
    assert inference.spec.latitude.name == "lon"
    assert "in spite of its name" in inference.notes["lon"]


def test_one_coordinate_alone_stays_a_number(tmp_path: Path, melbourne) -> None:
    inference = infer(tmp_path, "latitude", melbourne[0], "storeys", np.arange(ROWS) % 3)
    assert inference.spec.latitude is None
    assert "the other coordinate is not in the file" in inference.notes["latitude"]


def test_rows_at_zero_or_swapped_are_refused_and_no_other(tmp_path: Path, melbourne) -> None:
    lat, lon = melbourne
    lat[:3], lon[:3] = 0, 0
    lat[10], lon[10] = lon[10], lat[10]
    inference = infer(tmp_path, "lat", lat, "lon", lon)
    latitude, longitude = inference.spec.latitude, inference.spec.longitude
    inside = (latitude.minimum <= lat) & (lat <= latitude.maximum)
    inside &= (longitude.minimum <= lon) & (lon <= longitude.maximum)
    assert list(np.flatnonzero(~inside)) == [0, 1, 2, 10]
    assert "3 rows will be refused: they lie at 0 degrees" in inference.notes["lat"]
    assert "1 row will be refused: their latitude and longitude are swapped" in inference.notes["lat"]


def test_swapped_rows_within_the_range_of_both(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lat, lon = rng.normal(52.5, 0.1, ROWS), rng.normal(13.4, 0.1, ROWS)
    lat[5], lon[5] = lon[5], lat[5]
    inference = infer(tmp_path, "lat", lat, "lon", lon)
    assert "swapped" in inference.notes["lat"]
    assert inference.spec.latitude.minimum > 20


@pytest.mark.parametrize("centre", [(51.48, 0.0), (0.0, -78.4)])
def test_greenwich_and_the_equator_are_places(tmp_path: Path, centre: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    lat, lon = (rng.normal(degrees, 0.02, ROWS).round(2) for degrees in centre)
    assert ((lat == 0) | (lon == 0)).any()
    inference = infer(tmp_path, "lat", lat, "lon", lon)
    assert "refused" not in inference.notes["lat"]
    assert (inference.spec.latitude.minimum, inference.spec.longitude.minimum) == (-90, -180)
