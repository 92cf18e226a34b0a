"""What the files of a run have in common: their columns, checked before any work, and those of the output."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from appraise.datasets.csvread import header_of
from appraise.datasets.loading import Match, match_header
from appraise.datasets.spec import CsvFormat, DatasetSpec, Kind
from appraise.errors import DataError
from appraise.serving.batch.inputs import InputFile, is_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Columns that are added to those of the input.
_ADDED: dict[str, pa.DataType] = {
    "estimate": pa.float64(),
    "lower": pa.float64(),
    "upper": pa.float64(),
    "confidence": pa.float64(),
    "confidence_grade": pa.string(),
    "warnings": pa.string(),
    "model_version": pa.string(),
    "error": pa.string(),
}
ADDED = pa.schema(_ADDED)
_TYPES: dict[Kind, Any] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "category": pa.string(),
    "identifier": pa.string(),
    "text": pa.string(),
}
_SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class FileLayout:
    """How one file is read.

    Attributes:
        names: its columns.
        match: how they fit the spec.
        csv: how its text is written; None for Parquet.
    """

    names: tuple[str, ...]
    match: Match
    csv: CsvFormat | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How the files are read and what the output looks like.

    Attributes:
        files: in the order of the inputs.
        came: the columns that come from the input, under their own names.
        renamed: the names in the output of those that are called like an added column.
        notes: what a person should know.
        cells: whether the cells of text files are kept as they are.
    """

    files: tuple[FileLayout, ...]
    came: pa.Schema
    renamed: dict[str, str]
    notes: tuple[str, ...]
    cells: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The columns of the output."""
        came = [field.with_name(self.renamed.get(field.name, field.name)) for field in self.came]
        return pa.schema([*came, *ADDED])


def find_layout(spec: DatasetSpec, files: Sequence[InputFile], *, endpoint: str | None, cells: bool = False) -> Layout:
    """The layout of some files.

    Args:
        spec: the dataset.
        files: at least one.
        endpoint: address of an S3 service other than Amazon's.
        cells: keep the cells of text files as they are; without it the columns that reach the model, and the price,
            have the types of the spec.

    Raises:
        DataError: a file lacks columns, is damaged, or has columns of other types than the files before it.
    """
    layouts: list[FileLayout] = []
    came: pa.Schema | None = None
    first: dict[str, str] = {}
    for file in files:
        layout, schema = _of_file(spec, file, endpoint, cells=cells)
        layouts.append(layout)
        came = schema if came is None else _unified(came, schema, file, first)
        for name in schema.names:
            first.setdefault(name, file.address)
    assert came is not None  # noqa: S101  there is a file
    notes = (note for layout in layouts for note in (layout.match.assumed, _reads(layout, spec)) if note)
    return Layout(tuple(layouts), came, _apart(came.names), tuple(dict.fromkeys(notes)), cells)


def _of_file(spec: DatasetSpec, file: InputFile, endpoint: str | None, *, cells: bool) -> tuple[FileLayout, pa.Schema]:
    head = file.head(endpoint=endpoint)
    if is_parquet(head):
        with file.open(endpoint=endpoint) as stream, parquet_errors(file.address):
            schema = parquet.ParquetFile(stream).schema_arrow.remove_metadata()
        layout = FileLayout(tuple(schema.names), _match(spec, schema.names, file))
        _check_types(layout, schema, file)
        return layout, schema
    csv = _separated(spec, head, file)
    names = header_of(head, csv, file.address)
    kinds = {column.header: _TYPES[column.kind] for column in spec.columns if column.is_input or column == spec.target}
    typed = {} if cells else kinds
    schema = pa.schema([(name, typed.get(name, pa.string())) for name in names])
    return FileLayout(names, _match(spec, names, file), csv), schema


def _match(spec: DatasetSpec, names: Sequence[str], file: InputFile) -> Match:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise DataError(f"{file.address} has two columns named {name!r}", hint="rename one of them")
    found = match_header(spec, names, file.address, target_needed=False)
    # The price of a home that is to be valued is not read: where it is written badly the home is valued all the same.
    priced = tuple(column for column in found.present if column.role != "target")
    return replace(found, present=priced, absent=tuple(column for column in spec.columns if column not in priced))


def _separated(spec: DatasetSpec, head: bytes, file: InputFile) -> CsvFormat:
    """How a text file is written: as the spec says, or with the separator by which its header fits the spec."""
    try:
        match_header(spec, header_of(head, spec.csv, file.address), file.address, target_needed=False)
    except DataError:
        for separator in _SEPARATORS:
            other = replace(spec.csv, separator=separator)
            try:
                match_header(spec, header_of(head, other, file.address), file.address, target_needed=False)
            except DataError:
                continue
            # Where fields are separated by semicolons it is because numbers are written with a comma.
            return replace(other, decimal_comma=separator == ";" or spec.csv.decimal_comma)
    return spec.csv


def _reads(layout: FileLayout, spec: DatasetSpec) -> str | None:
    if layout.csv is None or layout.csv.separator == spec.csv.separator:
        return None
    return f"fields are separated by {layout.csv.separator!r}, and not by {spec.csv.separator!r} as the spec says"


def _check_types(layout: FileLayout, schema: pa.Schema, file: InputFile) -> None:
    for column in layout.match.present:
        kind = schema.field(column.header).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise DataError(
                f"the column {column.header!r} of {file.address} holds {kind}, not single values",
                hint="write single values, or take it out of the spec",
            )


def _unified(one: pa.Schema, other: pa.Schema, file: InputFile, first: dict[str, str]) -> pa.Schema:
    try:
        return pa.unify_schemas([one, other], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        for field in other:
            if field.name in one.names:
                _check_unifies(one.field(field.name), field, file, first)
        raise


def _check_unifies(one: pa.Field[Any], other: pa.Field[Any], file: InputFile, first: dict[str, str]) -> None:
    try:
        pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise DataError(
            f"the column {one.name!r} is {other.type} in {file.address} and {one.type} in {first[one.name]}",
            hint="write it with one type in all files, or value the files one by one",
        ) from None


def _apart(names: Sequence[str]) -> dict[str, str]:
    """New names for the input's columns that are called like an added one, which no other column has."""
    renamed: dict[str, str] = {}
    taken = {*names, *ADDED.names}
    for name in names:
        if name in ADDED.names:
            other = f"{name} (column)"
            while other in taken:
                other += " (column)"
            taken.add(other)
            renamed[name] = other
    return renamed


@contextmanager
def parquet_errors(address: str) -> Iterator[None]:
    """Turns what Arrow says of a damaged file into a DataError."""
    try:
        yield
    except (pa.ArrowException, OSError, io.UnsupportedOperation) as error:
        cause = str(error).strip().splitlines()[0]
        raise DataError(
            f"{address} is not a whole Parquet file: {cause}", hint="write or copy the file again"
        ) from error
