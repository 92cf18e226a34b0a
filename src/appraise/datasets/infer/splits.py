"""Where to cut the sales into those that train, those that validate and those that are held out."""

from __future__ import annotations

import datetime as dt

import polars as pl

from appraise.datasets.infer.journal import Journal
from appraise.datasets.infer.profile import Profile
from appraise.datasets.spec import RandomSplit, TimeSplit

_TRAIN, _HOLDOUT = 0.64, 0.20
_FEW_ROWS = 50
_FEW_DAYS = 90
_SMALLEST_TRAIN, _SMALLEST_VALIDATION, _SMALLEST_HOLDOUT = 0.4, 0.05, 0.08


def choose_split(
    sale_date: Profile | None, priced: pl.Series, today: dt.date, journal: Journal
) -> TimeSplit | RandomSplit:
    """A split by time, on whole days, into about 64, 16 and 20% of the priced rows; by chance where that cannot be.

    Args:
        sale_date: the date of sale, if there is one.
        priced: Boolean, which rows have a price.
        today: sales after it are mistakes and do not count.
        journal: is told what was chosen and why.
    """
    random = RandomSplit()
    if sale_date is None:
        journal.say("[split]", "by chance, seeded", "the file has no date of sale")
        return random
    future = int((sale_date.values > today).sum())
    if future:
        journal.say(
            sale_date.name,
            f"{future:,} {'row' if future == 1 else 'rows'} will be refused",
            "they are dated in the future",
        )
    days = sale_date.values.filter(priced & (sale_date.values <= today).fill_null(value=False))
    shares = (
        days.value_counts(name="rows")
        .sort(days.name)
        .with_columns(before=(pl.col("rows").cum_sum() - pl.col("rows")) / max(days.len(), 1))
    )
    span = _span(days)
    if days.len() < _FEW_ROWS or span < _FEW_DAYS:
        journal.say(
            "[split]", "by chance, seeded", f"{days.len():,} sales within {span} days are too few for one by time"
        )
        return random
    cuts = _cuts(shares.rename({days.name: "day"}))
    if cuts is None:
        journal.say("[split]", "by chance, seeded", "too many sales fall on too few days for a split by time")
        return random
    split, (train, validation, holdout) = cuts
    journal.say(
        "[split]",
        f"by time: train before {split.train_before}, hold out from {split.holdout_from}",
        f"{train:.0%} of the priced rows train, {validation:.0%} validate and {holdout:.0%} are held out",
    )
    return split


def _span(days: pl.Series) -> int:
    first, last = days.min(), days.max()
    return (last - first).days if isinstance(first, dt.date) and isinstance(last, dt.date) else 0


def _cuts(shares: pl.DataFrame) -> tuple[TimeSplit, tuple[float, float, float]] | None:
    """The days at which the shares of rows before come nearest to those that are wanted."""
    days: list[dt.date] = shares["day"].to_list()
    before: list[float] = shares["before"].to_list()
    if len(days) < 3:
        return None
    second = min(range(2, len(days)), key=lambda n: abs(before[n] - (1 - _HOLDOUT)))
    first = min(range(1, second), key=lambda n: abs(before[n] - _TRAIN))
    parts = (before[first], before[second] - before[first], 1 - before[second])
    if parts[0] < _SMALLEST_TRAIN or parts[1] < _SMALLEST_VALIDATION or parts[2] < _SMALLEST_HOLDOUT:
        return None
    return TimeSplit(train_before=days[first], holdout_from=days[second]), parts
