"""Made-up tables of the presets `homes` and `garden`, from known price functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from appraise.datasets.simulate.geography import Floats
from appraise.datasets.simulate.streams import Streams
from appraise.errors import SettingsError


@dataclass(frozen=True, slots=True)
class SimulatedTable:
    """A made-up table and the truth behind it.

    Attributes:
        frame: n rows under the preset's column names.
        true_price: what each row would cost without noise, shape (n,), in the unit of `price`.
    """

    frame: pl.DataFrame
    true_price: Floats


def simulate_homes(n: int, *, seed: int) -> SimulatedTable:
    """Homes by size, rooms, age and distance.

    Returns:
        columns square_feet, bedrooms, bathrooms (halves are showers), age_years, distance_to_city (miles), price (USD).

    Raises:
        SettingsError: no rows are asked for, or the seed is negative.
    """
    _check_rows(n)
    rng = Streams(seed).rng("homes")
    normal = rng.normal(size=(4, n))
    distance = np.round(np.clip(rng.gamma(2.0, 6.0, n), 0.2, 60.0), 1)
    size = np.round(np.clip(np.exp(7.42 + 0.33 * normal[0] + 0.006 * distance), 350, 8000))
    bedrooms = np.clip(np.round(size / 620 + 0.6 * normal[1]), 1, 8)
    bathrooms = np.clip(np.round(2 * (size / 1050 + 0.35 * normal[2])) / 2, 1, bedrooms + 0.5)
    age = np.floor(np.clip(rng.gamma(1.4, 24.0, n), 0, 140))
    log_price = (
        11.55
        + 0.72 * np.log(size / 1000)
        + 0.06 * np.log(bathrooms)
        - 0.03 * np.maximum(bedrooms - size / 450, 0)
        - 0.16 * (1 - np.exp(-age / 30))
        + 0.10 / (1 + np.exp((95 - age) / 6)) * np.exp(-distance / 8)
        + 0.85 * np.exp(-distance / 14)
    )
    deviation = 0.07 + 0.04 * np.minimum(age / 80, 1) + 0.03 * (size > 3000)
    columns = {
        "square_feet": size,
        "bedrooms": bedrooms.astype(np.int64),
        "bathrooms": bathrooms,
        "age_years": age.astype(np.int64),
        "distance_to_city": distance,
    }
    return _sell(columns, log_price, deviation * normal[3])


def simulate_garden(n: int, *, seed: int) -> SimulatedTable:
    """Homes by size, rooms and whether they have a garden.

    Returns:
        columns size (m2), nb_rooms, garden (0 or 1), price (USD).

    Raises:
        SettingsError: no rows are asked for, or the seed is negative.
    """
    _check_rows(n)
    rng = Streams(seed).rng("garden")
    normal = rng.normal(size=(3, n))
    size = np.round(np.clip(np.exp(4.75 + 0.38 * normal[0]), 25, 500), 1)
    rooms = np.clip(np.round(size / 42 + 0.5 * normal[1]), 1, 10)
    garden = rng.random(n) < 1 / (1 + np.exp(-(size - 110) / 30))
    cramped = np.maximum(rooms - size / 24, 0)
    log_price = 11.9 + 0.68 * np.log(size / 100) - 0.04 * cramped + garden * (0.05 + 0.04 * np.log(size / 60))
    columns = {"size": size, "nb_rooms": rooms.astype(np.int64), "garden": garden.astype(np.int64)}
    return _sell(columns, log_price, 0.09 * normal[2])


def _check_rows(n: int) -> None:
    if n < 1:
        raise SettingsError(f"{n} rows were asked for", hint="ask for 1 row or more")


def _sell(columns: dict[str, Floats | np.ndarray], log_price: Floats, noise: Floats) -> SimulatedTable:
    price = np.round(np.exp(log_price + noise), -2)
    return SimulatedTable(pl.DataFrame({**columns, "price": price}), np.exp(log_price))
