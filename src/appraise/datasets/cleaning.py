"""Cleaning after the checks: one spelling for each city, one row for each sale, no price far from all others.

`docs/cleaning.md` states every rule.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.cities import normalise_city
from appraise.datasets.rejects import FOUND, nothing_found
from appraise.datasets.spec import DatasetSpec

#: Rows of one home and price no more than this many days apart are one sale.
NEAR_DAYS = 30
#: Makes the median absolute deviation of a normal distribution its standard deviation.
_MAD_SCALE = 1.4826


def normalise_cities(spec: DatasetSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with one spelling for each name in the spec's city columns (see `cities.normalise_city`)."""
    for name in spec.cleaning.city_columns:
        spellings = frame[name].drop_nulls().unique()
        spelt = {each: normalise_city(each) or None for each in spellings}
        frame = frame.with_columns(pl.col(name).replace_strict(spelt, default=None, return_dtype=pl.String))
    return frame


def find_duplicates(spec: DatasetSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows that are equal in every column to an earlier one; nothing where the spec turns this off.

    Returns:
        a frame of the schema `rejects.FOUND`.
    """
    if not spec.cleaning.drop_duplicates:
        return nothing_found()
    return _found(~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series(), "the row is there twice")


def find_near_duplicates(spec: DatasetSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows that tell of a sale again: the same home at the same price within `NEAR_DAYS` of the row before.

    The home is the same where the spec's `near_duplicate_columns` are equal and none is missing. The first row in time
    stays. Without a date of sale the price alone decides.

    Returns:
        a frame of the schema `rejects.FOUND`.
    """
    keys = spec.cleaning.near_duplicate_columns
    if not keys:
        return nothing_found()
    group = [*dict.fromkeys((*keys, spec.target.name))]
    known = frame.with_row_index("row").filter(pl.all_horizontal(pl.col(name).is_not_null() for name in group))
    if spec.sale_date is None:
        again = pl.int_range(pl.len()).over(group) > 0
    else:
        date = pl.col(spec.sale_date.name)
        known = known.sort(spec.sale_date.name, "row")
        again = (date - date.shift().over(group)).dt.total_days() <= NEAR_DAYS
    rows = known.filter(again.fill_null(value=False))["row"].sort()
    return _entries(rows, f"the same sale is there twice: equal {', '.join(group)}{_within(spec)}")


def find_outliers(spec: DatasetSpec, frame: pl.DataFrame, train: NDArray[np.int64]) -> pl.DataFrame:
    """Training rows whose log price is more than the spec's number of scaled MADs from the median of training rows.

    Args:
        spec: its `outlier_log_mads` is the number; None turns it off.
        frame: canonical rows.
        train: indices of the training rows, the only ones that are looked at.

    Returns:
        a frame of the schema `rejects.FOUND`.
    """
    most = spec.cleaning.outlier_log_mads
    price = frame[spec.target.name].to_numpy()[train].astype(np.float64)
    usable = price > 0
    if most is None or not usable.any():
        return nothing_found()
    log_price = np.log(np.where(usable, price, np.nan))
    centre = np.nanmedian(log_price)
    deviation = _MAD_SCALE * np.nanmedian(np.abs(log_price - centre))
    if deviation == 0:
        return nothing_found()
    far = np.abs(log_price - centre) > most * deviation
    rows = np.sort(train[far])
    low, high = (np.exp(centre + side * most * deviation) for side in (-1, 1))
    rule = (
        f"{spec.target.name} lies more than {most:g} MADs from the median of training rows ({low:,.6g} to {high:,.6g})"
    )
    received = (f"{rule}, received {value:,.15g}" for value in frame[spec.target.name].to_numpy()[rows])
    return pl.DataFrame({"row": rows, "rule": [rule] * len(rows), "reason": list(received)}, schema=FOUND)


def _within(spec: DatasetSpec) -> str:
    return "" if spec.sale_date is None else f", within {NEAR_DAYS} days"


def _found(mask: pl.Series, rule: str) -> pl.DataFrame:
    return _entries(mask.arg_true(), rule)


def _entries(rows: pl.Series, rule: str) -> pl.DataFrame:
    return rows.cast(pl.Int64).alias("row").to_frame().with_columns(rule=pl.lit(rule), reason=pl.lit(rule))
