"""Delimited text in blocks: where records end, so that a file of any size is read in parts of known rows.

Records are told apart by the rules of Arrow's reader: a quote counts at the beginning of a field alone, lines end in
a line feed, a carriage return or both, and empty lines are no records.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from numba import njit

from appraise.datasets.csvread import is_utf8
from appraise.datasets.spec import CsvFormat
from appraise.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 8 << 20
_FIELD_START, _PLAIN, _QUOTED, _QUOTE_IN_QUOTED = 0, 1, 2, 3
_NEWLINE, _RETURN = 10, 13
_BOM = codecs.BOM_UTF8


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records of a file: `size` bytes from `offset`, in which there are `rows` of them."""

    offset: int
    size: int
    rows: int


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A record with too many or too few fields: its place among the block's records, and what is wrong."""

    row: int
    reason: str


def csv_blocks(stream: BinaryIO, csv: CsvFormat, *, rows: int, size: int, label: str) -> Iterator[Block]:
    """The blocks of a file after its header.

    Args:
        stream: the file, at its beginning.
        csv: how it is written.
        rows: records of a block.
        size: bytes after which a block ends before it has so many.
        label: the file's name, for errors.

    Raises:
        DataError: a quote that is never closed, or text in another encoding.
    """
    if csv.encoding.lower().replace("-", "").replace("_", "").startswith(("utf16", "utf32")):
        raise DataError(f"{label} is {csv.encoding} text, which cannot be read in parts", hint="save the file as UTF-8")
    decoder = codecs.getincrementaldecoder("utf-8")() if is_utf8(csv.encoding) else None
    scanner = _Scanner(csv, rows, size)
    position = 0
    while chunk := stream.read(_CHUNK):
        if decoder is not None:
            _check_encoding(decoder, chunk, position, csv, label)
        yield from scanner.feed(chunk, position)
        position += len(chunk)
    yield from scanner.finish(position, label)


class _Scanner:
    """Cuts at ends of records; the first record, the header, is no part of a block."""

    def __init__(self, csv: CsvFormat, rows: int, size: int) -> None:
        self._marks = (ord(csv.separator), ord(csv.quote))
        self._rows, self._size = rows, size
        # State, whether the line has something in it, records of the block, whether the header is behind.
        self._state = np.array([_FIELD_START, 0, 0, 0], np.int64)
        self._start = 0

    def feed(self, chunk: bytes, position: int) -> Iterator[Block]:
        skipped = len(_BOM) if position == 0 and chunk.startswith(_BOM) else 0
        buffer = np.frombuffer(chunk, np.uint8)
        at = skipped
        while at < len(buffer):
            at, rows = _next_cut(buffer, at, self._state, *self._marks, self._rows, self._start + self._size - position)
            if rows < 0:
                return
            end = position + at
            if rows > 0:
                yield Block(self._start, end - self._start, rows)
            self._start = end

    def finish(self, position: int, label: str) -> Iterator[Block]:
        if self._state[0] == _QUOTED:
            raise DataError(f"{label}: a quote is opened and never closed", hint="close the quote, or double it")
        rows = int(self._state[2]) + int(self._state[1])
        if self._state[3] and rows:
            yield Block(self._start, position - self._start, rows)


@njit(cache=True, nogil=True)
def _next_cut(buffer, at, state, separator, quote, most_rows, most_bytes):  # type: ignore[no-untyped-def]
    """The position after the record that ends a block, and its records; (length, -1) where the chunk ends before.

    The header is a block without records.
    """
    field, filled, rows, begun = state[0], state[1], state[2], state[3]
    for i in range(at, buffer.shape[0]):
        byte = buffer[i]
        if field == _QUOTED:
            if byte == quote:
                field = _QUOTE_IN_QUOTED
            continue
        if field == _QUOTE_IN_QUOTED and byte == quote:
            field = _QUOTED
            continue
        if byte in (_NEWLINE, _RETURN):
            field = _FIELD_START
            if not filled:
                continue
            filled = 0
            if not begun:
                state[0], state[1], state[2], state[3] = field, 0, 0, 1
                return i + 1, 0
            rows += 1
            if rows >= most_rows or i + 1 >= most_bytes:
                state[0], state[1], state[2] = field, 0, 0
                return i + 1, rows
            continue
        filled = 1
        if byte == separator:
            field = _FIELD_START
        elif byte == quote and field == _FIELD_START:
            field = _QUOTED
        else:
            field = _PLAIN
    state[0], state[1], state[2] = field, filled, rows
    return buffer.shape[0], -1


def parse_block(data: bytes, csv: CsvFormat, names: Sequence[str], label: str) -> tuple[pa.Table, list[BrokenRow]]:
    """The records of a block as text.

    Args:
        data: the block's bytes.
        csv: how it is written.
        names: the header.
        label: the file's name, for errors.

    Returns:
        a table of string columns with the rows that have as many fields as the header, and the others.

    Raises:
        DataError: text in another encoding.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    broken: list[BrokenRow] = []

    def note(row: arrow_csv.InvalidRow) -> Literal["skip"]:
        text = row.text if len(row.text) <= 80 else f"{row.text[:79]}…"
        fields = "1 field" if row.actual_columns == 1 else f"{row.actual_columns} fields"
        reason = f"the row has {fields} where the header has {row.expected_columns}: {text}"
        broken.append(BrokenRow((row.number or 1) - 1, reason))
        return "skip"

    try:
        table = arrow_csv.read_csv(
            io.BytesIO(data),
            read_options=arrow_csv.ReadOptions(
                column_names=list(names),
                encoding="utf8" if is_utf8(csv.encoding) else csv.encoding,
                use_threads=False,
                # One block, for a record must not straddle two. Text of other encodings grows as it becomes UTF-8.
                block_size=max(1, 4 * len(data)),
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=csv.separator,
                quote_char=csv.quote,
                newlines_in_values=True,
                invalid_row_handler=note,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise DataError(
            f"{label} cannot be read as CSV in {csv.encoding}: {error}", hint="check the encoding and the quoting"
        ) from error
    return table, broken


def _check_encoding(
    decoder: codecs.IncrementalDecoder, chunk: bytes, position: int, csv: CsvFormat, label: str
) -> None:
    try:
        decoder.decode(chunk)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{label}: the text is not {csv.encoding} (near byte {position + error.start:,})",
            hint='save the file as UTF-8, or name its encoding in the spec: [csv] encoding = "cp1252"',
        ) from None
