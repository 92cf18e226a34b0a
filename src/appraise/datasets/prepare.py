"""From a spec to rows that a model can learn from: load, check, clean and split, with nothing lost on the way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.checks import Bounds, check
from appraise.datasets.cleaning import find_duplicates, find_near_duplicates, find_outliers, normalise_cities
from appraise.datasets.csvread import line_numbers
from appraise.datasets.loading import Loaded, load
from appraise.datasets.rejects import Sifted
from appraise.datasets.spec import DatasetSpec
from appraise.datasets.splitting import Split, split
from appraise.datasets.summary import QUANTILES, DataSummary, Dropped, SetSummary, quantile_key
from appraise.errors import DataError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset that is ready for training.

    Attributes:
        frame: canonical rows that passed, in the order of the source, n of them.
        split: indices of its rows.
        rejects: the other rows: `file`, `line` (the row's number, from 1, where the file is Parquet), `reason`, and the
            row as it came, as text under the headers of the file.
        summary: what happened.
    """

    frame: pl.DataFrame
    split: Split
    rejects: pl.DataFrame
    summary: DataSummary


def prepare(
    spec: DatasetSpec,
    *,
    data: str | Path | None,
    cache: Path,
    memory_limit: int | None,
    s3_endpoint: str | None = None,
    today: dt.date | None = None,
) -> Prepared:
    """Loads, checks, cleans and splits a dataset.

    Args:
        spec: what the dataset is.
        data: where it is; None takes the spec's own source.
        cache: folder for what can be fetched or made again.
        memory_limit: bytes that reading may take; None measures what there is.
        s3_endpoint: address of an S3 service other than Amazon's.
        today: no sale may be later; None is today.

    Raises:
        DataError: the source cannot be read, does not fit the spec or memory, or no row or no two prices are left.
        FitError: a set of the split would be too small.
        DownloadError: a public dataset or an S3 address cannot be fetched.
        OutputError: the cache cannot be written.
    """
    loaded = load(spec, data=data, cache=cache, memory_limit=memory_limit, s3_endpoint=s3_endpoint)
    rows = clean(spec, loaded.rows, today=today or _latest_today())
    _refuse_hopeless(spec, rows, loaded)
    parts = split(spec, rows.frame)
    outliers = find_outliers(spec, rows.frame, parts.train)
    if not outliers.is_empty():
        parts = parts.without(outliers["row"].to_numpy(), rows.frame.height)
        rows = rows.without(outliers, step="outlier")
    return Prepared(rows.frame, parts, _rejects(rows, loaded), _summary(spec, rows, parts, loaded))


def clean(
    spec: DatasetSpec,
    rows: Sifted,
    *,
    today: dt.date | None = None,
    target_needed: bool = True,
    most: Mapping[str, Bounds] | None = None,
) -> Sifted:
    """Rows that pass the checks, with one spelling for each city and without duplicates.

    Args:
        spec: what is asked.
        rows: of `load`.
        today: no sale may be later; None lets any date pass.
        target_needed: whether a price must be there; without it rows are not taken for duplicates.
        most: as for `checks.check`.
    """
    found = check(spec, rows.frame, today=today, target_needed=target_needed, most=most)
    rows = rows.without(found, step="check")
    rows = Sifted(normalise_cities(spec, rows.frame), rows.position, rows.rejected)
    if not target_needed:
        return rows
    rows = rows.without(find_duplicates(spec, rows.frame), step="duplicate")
    return rows.without(find_near_duplicates(spec, rows.frame), step="near duplicate")


def _latest_today() -> dt.date:
    """Today where the day begins first: a sale of today in Auckland is not in the future elsewhere."""
    return (dt.datetime.now(tz=dt.UTC) + dt.timedelta(hours=14)).date()


def _refuse_hopeless(spec: DatasetSpec, rows: Sifted, loaded: Loaded) -> None:
    """Raises DataError where nothing can be learnt."""
    if rows.frame.is_empty():
        commonest = _dropped(rows)[0]
        example = rows.rejected.filter(pl.col("rule") == commonest.reason)["reason"][0]
        total = len(rows.rejected)
        raise DataError(
            f"none of the {total:,} rows of {loaded.source} can be used; {commonest.rows:,} for this reason: {example}",
            hint="correct the spec if it asks for the wrong thing, or else the data",
        )
    prices = rows.frame[spec.target.name]
    if rows.frame.height > 1 and prices.n_unique() == 1:
        raise DataError(
            f"all {rows.frame.height:,} rows of {loaded.source} have the same {spec.target.name}, {prices[0]:,.15g}",
            hint="check that the target is the right column; a model needs prices that differ",
        )


def _rejects(rows: Sifted, loaded: Loaded) -> pl.DataFrame:
    """The rows that were set aside, as they came."""
    rejected = rows.rejected.sort("position")
    parts = []
    start = 0
    for file in loaded.files:
        here = rejected.filter(pl.col("position").is_between(start, start + file.frame.height - 1))
        places = here["position"].to_numpy() - start
        start += file.frame.height
        if here.is_empty():
            continue
        lines = line_numbers(file.path, loaded.csv, file.frame.height)[places] if file.is_text else places + 1
        as_it_came = file.frame[places].with_columns(pl.all().cast(pl.String, strict=False))
        told = pl.DataFrame({"file": [str(file.path)] * len(here), "line": lines, "reason": here["reason"]})
        parts.append(pl.concat([told, _apart(as_it_came, told.columns)], how="horizontal"))
    empty = pl.DataFrame(schema={"file": pl.String, "line": pl.Int64, "reason": pl.String})
    return pl.concat(parts, how="diagonal") if parts else empty


def _apart(frame: pl.DataFrame, taken: Sequence[str]) -> pl.DataFrame:
    """The frame with other names for columns whose names are taken."""
    return frame.rename({name: f"{name} (column)" for name in frame.columns if name in taken})


def _dropped(rows: Sifted) -> tuple[Dropped, ...]:
    counts = (
        rows.rejected.group_by("step", "rule", maintain_order=True)
        .len()
        .sort("len", descending=True, maintain_order=True)
    )
    return tuple(Dropped(step, rule, count) for step, rule, count in counts.iter_rows())


def _summary(spec: DatasetSpec, rows: Sifted, parts: Split, loaded: Loaded) -> DataSummary:
    empty = [column.name for column in spec.inputs if rows.frame[column.name].null_count() == rows.frame.height]
    notes = [*loaded.notes, *(f"the column {name} has no values" for name in empty)]
    sets = (("train", parts.train), ("validation", parts.validation), ("holdout", parts.holdout))
    return DataSummary(
        dataset=spec.name,
        source=loaded.source,
        notes=tuple(notes),
        rows_read=rows.frame.height + rows.rejected.height,
        rows_kept=rows.frame.height,
        dropped=_dropped(rows),
        sets=tuple(_set_summary(spec, name, rows.frame, index) for name, index in sets),
    )


def _set_summary(spec: DatasetSpec, name: str, frame: pl.DataFrame, index: NDArray[np.int64]) -> SetSummary:
    first = last = None
    if spec.sale_date is not None:
        dates = frame[spec.sale_date.name][index].drop_nulls().to_numpy()
        if len(dates):
            first, last = dates.min().item(), dates.max().item()
    prices = frame[spec.target.name].to_numpy()[index]
    quantiles = np.quantile(prices, QUANTILES)
    keyed = {quantile_key(share): float(value) for share, value in zip(QUANTILES, quantiles, strict=True)}
    return SetSummary(name, len(index), first, last, keyed)
