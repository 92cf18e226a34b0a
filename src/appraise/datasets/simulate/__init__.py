"""Made-up data whose true prices are known: the wind tunnel for everything that is trained, served and watched.

Every simulator gives the same table for the same arguments, to the bit.
"""

from __future__ import annotations

import polars as pl

from appraise.datasets.simulate.housets import MONTHS, simulate_housets
from appraise.datasets.simulate.market import END, START, market_index, simulate_market
from appraise.datasets.simulate.shocks import Shock, parse_shock
from appraise.datasets.simulate.tables import SimulatedTable, simulate_garden, simulate_homes
from appraise.errors import SettingsError, did_you_mean

__all__ = [
    "DEFAULT_ROWS",
    "END",
    "SOURCE_NOTE",
    "START",
    "VERSION",
    "Shock",
    "SimulatedTable",
    "market_index",
    "parse_shock",
    "simulate_garden",
    "simulate_homes",
    "simulate_housets",
    "simulate_market",
    "simulate_table",
]

#: Goes up when a table changes, so that one that was kept is not taken for today's.
VERSION = 1

SOURCE_NOTE = "made-up data from the simulator: no real home, place or price"

#: How many rows each simulator writes when it is not told.
DEFAULT_ROWS = {"bayside": 20_000, "homes": 5_000, "garden": 3_000, "housets": 200 * MONTHS}


def simulate_table(name: str, *, rows: int | None = None, seed: int = 0) -> pl.DataFrame:
    """The made-up table of a preset.

    Args:
        name: a name of `DEFAULT_ROWS`.
        rows: how many; `housets` fills up to whole zip codes of 142 months.
        seed: of the table.

    Raises:
        SettingsError: there is no such simulator, no rows are asked for, or the seed is negative.
    """
    if name not in DEFAULT_ROWS:
        hint = did_you_mean(name, DEFAULT_ROWS) or f"choose one of {', '.join(DEFAULT_ROWS)}"
        raise SettingsError(f"there is no simulator {name!r}", hint=hint)
    n = DEFAULT_ROWS[name] if rows is None else rows
    match name:
        case "bayside":
            return simulate_market(n, seed=seed)
        case "homes":
            return simulate_homes(n, seed=seed).frame
        case "garden":
            return simulate_garden(n, seed=seed).frame
        case _:
            return simulate_housets(-(-n // MONTHS), seed=seed).frame
