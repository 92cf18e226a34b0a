"""The homes of the made-up market: their attributes, what those are worth, and how uncertain a sale is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.simulate.geography import Bay, Codes, Floats, Places
from appraise.datasets.simulate.shocks import HOME_TYPES, MixShock
from appraise.datasets.simulate.streams import Streams

_FLAT, _TOWNHOUSE, _HOUSE = range(len(HOME_TYPES))
_OLDEST = 1880

#: Log price of the average home in the country, on 2018-01-01, by home type, before its attributes.
_LEVEL = np.array([12.50, 12.58, 12.66])
#: Elasticity of the price in living area around `_USUAL_AREA` m2, by home type, and how it diminishes.
_ELASTICITY = np.array([0.72, 0.66, 0.58])
_USUAL_AREA = np.array([75.0, 115.0, 160.0])
_DIMINISHING = 0.10
#: Log premium of a home type in a city: rows are cities, columns home types.
_TASTES = np.array(
    [
        [0.10, 0.05, -0.02],
        [0.04, 0.02, 0.03],
        [-0.06, 0.00, 0.02],
        [0.02, 0.06, 0.05],
        [-0.03, 0.01, 0.03],
        [-0.08, -0.02, 0.04],
        [-0.05, -0.03, 0.06],
    ]
)


@dataclass(frozen=True, slots=True)
class Homes:
    """Attributes of n homes as they are, before anything is lost or recorded wrongly.

    Attributes:
        home_type: codes into `HOME_TYPES`.
        living_area: m2.
        lot_area: m2, NaN for flats.
        bedrooms, bathrooms, garage: counts.
        year_built: not after the year of sale.
        age: years at the sale.
        condition: 1 (poor) to 5 (excellent).
        view: whether the water can be seen.
    """

    home_type: Codes
    living_area: Floats
    lot_area: Floats
    bedrooms: Codes
    bathrooms: Codes
    year_built: Codes
    age: Codes
    garage: Codes
    condition: Codes
    view: NDArray[np.bool_]


def build_homes(streams: Streams, bay: Bay, places: Places, days: Codes, shocks: Sequence[MixShock]) -> Homes:
    """Homes for places and days of sale: denser, older and smaller towards the centres."""
    n = len(days)
    urban = places.urban
    home_type = _draw_types(streams, urban, days, shocks)
    normal = streams.rng("home").normal(size=(6, n))
    uniform = streams.rng("renovation").random((3, n))

    area = np.log(np.array([72.0, 112.0, 150.0]))[home_type] + np.array([0.30, 0.22, 0.32])[home_type] * normal[0]
    area += np.where(home_type == _HOUSE, 0.18 * (1 - urban), 0.0)
    living_area = np.round(np.clip(np.exp(area), 22.0, 600.0), 1)

    room = np.array([32.0, 34.0, 41.0])[home_type]
    least = np.where(home_type == _FLAT, 0, 1)
    bedrooms = np.clip(np.floor(living_area / room + 0.5 * normal[1]), least, 8)
    bathrooms = np.clip(1 + np.floor((living_area - 60) / 75 + 0.4 * normal[2]), 1, np.minimum(bedrooms + 1, 6))

    lot = np.log(np.array([1.0, 190.0, 560.0]))[home_type] + np.array([0.0, 0.30, 0.55])[home_type] * normal[3]
    lot += np.where(home_type == _HOUSE, 0.50 * (1 - urban), 0.0)
    lot_area = np.round(np.clip(np.exp(lot), 0.45 * living_area, 40_000.0))
    lot_area[home_type == _FLAT] = np.nan

    year_sold = days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    age = np.floor(-np.log1p(-uniform[0]) * (24 + 22 * urban - 8 * (home_type == _FLAT)))
    year_built = np.maximum(year_sold - age.astype(np.int64), _OLDEST)
    age = (year_sold - year_built).astype(np.int64)

    renovated = (age > 25) & (uniform[1] < 0.3)
    condition = np.clip(np.round(3.6 - 0.018 * age + 1.3 * renovated + 0.75 * normal[4]), 1, 5)
    garage = np.clip(np.floor(np.array([-0.1, 0.5, 0.7])[home_type] + living_area / 150 + 0.6 * normal[5]), 0, 3)
    height = 1 / (1 + np.exp(-2.5 * (bay.hills.at(places.east, places.north) - 0.8)))
    view = uniform[2] < 0.02 + 0.6 * np.exp(-places.coast / 1.2) + 0.25 * height * np.exp(-places.coast / 8)
    return Homes(
        home_type=home_type,
        living_area=living_area,
        lot_area=lot_area,
        bedrooms=bedrooms.astype(np.int64),
        bathrooms=bathrooms.astype(np.int64),
        year_built=year_built,
        age=age,
        garage=garage.astype(np.int64),
        condition=condition.astype(np.int64),
        view=view,
    )


def log_worth(homes: Homes, places: Places, bay: Bay) -> Floats:
    """Log of the true price of each home on 2018-01-01, USD."""
    kind = homes.home_type
    size = np.log(homes.living_area / _USUAL_AREA[kind])
    total: Floats = _LEVEL[kind] + _TASTES[places.city, kind] + bay.value(places)
    total += _ELASTICITY[kind] * size - _DIMINISHING * size * np.abs(size)
    total += _lot_worth(homes, places)
    total += _age_worth(homes, places)
    total += 0.05 * (homes.condition - 3) * (0.6 + np.minimum(homes.age, 90) / 60)
    total += homes.view * (0.05 + 0.20 * np.exp(-places.coast / 2.5))
    total += 0.035 * np.minimum(homes.garage, 2) * (0.5 + places.urban)
    cramped = np.maximum(homes.bedrooms - homes.living_area / 26, 0)
    total += 0.06 * np.log(homes.bathrooms) - 0.05 * np.minimum(cramped, 3)
    return total


def noise_deviation(homes: Homes) -> Floats:
    """Standard deviation of the log price around the true one: old, large and lot-heavy homes are harder to price."""
    old = 0.03 * np.minimum(homes.age / 80, 1)
    large = 0.035 * np.clip(np.log(homes.living_area / 130), 0, 1)
    lot_heavy = 0.025 * (np.nan_to_num(homes.lot_area) > 8 * homes.living_area)
    extreme = 0.015 * (np.abs(homes.condition - 3) == 2)
    total: Floats = 0.065 + old + large + lot_heavy + extreme
    return total


def _draw_types(streams: Streams, urban: Floats, days: Codes, shocks: Sequence[MixShock]) -> Codes:
    flat = 0.10 + 0.50 * urban
    townhouse = 0.16 + 0.08 * urban
    shares = np.stack([flat, townhouse, 1 - flat - townhouse])
    for shock in shocks:
        after = days >= shock.date.toordinal() - dt.date(1970, 1, 1).toordinal()
        gaining = HOME_TYPES.index(shock.home_type)
        share = np.clip(shares[gaining] + shock.change, 0.0, 1.0)
        others = (1 - share) / np.maximum(1 - shares[gaining], 1e-12)
        changed = shares * others
        changed[gaining] = share
        shares = np.where(after, changed, shares)
    draw = streams.rng("home type").random(len(urban))
    code: Codes = (draw >= shares[0]).astype(np.int64) + (draw >= shares[0] + shares[1])
    return code


def _lot_worth(homes: Homes, places: Places) -> Floats:
    """Land counts for houses, and more where it is scarce; the second thousand m2 adds little."""
    lot = np.log(np.nan_to_num(homes.lot_area, nan=1.0) / np.where(homes.home_type == _HOUSE, 650.0, 190.0))
    worth: Floats = np.tanh(lot) * (0.08 + 0.08 * places.urban) * (homes.home_type != _FLAT)
    return worth


def _age_worth(homes: Homes, places: Places) -> Floats:
    """New homes carry a premium that wears off, old ones lose up to 18%, and pre-war homes in a centre regain it."""
    wear = -0.18 * (1 - np.exp(-homes.age / 28)) + 0.05 * np.exp(-homes.age / 3)
    heritage: Floats = 0.22 * places.urban / (1 + np.exp((homes.year_built - 1928) / 6))
    return wear + heritage
