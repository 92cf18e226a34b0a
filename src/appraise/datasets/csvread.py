"""Reading delimited text: the cells of a file as text, strictly, and the typed values that those cells stand for.

The reader is Arrow's: it refuses a row that has too many or too few fields, where others fill up and cut off.
"""

from __future__ import annotations

import csv as stdlib_csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from appraise.datasets.cells import parse_column
from appraise.datasets.parquetread import PARQUET_SUFFIXES
from appraise.datasets.spec import CsvFormat
from appraise.errors import DataError

__all__ = ["is_utf8", "line_numbers", "parse_column", "read_header", "read_text_columns"]

_MAGIC = {
    b"PAR1": ("a Parquet file", "give the file the ending .parquet"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "save the sheet as CSV, or unpack the archive"),
    b"\x1f\x8b": ("a gzip archive", "unpack it with gunzip"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV"),
    b"%PDF": ("a PDF document", "ask for the table as CSV"),
}


def read_header(path: Path, csv: CsvFormat) -> tuple[str, ...]:
    """The column names of a file, stripped of white space; a blank name becomes `column_N`, N counted from 1.

    Raises:
        DataError: the file cannot be read, is empty or binary, or two columns have one name.
    """
    check_is_text(path, csv.encoding)
    with _records(path, csv) as records:
        first = next((record for record in records if record), None)
    return _names(first, str(path))


def header_of(head: bytes, csv: CsvFormat, label: str) -> tuple[str, ...]:
    """As `read_header`, from the first bytes of a file that is called `label`."""
    check_is_text_head(head, label, csv.encoding)
    encoding = "utf-8-sig" if is_utf8(csv.encoding) else csv.encoding
    try:
        text = io.StringIO(head.decode(encoding, errors="ignore"), newline="")
        reader = stdlib_csv.reader(text, delimiter=csv.separator, quotechar=csv.quote, strict=True)
        first = next((record for record in reader if record), None)
    except LookupError:
        raise _unknown_encoding(csv.encoding) from None
    except stdlib_csv.Error as error:
        raise DataError(f"{label}: the quoting of the header is broken: {error}", hint="close the quote") from None
    return _names(first, label)


def _names(first: list[str] | None, path: str) -> tuple[str, ...]:
    if first is None:
        raise DataError(f"{path} is empty", hint="give a file with a line of column names and one line for each sale")
    names = tuple(name.strip() or f"column_{position}" for position, name in enumerate(first, start=1))
    for position, name in enumerate(names):
        if name in names[:position]:
            raise DataError(
                f"{path} has two columns named {name!r}: number {names.index(name) + 1} and number {position + 1}",
                hint="rename one of them in the file's first line",
            )
    return names


def read_text_columns(path: Path, csv: CsvFormat, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The cells of a file as text, stripped of white space; null where a cell is empty or stands for "no value".

    Blank lines are passed over.

    Args:
        path: the file.
        csv: how it is written.
        columns: the headers to keep, in that order; None keeps all. Every row is checked whole all the same.

    Returns:
        a frame of String columns under the names of `read_header`.

    Raises:
        DataError: the file cannot be read, has no rows, a row of another length than the header (with its line),
            a quote that is never closed, or text in another encoding; or lacks one of `columns`.
    """
    names = read_header(path, csv)
    wanted = list(names if columns is None else columns)
    absent = [name for name in wanted if name not in names]
    if absent:
        raise DataError(
            f"{path} has no column {', '.join(map(repr, absent))}",
            hint=f"its columns are {', '.join(names)}",
        )
    frame = _read_strict(path, csv, names, wanted)
    if frame.height == 0:
        raise DataError(f"{path} has a header and no rows", hint="give a file with one line for each sale")
    return without_missing(frame, csv)


def without_missing(cells: pl.DataFrame, csv: CsvFormat) -> pl.DataFrame:
    """Cells of text stripped of white space, null where one is empty or stands for "no value"."""
    missing = ["", *csv.missing]
    text = cells.with_columns(pl.all().str.strip_chars())
    return text.with_columns(pl.when(pl.all().is_in(missing)).then(None).otherwise(pl.all()).name.keep())


def line_numbers(path: Path, csv: CsvFormat, rows: int) -> NDArray[np.int64]:
    """The line, counted from 1, on which each row of `read_text_columns` starts; shape (rows,)."""
    with _opened(path, csv.encoding) as file:
        filled = [number for number, line in enumerate(file, start=1) if line.strip("\r\n")]
    if len(filled) == rows + 1:
        return np.asarray(filled[1:], dtype=np.int64)
    with _records(path, csv) as records:
        starts = [records.line for record in records if record]
    return np.asarray(starts[1 : rows + 1], dtype=np.int64)


def check_is_text(path: Path, encoding: str | None = None) -> bytes:
    """The first 64 KiB of a file that is there, is a file, and is text; raises DataError otherwise."""
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", hint="check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a CSV file", hint="give the path of one file") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the file and its rights") from error
    check_is_text_head(head, str(path), encoding)
    return head


def check_is_text_head(head: bytes, path: str, encoding: str | None = None) -> None:
    """Raises DataError where the first bytes of a file are not those of text."""
    for magic, (kind, hint) in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {kind}, not CSV text", hint=hint)
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or re.match(r"(?i)utf[-_]?(16|32)", encoding or "") is not None
    if b"\0" in head and not wide:
        if path.lower().endswith(PARQUET_SUFFIXES):
            raise DataError(f"{path} is not a Parquet file, nor text", hint="write it again, or copy it whole")
        raise DataError(f"{path} is not text: it holds zero bytes", hint="export the table as CSV text in UTF-8")


class _Records:
    """Records of a file through the standard library's strict reader; `line` is where the last one starts."""

    def __init__(self, file: IO[str], csv: CsvFormat) -> None:
        self._reader = stdlib_csv.reader(file, delimiter=csv.separator, quotechar=csv.quote, strict=True)
        self.line = 1

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        self.line = self._reader.line_num + 1
        return next(self._reader)


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[IO[str]]:
    """The file as text, a byte-order mark passed over; what goes wrong while reading becomes a DataError."""
    try:
        with path.open(encoding="utf-8-sig" if is_utf8(encoding) else encoding, newline="") as file:
            yield file
    except LookupError:
        raise _unknown_encoding(encoding) from None
    except UnicodeError:
        raise _wrong_encoding(path, encoding) from None


def _unknown_encoding(encoding: str) -> DataError:
    return DataError(
        f"{encoding!r} is not a text encoding", hint="use utf-8, utf-16, cp1252 or another of Python's encodings"
    )


@contextmanager
def _records(path: Path, csv: CsvFormat) -> Iterator[_Records]:
    with _opened(path, csv.encoding) as file:
        records = _Records(file, csv)
        try:
            yield records
        except stdlib_csv.Error as error:
            raise DataError(
                f"{path}:{records.line}: the quoting is broken: {error}",
                hint=f"close the quote, and write a {csv.quote} within a quoted field twice",
            ) from None


def _read_strict(path: Path, csv: CsvFormat, names: Sequence[str], wanted: list[str]) -> pl.DataFrame:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    try:
        table = arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                column_names=list(names),
                skip_rows_after_names=1,
                encoding="utf8" if is_utf8(csv.encoding) else csv.encoding,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=csv.separator, quote_char=csv.quote, newlines_in_values=True
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False, include_columns=wanted
            ),
        )
    except UnicodeError:
        raise _wrong_encoding(path, csv.encoding) from None
    except pa.ArrowInvalid as error:
        raise _explained(path, csv, len(names), str(error)) from None
    frame = pl.DataFrame(table)
    if frame.height and any("\n" in (value or "") for value in frame.row(-1)):
        _check_quotes_close(path, csv)
    return frame


