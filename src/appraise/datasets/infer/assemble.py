"""Inference from the file to the spec, step by step."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from appraise.datasets.cells import parse_column
from appraise.datasets.csvread import read_text_columns
from appraise.datasets.infer import naming
from appraise.datasets.infer.bounds import find_rules, price_bound, set_bounds
from appraise.datasets.infer.coordinates import find_coordinates
from appraise.datasets.infer.journal import Decision, Journal
from appraise.datasets.infer.leaks import find_leaks
from appraise.datasets.infer.money import currency_of
from appraise.datasets.infer.numbers import number_format
from appraise.datasets.infer.profile import SAMPLE, Profile, profile
from appraise.datasets.infer.roles import (
    city_columns,
    find_region,
    find_sale_date,
    mark_identifiers,
    near_duplicate_columns,
)
from appraise.datasets.infer.sniffing import sniff
from appraise.datasets.infer.splits import choose_split
from appraise.datasets.parquetread import is_parquet, parquet_header, read_parquet_columns
from appraise.datasets.paths import plain
from appraise.datasets.spec import Cleaning, CsvFormat, DatasetSpec
from appraise.datasets.speccheck import check_spec
from appraise.errors import DataError, did_you_mean

#: Ways to say that there is no value, in lower case, besides those that every file may use.
_NO_VALUE = """
unknown|unbekannt|inconnu|desconocido|n.a.|n.a|na|n/a|#n/a|<na>|none|null|nil|nan|missing|tba|tbd|--|---|.|..|...|k.a.|s/d
not available|not stated|no data|keine angabe|nicht bekannt|#value!|#ref!|#div/0!
"""
#: A column is one of numbers or dates for this purpose if this share of its other cells holds a digit.
_MOSTLY_DIGITS = 0.9
#: How many cells say whether a column that nobody asked for holds numbers.
_PEEK = 200


@dataclass(frozen=True, slots=True)
class Inference:
    """A spec made from a file, and why it says what it says.

    Attributes:
        spec: the spec; its source is the file's absolute path.
        decisions: what was decided, in the order of the steps.
    """

    spec: DatasetSpec
    decisions: tuple[Decision, ...]

    @property
    def notes(self) -> Mapping[str, str]:
        """The decisions about each column and section as remarks for `specfile.write_spec`."""
        notes: dict[str, str] = {}
        for decision in self.decisions:
            notes[decision.column] = (
                f"{notes[decision.column]}; {decision}" if decision.column in notes else str(decision)
            )
        return notes

    def spec_for(self, output: Path) -> DatasetSpec:
        """The spec as it is to be written to `output`: its source relative to the folder of that file."""
        if self.spec.source is None:
            return self.spec
        try:
            source = os.path.relpath(self.spec.source, output.absolute().parent)
        except ValueError:  # another drive
            return self.spec
        return replace(self.spec, source=Path(source).as_posix())


def infer_spec(path: Path, *, target: str, name: str | None = None) -> Inference:
    """The spec of a CSV file of sales.

    Args:
        path: the file.
        target: the header of the column of prices.
        name: the dataset's name; the file's, made a slug, if not given.

    Raises:
        DataError: the file cannot be read, has no such column, or holds nothing to learn from.
    """
    today = dt.date.today()
    journal = Journal()
    csv, frame = _read(path, journal)
    _check_target(path, frame, target)
    journal.say("[dataset]", f"made from {path.name}", f"{frame.height:,} rows and {frame.width:,} columns")
    csv = number_format(csv, [_sample(frame[column]) for column in frame.columns], frame[target].drop_nulls(), journal)
    csv = _with_missing_words(csv, frame, journal)
    cells = frame.with_columns(pl.when(pl.all().is_in(list(csv.missing))).then(None).otherwise(pl.all()).name.keep())
    profiles = [
        profile(column, cells[column], csv, journal, today, is_target=column == target) for column in cells.columns
    ]
    profiles = _take_target(path, profiles, target, csv, journal)
    profiles = mark_identifiers(profiles, journal)
    profiles = find_coordinates(profiles, target, journal)
    profiles = find_sale_date(profiles, journal)
    profiles = find_leaks(profiles, target, journal)
    profiles = set_bounds(profiles, today, journal)
    return _assembled(path, profiles, csv, name, today, journal)


def _read(path: Path, journal: Journal) -> tuple[CsvFormat, pl.DataFrame]:
    """The format and the cells of a file; those of a Parquet file as their text."""
    if path.is_file() and is_parquet(path):
        return CsvFormat(), read_parquet_columns(path, parquet_header(path)).cast(pl.String)
    csv = sniff(path, journal)
    return csv, read_text_columns(path, csv)


def _assembled(
    path: Path, profiles: list[Profile], csv: CsvFormat, name: str | None, today: dt.date, journal: Journal
) -> Inference:
    prices = next(profile for profile in profiles if profile.column.role == "target")
    objective, bounded = price_bound(prices, journal)
    profiles = [bounded if profile is prices else profile for profile in profiles]
    sale_date = next((profile for profile in profiles if profile.column.role == "sale_date"), None)
    spec = DatasetSpec(
        name=naming.slug(path.stem) if name is None else name,
        title=path.stem.replace("_", " "),
        columns=tuple(profile.column for profile in profiles),
        rules=find_rules(profiles, journal),
        split=choose_split(sale_date, prices.values.is_not_null(), today, journal),
        csv=csv,
        cleaning=Cleaning(city_columns=city_columns(profiles), near_duplicate_columns=near_duplicate_columns(profiles)),
        currency=currency_of(prices.name, prices.text, journal),
        objective=objective,
        region=find_region(profiles, journal),
        source=str(plain(path.absolute())),
    )
    if not any(column.role in ("feature", "latitude") for column in spec.columns):
        others = [f"{column.name} is {column.role}" for column in spec.columns if column.role != "target"]
        raise DataError(
            f"{path} has no column to learn from besides {prices.name!r}",
            hint="add columns that describe the homes" + (f"; {', '.join(others)}" if others else ""),
        )
    check_spec(spec)
    return Inference(spec, tuple(journal.decisions))


def _check_target(path: Path, frame: pl.DataFrame, target: str) -> None:
    if target in frame.columns:
        return
    if sum(map(_is_number, frame.columns)) > len(frame.columns) / 2:
        hint = "the first line looks like values: put a line with the names of the columns before it"
    else:
        peeks = {name: frame[name].drop_nulls().head(_PEEK) for name in frame.columns}
        numeric = [name for name, peek in peeks.items() if peek.len() and all(map(_is_number, peek))]
        hint = f"its columns of numbers are {', '.join(numeric) or 'none'}"
        near = did_you_mean(target, frame.columns)
        hint = f"{near} {hint}" if near else hint
    raise DataError(f"{path} has no column {target!r}", hint=hint)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+(]?\D{0,3}\d[\d.,' ]*\D{0,3}", text) is not None


def _take_target(
    path: Path, profiles: Sequence[Profile], target: str, csv: CsvFormat, journal: Journal
) -> list[Profile]:
    """The profiles with the role target given; raises DataError where that column holds no prices."""
    prices = next(profile for profile in profiles if profile.name == target)
    numeric = [profile.name for profile in profiles if profile.is_numeric and profile.name != target]
    hint = f"the columns of numbers are {', '.join(numeric)}" if numeric else "prices must be numbers"
    if not prices.present:
        raise DataError(f"every value of the target {target!r} in {path} is missing", hint=hint)
    if prices.text.len() < 2:
        raise DataError(f"{path} has one row, and a model needs many", hint="give a file with more sales")
    if prices.distinct == 1:
        raise DataError(
            f"every one of the {prices.present:,} prices in {path} is {prices.text.drop_nulls()[0]}: "
            "there is nothing to learn",
            hint=hint,
        )
    if not prices.is_numeric:
        wrong = prices.text.filter(parse_column(prices.text, replace(prices.column, kind="number"), csv)[1])
        raise DataError(
            f"{wrong.len():,} of {prices.present:,} values of the target {target!r} in {path} are no numbers, "
            f"for example {wrong[0]!r}",
            hint=hint,
        )
    missing = prices.values.null_count()
    if missing:
        journal.say(
            target, f"{missing:,} of {prices.text.len():,} rows will be dropped", "they have no price to learn from"
        )
    return [
        replace(
            profile.having(kind="number", role="target", optional=False, unit=None),
            values=profile.values.cast(pl.Float64),
        )
        if profile is prices
        else profile
        for profile in profiles
    ]


def _with_missing_words(csv: CsvFormat, frame: pl.DataFrame, journal: Journal) -> CsvFormat:
    """`csv` with the file's own words for "no value" among its `missing`, where they stand among numbers or dates."""
    known = re.split(r"[|\n]", _NO_VALUE.strip())
    words = list(csv.missing)
    for column in frame.columns:
        sample = _sample(frame[column])
        others = sample.filter(~sample.str.to_lowercase().is_in(known))
        share = others.str.contains(r"\d").mean()
        if not isinstance(share, float) or share < _MOSTLY_DIGITS:
            continue  # in a category, "unknown" is a level like any other
        found = frame[column].filter(frame[column].str.to_lowercase().is_in(known)).drop_nulls().unique().sort()
        for word in found:
            if word not in words:
                words.append(word)
                journal.say(
                    "[csv]", f"{word!r} means that a value is missing", f"it stands among the numbers of {column}"
                )
    return replace(csv, missing=tuple(words))


def _sample(cells: pl.Series) -> pl.Series:
    present = cells.drop_nulls()
    return present.gather_every(max(1, present.len() // SAMPLE))
