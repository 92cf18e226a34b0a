"""The made-up bay: its cities, coast and zip codes, and what a place is worth.

Lengths are kilometres east and north of the middle of the bay, which lies in the open Pacific, where no real home can
be taken for one of these. The zip codes lie below 00501, the lowest that the United States use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appraise.datasets.simulate.streams import Streams

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MIDDLE_LATITUDE = 38.0
MIDDLE_LONGITUDE = -130.0
_KM_PER_DEGREE = math.pi * 6371.0088 / 180
_KM_PER_DEGREE_EAST = _KM_PER_DEGREE * math.cos(math.radians(MIDDLE_LATITUDE))


@dataclass(frozen=True, slots=True)
class City:
    """A city of the bay.

    Attributes:
        name: its name.
        east, north: the centre, km.
        spread: standard deviation of its homes around the centre, km.
        share: its share of all sales.
        premium: log price at the centre over that far from any centre.
        drift: yearly log growth over that of the market.
        zips: how many zip codes it has.
    """

    name: str
    east: float
    north: float
    spread: float
    share: float
    premium: float
    drift: float
    zips: int


CITIES = (
    City("Bayside", -2.0, 1.0, 4.5, 0.31, 0.42, 0.000, 12),
    City("Port Ellery", -16.0, 16.0, 3.2, 0.14, 0.30, 0.006, 6),
    City("Saltmarsh", -15.0, -15.0, 2.8, 0.09, 0.12, 0.012, 4),
    City("St. Anne", 6.0, 14.0, 3.8, 0.14, 0.36, -0.004, 6),
    City("Mill Creek", 9.0, -9.0, 4.2, 0.15, 0.18, 0.004, 6),
    City("Northgate", -7.0, 25.0, 2.6, 0.07, 0.08, -0.008, 3),
    City("Orchard Hills", 20.0, 2.0, 4.8, 0.10, 0.24, 0.000, 5),
)
CITY_NAMES = tuple(city.name for city in CITIES)

#: Length scale in km and standard deviation in log price of each layer of the location value.
_LAYERS = ((12.0, 0.12), (4.0, 0.09), (1.3, 0.05))
_WAVES_A_LAYER = 24
_ZIP_SPREAD = 0.04
_FIRST_ZIP = 101


@dataclass(frozen=True, slots=True)
class Waves:
    """A smooth random field: a sum of plane waves, which approximates a Gaussian process (random Fourier features).

    Attributes:
        east, north: wave numbers, 1/km.
        phase: radians.
        amplitude: of each wave.
    """

    east: Floats
    north: Floats
    phase: Floats
    amplitude: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, scale: float, deviation: float) -> Waves:
        """A field of that length scale (km) and standard deviation."""
        return cls(
            east=rng.normal(0.0, 1 / scale, _WAVES_A_LAYER),
            north=rng.normal(0.0, 1 / scale, _WAVES_A_LAYER),
            phase=rng.uniform(0.0, 2 * math.pi, _WAVES_A_LAYER),
            amplitude=deviation * math.sqrt(2 / _WAVES_A_LAYER),
        )

    def at(self, east: Floats, north: Floats) -> Floats:
        """The field at n places; summed wave by wave, so that no threaded matrix product decides the last bit."""
        total = np.zeros(len(east))
        for wave_east, wave_north, phase in zip(self.east, self.north, self.phase, strict=True):
            total += np.cos(wave_east * east + wave_north * north + phase)
        return total * self.amplitude


@dataclass(frozen=True, slots=True)
class Places:
    """Where n homes stand.

    Attributes:
        east, north: km.
        coast: distance to the water, km.
        urban: 0 in the country to 1 in a centre.
        zip_code, city: codes into `Bay.zip_codes` and `CITIES`.
    """

    east: Floats
    north: Floats
    coast: Floats
    urban: Floats
    zip_code: Codes
    city: Codes

    @property
    def latitude(self) -> Floats:
        """Degrees north, to about 10 cm."""
        return np.round(MIDDLE_LATITUDE + self.north / _KM_PER_DEGREE, 6)

    @property
    def longitude(self) -> Floats:
        """Degrees east, to about 10 cm."""
        return np.round(MIDDLE_LONGITUDE + self.east / _KM_PER_DEGREE_EAST, 6)


class Bay:
    """One bay: what is fixed before any home is sold.

    Args:
        seed: of the zip codes' centres and of the location value; the cities and the coast are always the same.
    """

    def __init__(self, seed: int) -> None:
        streams = Streams(seed)
        self._layers = tuple(
            Waves.draw(streams.rng(f"layer {scale}"), scale=scale, deviation=deviation) for scale, deviation in _LAYERS
        )
        self.hills = Waves.draw(streams.rng("hills"), scale=3.0, deviation=1.0)
        rng = streams.rng("zips")
        owners = np.repeat(np.arange(len(CITIES)), [city.zips for city in CITIES])
        east, north = _scatter(owners, rng.normal(size=(2, len(owners))) * 1.1)
        self._zip_east, self._zip_north, self._zip_city = east, north, owners
        self._zip_value = rng.normal(0.0, _ZIP_SPREAD, len(owners))
        self.zip_codes = tuple(f"{_FIRST_ZIP + position:05d}" for position in range(len(owners)))

    def settle(self, streams: Streams, n: int) -> Places:
        """Places for n homes: most around the cities' centres, the rest all over the land."""
        rng = streams.rng("place")
        shares = np.cumsum([city.share for city in CITIES])
        near = np.searchsorted(shares[:-1] / shares[-1], rng.random(n), side="right")
        east, north = _scatter(near, rng.normal(size=(2, n)))
        rural = rng.random(n) < 0.07
        anywhere = rng.random((2, n))
        north = np.where(rural, -28 + 60 * anywhere[1], north)
        east = np.where(rural, _shore(north) + (32 - _shore(north)) * anywhere[0], east)
        zip_code = self._nearest_zip(east, north)
        return Places(east, north, _to_water(east, north), _urban(east, north), zip_code, self._zip_city[zip_code])

    def value(self, places: Places) -> Floats:
        """The log price of each place over the average: centres, water, smooth fields and the zip code's schools."""
        total = self._zip_value[places.zip_code] + 0.22 * np.exp(-places.coast / 1.8)
        for city in CITIES:
            total += city.premium * np.exp(-_distance(city, places.east, places.north) / (1.6 * city.spread))
        for layer in self._layers:
            total += layer.at(places.east, places.north)
        return total

    def _nearest_zip(self, east: Floats, north: Floats) -> Codes:
        best = np.full(len(east), np.inf)
        code = np.zeros(len(east), dtype=np.int64)
        for position, (zip_east, zip_north) in enumerate(zip(self._zip_east, self._zip_north, strict=True)):
            distance = (east - zip_east) ** 2 + (north - zip_north) ** 2
            closer = distance < best
            best[closer] = distance[closer]
            code[closer] = position
        return code


