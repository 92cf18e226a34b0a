"""A made-up monthly table per zip code, under the column names of the HouseTS dataset.

HouseTS (Wang et al., 2025, arXiv:2506.00765) joins Redfin and Zillow market figures, census figures and counts of
points of interest for 6,000 zip codes of 30 American metropolitan areas from March 2012 to December 2023. None of its
values are here: the metropolitan areas, zip codes (numbered from 1), figures and prices of this table are invented.
Its habits are kept: dates are the last day of the month, zip codes are numbers, a zip code without census figures has
zeros, and some census columns hold counts of people whatever their name says.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.simulate.geography import Codes, Floats
from appraise.datasets.simulate.streams import Streams
from appraise.datasets.simulate.tables import SimulatedTable
from appraise.errors import SettingsError

FIRST_MONTH = dt.date(2012, 3, 31)
LAST_MONTH = dt.date(2023, 12, 31)
MONTHS = 142

_METROS = (
    ("BAY", "Bayside-Port Ellery-Saltmarsh"),
    ("AUR", "Aurora Point-Westmere"),
    ("CLD", "Coldwater-Granite Falls"),
    ("DUN", "Dunmore-Hartwell"),
    ("EAS", "Eastlake-Fairmont"),
    ("GLN", "Glenrock"),
    ("KIN", "Kingsferry-St. Anne"),
    ("LAR", "Larkspur Valley-Millbrook"),
    ("PIN", "Pinehurst-Oakridge"),
    ("RIO", "Rio Alto-Mesa Blanca"),
    ("STO", "Stonebridge"),
    ("WIN", "Winfield-Prairie View-Summerton"),
)
#: Yearly log growth at the first day of a year, straight lines between: a recovery, a boom and a halt.
_GROWTH = {2012: 0.04, 2014: 0.07, 2019: 0.045, 2020: 0.06, 2021: 0.17, 2022: 0.14, 2023: 0.01, 2024: 0.05}
#: Counts in a dense zip code of the points of interest.
_POINTS = {
    "bank": 22,
    "bus": 3,
    "hospital": 6,
    "mall": 3,
    "park": 80,
    "restaurant": 140,
    "school": 75,
    "station": 9,
    "supermarket": 18,
}


def simulate_housets(zips: int, *, seed: int) -> SimulatedTable:
    """One row a zip code and month, 2012-03 to 2023-12, by zip code and then by month.

    Args:
        zips: how many zip codes.
        seed: of the whole table.

    Returns:
        zips x 142 rows under the 39 column names of HouseTS.csv, in its order; `price` is the smoothed value of the
        typical home (USD), `median_sale_price` the median of the month's sales.

    Raises:
        SettingsError: no zip codes or more than 60,000 are asked for, or the seed is negative.
    """
    most = 60_000
    if not 1 <= zips <= most:
        raise SettingsError(f"{zips} zip codes were asked for", hint=f"ask for 1 to {most:,}")
    streams = Streams(seed)
    dates = _month_ends()
    metro = np.sort(streams.rng("metro").integers(0, len(_METROS), zips))
    density = streams.rng("density").beta(1.2, 2.5, zips)
    income = np.exp(10.4 + 0.30 * streams.rng("income").normal(size=zips) + 0.15 * density)
    log_value = _log_value(streams, metro, density, income, dates)
    price = np.exp(log_value + _wander(streams, zips))
    sold = 1.0 + streams.rng("sold").poisson((2 + 140 * density)[:, None] * _season(dates)).astype(np.float64)
    columns: dict[str, pl.Series | Floats | NDArray[np.str_] | Codes] = {"date": pl.Series(list(dates) * zips)}
    columns |= _sales(streams, price, sold, dates)
    columns["city"] = np.repeat(np.array([code for code, _ in _METROS])[metro], MONTHS)
    columns["zipcode"] = np.repeat(1 + np.arange(zips), MONTHS)
    columns["year"] = np.tile(np.array([date.year for date in dates]), zips)
    columns |= _points_of_interest(streams, density)
    columns |= _census(streams, density, income, np.exp(log_value), dates)
    columns["price"] = price.ravel()
    columns["city_full"] = np.repeat(np.array([name for _, name in _METROS])[metro], MONTHS)
    return SimulatedTable(pl.DataFrame(columns), np.exp(log_value).ravel())


def _month_ends() -> tuple[dt.date, ...]:
    series = pl.date_range(FIRST_MONTH.replace(day=1), LAST_MONTH, "1mo", eager=True).dt.month_end()
    return tuple(series.to_list())


def _season(dates: tuple[dt.date, ...]) -> Floats:
    month = np.array([date.month for date in dates])
    season: Floats = 1 + 0.3 * np.sin(2 * np.pi * (month - 3.5) / 12)
    return season


def _log_value(streams: Streams, metro: Codes, density: Floats, income: Floats, dates: tuple[dt.date, ...]) -> Floats:
    """Log of the true value of the typical home, shape (zips, months)."""
    rng = streams.rng("value")
    level = rng.normal(0.0, 0.35, len(_METROS))
    boom = rng.normal(1.0, 0.2, len(_METROS))
    years = np.array([date.year + (date.month - 1) / 12 for date in dates])
    growth = np.cumsum(np.interp(years, list(_GROWTH), list(_GROWTH.values())) / 12)
    own = rng.normal(0.0, 0.18, len(metro))
    drift = rng.normal(0.0, 0.008, len(metro))
    start = 12.1 + level[metro] + own + 0.85 * np.log(income / 33_000) + 0.5 * density**2
    total: Floats = start[:, None] + boom[metro][:, None] * growth + drift[:, None] * (years - years[0])
    return total


def _wander(streams: Streams, zips: int) -> Floats:
    """Slow local ups and downs, deviation 3%, shape (zips, months)."""
    steps = streams.rng("wander").normal(0.0, 0.03 * np.sqrt(1 - 0.9**2), (zips, MONTHS))
    walk = np.empty_like(steps)
    walk[:, 0] = steps[:, 0] / np.sqrt(1 - 0.9**2)
    for month in range(1, MONTHS):
        walk[:, month] = 0.9 * walk[:, month - 1] + steps[:, month]
    return walk


def _sales(streams: Streams, price: Floats, sold: Floats, dates: tuple[dt.date, ...]) -> dict[str, Floats]:
    """Market figures of the month; medians of few sales are noisy."""
    rng = streams.rng("sales")
    shape = price.shape
    noise = rng.normal(size=(6, *shape))
    uniform = rng.random((4, *shape))
    median_sale = price * np.exp(0.01 + 0.28 * noise[0] / np.sqrt(sold))
    median_list = price * np.exp(0.04 + 0.28 * noise[1] / np.sqrt(sold))
    per_foot = 1500 * np.exp(0.1 * noise[2, :, :1])
    years = np.array([date.year + date.month / 12 for date in dates])
    heat = np.interp(years, [2012, 2016, 2020, 2021.5, 2022.5, 2024], [-1.0, 0.0, 0.3, 1.6, 0.6, 0.2])
    figures = {
        "median_sale_price": np.round(median_sale, -2),
        "median_list_price": np.round(median_list, -2),
        "median_ppsf": median_sale / per_foot * np.exp(0.05 * noise[3]),
        "median_list_ppsf": median_list / per_foot * np.exp(0.05 * noise[4]),
        "homes_sold": sold,
        "pending_sales": np.round(sold * (0.8 + 0.5 * uniform[0])),
        "new_listings": np.round(sold * (0.9 + 0.6 * uniform[1])),
        "inventory": np.round(sold * (1.6 - 0.6 * heat) * (0.7 + 0.6 * uniform[2])),
        "median_dom": np.round(np.clip(55 * np.exp(-0.6 * heat + 0.4 * noise[5]), 1, None)),
        "avg_sale_to_list": 0.975 + 0.015 * heat + 0.03 * noise[1] / np.sqrt(sold),
        "sold_above_list": np.clip(0.22 + 0.14 * heat + 0.10 * noise[4], 0, 1),
        "off_market_in_two_weeks": np.clip(0.30 + 0.15 * heat + 0.4 * (uniform[3] - 0.5), 0, 1),
    }
    return {name: values.ravel() for name, values in figures.items()}


def _points_of_interest(streams: Streams, density: Floats) -> dict[str, Floats]:
    """Counts that grow by a third over the years, as a map becomes complete."""
    rng = streams.rng("points")
    completeness = np.linspace(0.75, 1.0, MONTHS)
    counts = {}
    for name, dense in _POINTS.items():
        final = rng.poisson(dense * density**1.5 * rng.gamma(3.0, 1 / 3.0, len(density)))
        counts[name] = np.floor(final[:, None] * completeness).ravel()
    return counts


def _census(
    streams: Streams, density: Floats, income: Floats, value: Floats, dates: tuple[dt.date, ...]
) -> dict[str, Floats]:
    """Yearly figures; a twentieth of the zip codes have none, which the file says with zeros."""
    rng = streams.rng("census")
    zips = len(density)
    year = np.array([date.year for date in dates]) - dates[0].year
    known = (rng.random(zips) >= 0.05)[:, None]
    january = np.array([max(0, 12 * step - 2) for step in year])
    growth = 1 + 0.008 * year
    population = np.round((800 + 55_000 * density * rng.gamma(4.0, 0.25, zips))[:, None] * growth)
    labour = rng.uniform(0.45, 0.58, zips)[:, None]
    unemployed = (rng.uniform(0.03, 0.08, zips)[:, None]) * np.interp(year, [0, 7, 8, 11], [1.3, 0.8, 1.2, 0.7])
    figures = {
        "Total Population": population,
        "Median Age": np.round(rng.normal(40, 5, zips)[:, None] + 0.1 * year, 1),
        "Per Capita Income": np.round(income[:, None] * 1.025**year),
        "Total Families Below Poverty": np.round(population * rng.uniform(0.97, 1.0, zips)[:, None]),
        "Total Housing Units": np.round(population * rng.uniform(0.36, 0.48, zips)[:, None]),
        "Median Rent": np.round(0.9 * income[:, None] ** 0.68 * 1.03**year),
        "Median Home Value": np.round(0.92 * value[:, january], -2),
        "Total Labor Force": np.round(population * labour),
        "Unemployed Population": np.round(population * labour * unemployed),
        "Total School Age Population": np.round(population * 0.96),
        "Total School Enrollment": np.round(population * 0.96),
        "Median Commute Time": np.round(population * labour * rng.uniform(0.8, 0.95, zips)[:, None]),
    }
    return {name: (values * known).ravel() for name, values in figures.items()}
