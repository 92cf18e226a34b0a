"""Which rows train, validate and are held out: by time, by a seeded permutation, and blocks of the map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.spec import DatasetSpec, RandomSplit, TimeSplit
from appraise.errors import FitError

#: The least rows that a set must have: below, neither a model nor its errors mean anything.
MIN_TRAIN, MIN_VALIDATION, MIN_HOLDOUT = 30, 10, 10
#: The code of a row that belongs to no block or region.
NO_REGION = -1
MISSING_LABEL = "(missing)"


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint sets of rows that together are all rows.

    Attributes:
        train, validation, holdout: indices of rows, int64.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    holdout: NDArray[np.int64]

    def without(self, rows: NDArray[np.int64], n: int) -> Split:
        """The split of the same n rows after some of them have been taken out, with indices counted anew."""
        kept = np.ones(n, dtype=np.bool_)
        kept[rows] = False
        renumbered = np.cumsum(kept) - 1
        return Split(*(renumbered[part[kept[part]]] for part in (self.train, self.validation, self.holdout)))


def split(spec: DatasetSpec, frame: pl.DataFrame) -> Split:
    """The spec's split of canonical rows.

    By time, the sets are in the order of the rows. At random they are `RandomState(seed).permutation(n)` cut into
    train, validation and holdout, the last two rounded up: the protocol of the tabular papers.

    Raises:
        FitError: a set would be too small.
    """
    match spec.split:
        case TimeSplit() as by_time:
            parts = _by_time(spec, by_time, frame)
            hint = f"the dates go from {_dates(spec, frame)}: move train_before and holdout_from in the spec's [split]"
        case RandomSplit() as at_random:
            parts = _at_random(at_random, frame.height)
            hint = "give more rows, or larger shares in the spec's [split]"
    for name, rows, least in (
        ("train", parts.train, MIN_TRAIN),
        ("validate", parts.validation, MIN_VALIDATION),
        ("test", parts.holdout, MIN_HOLDOUT),
    ):
        if len(rows) < least:
            raise FitError(f"{len(rows)} of {frame.height} rows are left to {name}; {least} are needed", hint=hint)
    return parts


def spatial_blocks(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], *, blocks: int = 12
) -> NDArray[np.int64]:
    """Blocks of neighbouring rows of nearly equal size, by recursive bisection across the longer side.

    Homes of one place are in one block, so there may be fewer blocks than asked for. The block of a row does not
    depend on the order of the rows.

    Args:
        latitude: degrees north, shape (n,).
        longitude: degrees east, shape (n,).
        blocks: how many.

    Returns:
        codes from 0, shape (n,); -1 where a coordinate is not finite.
    """
    codes = np.full(len(latitude), NO_REGION, dtype=np.int64)
    known = np.flatnonzero(np.isfinite(latitude) & np.isfinite(longitude))
    if len(known) == 0:
        return codes
    shrink = math.cos(math.radians(float(np.median(latitude[known]))))
    places = np.column_stack([latitude[known], longitude[known] * shrink])
    for code, members in enumerate(_bisect(places, np.arange(len(known)), blocks)):
        codes[known[members]] = code
    return codes


def fold_of_blocks(codes: NDArray[np.int64], *, folds: int) -> NDArray[np.int64]:
    """The fold of each row, whole blocks together and folds of nearly equal size; -1 for rows of no block.

    The largest block goes first, each to the fold that is smallest so far.
    """
    sizes = np.bincount(codes[codes >= 0])
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    load = np.zeros(folds, dtype=np.int64)
    for block in np.argsort(-sizes, kind="stable"):
        fold_of[block] = np.argmin(load)
        load[fold_of[block]] += sizes[block]
    return np.where(codes >= 0, fold_of[np.maximum(codes, 0)], NO_REGION) if len(sizes) else codes.copy()


def regions(spec: DatasetSpec, frame: pl.DataFrame) -> tuple[list[str], NDArray[np.int64]]:
    """The region of each row: the spec's region column, else spatial blocks, else none.

    Returns:
        labels of the codes, and the code of each row, shape (n,); no labels and -1 everywhere where there are none.
    """
    if spec.region is not None:
        values = frame[spec.region].fill_null(MISSING_LABEL)
        labels = values.unique().sort().to_list()
        codes = values.replace_strict(labels, range(len(labels)), return_dtype=pl.Int64).to_numpy()
        return labels, codes.astype(np.int64)
    if spec.latitude is None or spec.longitude is None:
        return [], np.full(frame.height, NO_REGION, dtype=np.int64)
    latitude, longitude = (_degrees(frame[column.name]) for column in (spec.latitude, spec.longitude))
    codes = spatial_blocks(latitude, longitude)
    return [_block_label(latitude[codes == code], longitude[codes == code]) for code in range(codes.max() + 1)], codes


def _by_time(spec: DatasetSpec, by_time: TimeSplit, frame: pl.DataFrame) -> Split:
    if spec.sale_date is None:
        raise FitError("the split is by time, but the spec has no sale date", hint='give a column role = "sale_date"')
    date = frame[spec.sale_date.name]
    early, late = date < by_time.train_before, date >= by_time.holdout_from
    return Split(_indices(early), _indices((date >= by_time.train_before) & ~late), _indices(late))


def _at_random(at_random: RandomSplit, n: int) -> Split:
    # The tolerance keeps a share of 0.2 from becoming one row more by rounding.
    validation, holdout = (math.ceil(share * n - 1e-9) for share in (at_random.validation, at_random.holdout))
    order = np.random.RandomState(at_random.seed).permutation(n).astype(np.int64)
    train = max(0, n - validation - holdout)
    return Split(order[:train], order[train : train + validation], order[train + validation :])


def _bisect(places: NDArray[np.float64], members: NDArray[np.int64], blocks: int) -> list[NDArray[np.int64]]:
    if blocks <= 1 or len(members) <= 1:
        return [members]
    here = places[members]
    for axis in np.argsort(-np.ptp(here, axis=0), kind="stable"):
        values = here[:, axis]
        cut = np.sort(values)[len(values) * (blocks // 2) // blocks]
        low = values < cut
        if not low.any():
            low = values <= cut
        if not low.all():
            first = _bisect(places, members[low], blocks // 2)
            return [*first, *_bisect(places, members[~low], blocks - blocks // 2)]
    return [members]


def _indices(mask: pl.Series) -> NDArray[np.int64]:
    return mask.arg_true().to_numpy().astype(np.int64)


def _degrees(values: pl.Series) -> NDArray[np.float64]:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _block_label(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> str:
    return f"around {np.median(latitude):.2f}, {np.median(longitude):.2f}"


def _dates(spec: DatasetSpec, frame: pl.DataFrame) -> str:
    if spec.sale_date is None or frame.is_empty():
        return "none to none"
    dates = frame[spec.sale_date.name]
    return f"{dates.min()!s} to {dates.max()!s}"