def _scatter(city: Codes, steps: Floats) -> tuple[Floats, Floats]:
    """Points around the centres of cities, those that fall into the water mirrored at the shore."""
    spread = np.array([each.spread for each in CITIES])[city]
    east = np.array([each.east for each in CITIES])[city] + spread * steps[0]
    north = np.array([each.north for each in CITIES])[city] + spread * steps[1]
    shore = _shore(north)
    return shore + np.abs(east - shore) + 0.03, north


def _shore(north: Floats) -> Floats:
    """How far east the water reaches: a coast that runs north, with a bay in its middle."""
    bay: Floats = -20 + 14 * np.exp(-((north / 10) ** 2)) + 1.2 * np.sin(north / 3.1) + 0.5 * np.sin(north / 1.3 + 1)
    return bay


def _to_water(east: Floats, north: Floats) -> Floats:
    slope = (_shore(north + 0.01) - _shore(north - 0.01)) / 0.02
    distance: Floats = (east - _shore(north)) / np.sqrt(1 + slope**2)
    return distance


def _urban(east: Floats, north: Floats) -> Floats:
    total = np.zeros(len(east))
    for city in CITIES:
        total += np.exp(-((_distance(city, east, north) / (1.1 * city.spread)) ** 2))
    return np.minimum(total, 1.0)


def _distance(city: City, east: Floats, north: Floats) -> Floats:
    return np.hypot(east - city.east, north - city.north)