def _check_quotes_close(path: Path, csv: CsvFormat) -> None:
    """A quote that is never closed swallows the rest of the file; Arrow takes that for a long cell."""
    with _records(path, csv) as records:
        for _ in records:
            pass


def _explained(path: Path, csv: CsvFormat, fields: int, cause: str) -> DataError:
    """What Arrow refused, with the line at fault, which Arrow does not know."""
    try:
        with _records(path, csv) as records:
            for record in records:
                if record and len(record) != fields:
                    return DataError(
                        f"{path}:{records.line}: the row has {_count(len(record))} where the header has {fields}",
                        hint="correct the row; a field that holds a separator must be quoted",
                    )
    except DataError as error:
        return error
    return DataError(f"{path} cannot be read as CSV: {cause}", hint="check the separator and the quoting")


def _count(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"


def _wrong_encoding(path: Path, encoding: str) -> DataError:
    data = path.read_bytes()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return DataError(
            f"{path}:{line}: the text is not {encoding} (byte 0x{data[error.start]:02X})",
            hint='save the file as UTF-8, or name its encoding in the spec: [csv] encoding = "cp1252"',
        )
    return DataError(f"{path} cannot be read as {encoding}", hint="save the file as UTF-8")


def is_utf8(encoding: str) -> bool:
    """Whether it is UTF-8 under one of its names, with or without a byte-order mark."""
    return encoding.lower().replace("_", "-") in {"utf-8", "utf8", "utf-8-sig"}
