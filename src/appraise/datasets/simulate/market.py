"""A made-up housing market whose true prices are known: dated sales around a bay.

The homes, the places and the prices are invented. The price of a home is

    log true price = level + place + attributes and their interactions + index of the day + drift of the city
    log price      = log true price + noise, whose deviation depends on the home (about 9%)

so an estimate can be held against the truth, an interval against the noise, and a monitor against a shock whose day is
known. The bay and the calendar of the index are the same for every seed: sales of one seed train a model, sales of
another arrive at its server.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.simulate.geography import CITIES, CITY_NAMES, Bay, Codes, Floats, Places
from appraise.datasets.simulate.homes import Homes, build_homes, log_worth, noise_deviation
from appraise.datasets.simulate.shocks import (
    HOME_TYPES,
    BrokenShock,
    LevelShock,
    MissingShock,
    MixShock,
    RegionShock,
    Shock,
)
from appraise.datasets.simulate.streams import Streams
from appraise.errors import SettingsError

START = dt.date(2018, 1, 1)
END = dt.date(2022, 12, 31)

#: Yearly log growth of the market at the first day of a year; straight lines between.
_GROWTH = {2008: -0.06, 2012: 0.02, 2016: 0.06, 2018: 0.085, 2019: 0.08, 2020: 0.02, 2021: 0.07, 2022: 0.13, 2024: 0.06}
_SEASON = 0.012
_CYCLE = (0.01, 3.7)
_YEAR = 365.2425


def simulate_market(
    n_sales: int,
    *,
    seed: int,
    start: dt.date = START,
    end: dt.date = END,
    shocks: Sequence[Shock] = (),
    bay: int = 0,
) -> pl.DataFrame:
    """Made-up sales, in order of date. The same arguments give the same table, to the bit.

    Args:
        n_sales: how many.
        seed: of the sales.
        start: first day of sale.
        end: last day of sale.
        shocks: what goes wrong; the rows before a shock's day are those of the market without it.
        bay: seed of the place itself.

    Returns:
        columns sale_id, sale_date, latitude, longitude (degrees), zip_code, city, home_type, living_area (m2),
        lot_area (m2, missing for flats), bedrooms, bathrooms, year_built (sometimes missing), garage (cars),
        condition (1 poor to 5 excellent), view, price (USD, what the home sold for) and true_price (USD, without
        noise, on that day).

    Raises:
        SettingsError: no sales are asked for, the seed is negative, or `end` is before `start`.
    """
    if n_sales < 1:
        raise SettingsError(f"{n_sales} sales were asked for", hint="ask for 1 sale or more")
    if end < start:
        raise SettingsError(f"the market ends on {end}, before it starts on {start}", hint="swap the two dates")
    streams = Streams(seed)
    place = Bay(bay)
    days = _draw_days(streams, n_sales, start, end)
    places = place.settle(streams, n_sales)
    homes = build_homes(streams, place, places, days, [shock for shock in shocks if isinstance(shock, MixShock)])
    log_true = log_worth(homes, places, place) + market_index(days) + _drift(places, days)
    log_true += _moves(shocks, places, days)
    noise = streams.rng("noise").normal(size=n_sales) * noise_deviation(homes)
    frame = _tabulate(_Sales(days, place.zip_codes, places, homes, np.exp(log_true), np.exp(log_true + noise)))
    return _break(_lose(frame, "year_built", 0.04, streams), shocks, streams)


def market_index(days: Codes) -> Floats:
    """Log of the price index on each day (days since 1970-01-01); 0 on 2018-01-01 but for season and cycle."""
    daily = _growth_calendar()
    first = _day(dt.date(min(_GROWTH), 1, 1))
    cumulated = np.concatenate([[0.0], np.cumsum(daily)])
    anchor = cumulated[_day(START) - first]
    position = days - first
    inside = np.clip(position, 0, len(daily))
    growth = cumulated[inside] + (position - inside) * np.where(position < 0, daily[0], daily[-1])
    years = days / _YEAR
    amplitude, period = _CYCLE
    total: Floats = growth - anchor + _SEASON * np.sin(2 * np.pi * (years - 0.2))
    total += amplitude * np.sin(2 * np.pi * years / period)
    return total


@dataclass(frozen=True, slots=True)
class _Sales:
    days: Codes
    zip_codes: tuple[str, ...]
    places: Places
    homes: Homes
    true_price: Floats
    price: Floats


def _day(date: dt.date) -> int:
    return date.toordinal() - dt.date(1970, 1, 1).toordinal()


def _growth_calendar() -> Floats:
    """Log growth of each day between the first and the last knot of `_GROWTH`."""
    knots = [_day(dt.date(year, 1, 1)) for year in _GROWTH]
    calendar = np.arange(knots[0], knots[-1])
    daily: Floats = np.interp(calendar, knots, list(_GROWTH.values())) / _YEAR
    return daily


def _draw_days(streams: Streams, n: int, start: dt.date, end: dt.date) -> Codes:
    """Days of sale in order: more in spring and summer than in winter, few at weekends."""
    days = np.arange(_day(start), _day(end) + 1)
    weight = 1 + 0.35 * np.sin(2 * np.pi * (days / _YEAR - 0.25))
    weight[(days + 3) % 7 >= 5] *= 0.2
    shares = np.cumsum(weight)
    chosen = np.searchsorted(shares[:-1] / shares[-1], np.sort(streams.rng("day").random(n)), side="right")
    return days[chosen].astype(np.int64)


def _drift(places: Places, days: Codes) -> Floats:
    drift = np.array([city.drift for city in CITIES])[places.city]
    total: Floats = drift * (days - _day(START)) / _YEAR
    return total


def _moves(shocks: Iterable[Shock], places: Places, days: Codes) -> Floats:
    """What the shocks add to the log price of each home."""
    total = np.zeros(len(days))
    for shock in shocks:
        match shock:
            case LevelShock():
                total[days >= _day(shock.date)] += np.log1p(shock.change)
            case RegionShock():
                there = places.city == CITY_NAMES.index(shock.city)
                total[there & (days >= _day(shock.date))] += np.log1p(shock.change)
            case _:
                pass
    return total


def _tabulate(sales: _Sales) -> pl.DataFrame:
    homes, places = sales.homes, sales.places
    return pl.DataFrame(
        {
            "sale_id": pl.select("S" + pl.int_range(1, len(sales.days) + 1).cast(pl.String).str.zfill(8)).to_series(),
            "sale_date": pl.Series(sales.days.astype(np.int32)).cast(pl.Date),
            "latitude": places.latitude,
            "longitude": places.longitude,
            "zip_code": _named(sales.zip_codes, places.zip_code),
            "city": _named(CITY_NAMES, places.city),
            "home_type": _named(HOME_TYPES, homes.home_type),
            "living_area": homes.living_area,
            "lot_area": pl.Series(homes.lot_area).fill_nan(None),
            "bedrooms": homes.bedrooms,
            "bathrooms": homes.bathrooms,
            "year_built": homes.year_built,
            "garage": homes.garage,
            "condition": homes.condition,
            "view": homes.view,
            "price": np.round(sales.price, -2),
            "true_price": np.round(sales.true_price, 2),
        }
    )


def _named(names: Sequence[str], codes: Codes) -> pl.Series:
    return pl.Series(names, dtype=pl.String).gather(pl.Series(codes))


def _break(frame: pl.DataFrame, shocks: Sequence[Shock], streams: Streams) -> pl.DataFrame:
    """The table as a broken source records it."""
    for position, shock in enumerate(shocks):
        match shock:
            case BrokenShock():
                value = pl.col(shock.column)
                wrong = (value * shock.factor).round(0 if frame.schema[shock.column].is_integer() else 2)
                wrong = wrong.cast(frame.schema[shock.column])
                frame = frame.with_columns(pl.when(pl.col("sale_date") >= shock.date).then(wrong).otherwise(value))
            case MissingShock():
                lost = streams.rng(f"missing {position}").random(frame.height) < shock.share
                frame = _without(frame, shock.column, pl.Series(lost) & (frame["sale_date"] >= shock.date))
            case _:
                pass
    return frame


def _lose(frame: pl.DataFrame, column: str, share: float, streams: Streams) -> pl.DataFrame:
    return _without(frame, column, pl.Series(streams.rng(f"lost {column}").random(frame.height) < share))


def _without(frame: pl.DataFrame, column: str, lost: pl.Series | NDArray[np.bool_]) -> pl.DataFrame:
    return frame.with_columns(pl.when(pl.lit(lost)).then(None).otherwise(pl.col(column)).alias(column))
