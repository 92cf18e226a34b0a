"""From a source to typed rows: the canonical frame of a spec, and the rows that could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import polars as pl

from appraise.datasets import constraints
from appraise.datasets.cells import DTYPES, parse_column
from appraise.datasets.csvread import read_header, read_text_columns
from appraise.datasets.memory import check_fits
from appraise.datasets.parquetread import is_parquet, parquet_cost, parquet_header, read_parquet_columns
from appraise.datasets.rejects import FOUND, Sifted, nothing_found
from appraise.datasets.sources import Source, find_source
from appraise.datasets.spec import Column, CsvFormat, DatasetSpec, Role
from appraise.errors import DataError, did_you_mean

#: Roles whose columns may be missing from a file, and whose cells may be unreadable: no model sees them.
UNUSED_ROLES: frozenset[Role] = frozenset({"ignored", "leak", "id"})
#: Peak of memory while a text file is read, as measured (`docs/decisions/0003-memory.md`): bytes for each cell kept,
#: times the size of the file for its blocks, and times that of the text kept.
_CELL_COST = 72
_BLOCK_COST = 1.0
_TEXT_COST = 2.0
_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RawFile:
    """The rows of one file as they came.

    Attributes:
        path: the file.
        is_text: whether it is delimited text, and not Parquet.
        frame: its rows under its own headers, those of the spec.
    """

    path: Path
    is_text: bool
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Loaded:
    """A dataset as its source has it.

    Attributes:
        rows: the canonical rows that could be read, and those that could not.
        files: all rows as they came, in the order of `rows.position`.
        source: what was read, for people.
        notes: what a person should know: columns that the spec does not name, or the file does not have.
        csv: how the text files are written.
    """

    rows: Sifted
    files: tuple[RawFile, ...]
    source: str
    notes: tuple[str, ...]
    csv: CsvFormat

    @property
    def frame(self) -> pl.DataFrame:
        """The canonical rows that could be read."""
        return self.rows.frame


@dataclass(frozen=True, slots=True)
class Match:
    """How the header of a file fits a spec.

    Attributes:
        present: columns of the spec that the file has.
        absent: those that it does not have, and may lack.
        unknown: headers that the spec does not name.
    """

    present: tuple[Column, ...]
    absent: tuple[Column, ...]
    unknown: tuple[str, ...]

    @property
    def assumed(self) -> str | None:
        """What a person should know of columns that the model wants and the file does not have."""
        names = [column.header for column in self.absent if column.role not in (*UNUSED_ROLES, "target")]
        return f"columns that the file does not have are taken as missing: {_listed(names)}" if names else None

    @property
    def left_out(self) -> str | None:
        """What a person should know of columns that are not read."""
        return f"columns that the spec does not name are left out: {_listed(self.unknown)}" if self.unknown else None


def load(
    spec: DatasetSpec,
    *,
    data: str | Path | None,
    cache: Path,
    memory_limit: int | None,
    s3_endpoint: str | None = None,
    target_needed: bool = True,
) -> Loaded:
    """The rows of a dataset under the canonical names and dtypes of its spec.

    A row with a cell that cannot be read (text in a number, an infinity, a date that does not exist) is set aside with
    its reason. Columns that the spec does not name are not read.

    Args:
        spec: what the dataset is.
        data: where it is; None takes the spec's own source. See `sources.find_source`.
        cache: folder for what can be fetched or made again.
        memory_limit: bytes that reading may take; None measures what there is.
        s3_endpoint: address of an S3 service other than Amazon's.
        target_needed: whether the file must have the target; without it the column may be missing and is then null.

    Raises:
        DataError: the source cannot be read, lacks columns, or would not fit into memory.
        DownloadError: a public dataset or an S3 address cannot be fetched.
        OutputError: the cache cannot be written.
    """
    source = find_source(spec, data=data, cache=cache, s3_endpoint=s3_endpoint)
    headers = [_header(spec, path) for path in source.files]
    plans = [
        match_header(spec, header, str(path), target_needed=target_needed)
        for path, header in zip(source.files, headers, strict=True)
    ]
    needed = sum(_cost(path, header, plan) for path, header, plan in zip(source.files, headers, plans, strict=True))
    check_fits(needed, limit=memory_limit, what=source.label)
    files = tuple(_read(spec, path, plan) for path, plan in zip(source.files, plans, strict=True))
    parts = [canonical(spec, file.frame, plan) for file, plan in zip(files, plans, strict=True)]
    rows = Sifted.of(pl.concat([frame for frame, _ in parts]))
    return Loaded(rows.without(_stacked(parts), step="read"), files, source.label, _notes(source, plans), spec.csv)


def _header(spec: DatasetSpec, path: Path) -> tuple[str, ...]:
    return parquet_header(path) if is_parquet(path) else read_header(path, spec.csv)


def match_header(spec: DatasetSpec, header: Sequence[str], path: str, *, target_needed: bool) -> Match:
    """Which columns of a spec a file has.

    Args:
        spec: the dataset.
        header: the file's column names.
        path: the file, for the error.
        target_needed: whether the price must be there.

    Raises:
        DataError: a column that the model cannot do without is not there.
    """
    present = tuple(column for column in spec.columns if column.header in header)
    absent = tuple(column for column in spec.columns if column.header not in header)
    named = {column.header for column in spec.columns}
    unknown = tuple(name for name in header if name not in named)
    spared: tuple[Role, ...] = (*UNUSED_ROLES,) if target_needed else (*UNUSED_ROLES, "target")
    respelt = {_letters(name) for name in unknown}
    missed = [
        column
        for column in absent
        if column.role not in spared
        and (column.role == "target" or not column.optional or _letters(column.header) in respelt)
    ]
    if missed:
        names = ", ".join(repr(column.header) + ", the target" * (column.role == "target") for column in missed)
        near = did_you_mean(missed[0].header, unknown)
        raise DataError(
            f"{path} has no column {names}",
            hint=near or f"its columns are {_listed(header)}; correct the spec or the file",
        )
    return Match(present, absent, unknown)


def _letters(name: str) -> str:
    return "".join(each for each in name.casefold() if each.isalnum())


def _cost(path: Path, header: Sequence[str], plan: Match) -> int:
    names = [column.header for column in plan.present]
    if is_parquet(path):
        return parquet_cost(path, names)
    size = path.stat().st_size
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    rows = size / max(1, len(sample)) * (sample.count(b"\n") + 1)
    share = len(names) / len(header)
    return int(rows * len(names) * _CELL_COST + size * (_BLOCK_COST + share * _TEXT_COST))


def _read(spec: DatasetSpec, path: Path, plan: Match) -> RawFile:
    headers = [column.header for column in plan.present]
    if is_parquet(path):
        return RawFile(path, is_text=False, frame=read_parquet_columns(path, headers))
    return RawFile(path, is_text=True, frame=read_text_columns(path, spec.csv, columns=headers))


def canonical(spec: DatasetSpec, came: pl.DataFrame, match: Match) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows under the canonical names and dtypes of a spec, and what could not be read in them.

    Args:
        spec: what the dataset is.
        came: n rows as they came, under their headers: text, or the types of a Parquet file.
        match: which columns they have.

    Returns:
        n rows, null where a cell cannot be read, and those cells as a frame of the schema `rejects.FOUND`.
    """
    columns = {}
    found = []
    for column in match.present:
        cells = came[column.header]
        values, unreadable = typed_column(cells, column, spec)
        columns[column.name] = values
        if column.role not in UNUSED_ROLES and unreadable.any():
            found.append(_unreadable(column, cells, unreadable))
    for column in match.absent:
        columns[column.name] = pl.Series(column.name, [None] * came.height, dtype=DTYPES[column.kind])
    frame = pl.DataFrame(columns).select(column.name for column in spec.columns)
    return frame, pl.concat(found) if found else nothing_found()


def typed_column(cells: pl.Series, column: Column, spec: DatasetSpec) -> tuple[pl.Series, pl.Series]:
    """As `parse_column`, without the way through text for numbers and dates that are typed already."""
    dtype = cells.dtype
    if column.kind == "number" and dtype.is_numeric():
        values = cells.cast(pl.Float64).rename(column.name)
        # A finite sum has no infinity in it, and nothing that is not a number.
        if isfinite(values.sum()):
            return values, _nowhere(len(values))
        values = values.fill_nan(None)
        infinite = values.is_infinite().fill_null(value=False)
        return values.set(infinite, None), infinite
    if (column.kind == "integer" and dtype.is_signed_integer()) or (column.kind == "date" and dtype == pl.Date):
        return cells.cast(DTYPES[column.kind]).rename(column.name), _nowhere(len(cells))
    return parse_column(cells, column, spec.csv)


def _nowhere(count: int) -> pl.Series:
    return pl.Series([False]).new_from_index(0, count)


def _unreadable(column: Column, cells: pl.Series, mask: pl.Series) -> pl.DataFrame:
    rows = mask.arg_true()
    rule = f"{column.name} {constraints.of_kind(column)}"
    reasons = [f"{rule}, received {constraints.shown(value)}" for value in cells.gather(rows)]
    return pl.DataFrame({"row": rows.cast(pl.Int64), "rule": [rule] * len(reasons), "reason": reasons}, schema=FOUND)


def _stacked(parts: Iterable[tuple[pl.DataFrame, pl.DataFrame]]) -> pl.DataFrame:
    """What was found in each file, with rows counted through all of them."""
    stacked = [nothing_found()]
    start = 0
    for frame, found in parts:
        stacked.append(found.with_columns(pl.col("row") + start))
        start += frame.height
    return pl.concat(stacked)


def _notes(source: Source, plans: Iterable[Match]) -> tuple[str, ...]:
    told = (note for plan in plans for note in (plan.left_out, plan.assumed) if note is not None)
    return tuple(dict.fromkeys((*source.notes, *told)))


def _listed(names: Sequence[str]) -> str:
    most = 20
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
