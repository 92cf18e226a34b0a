"""Shards: which rows of which files are valued together. The same files give the same shards, whoever does the work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pyarrow import parquet

from appraise.datasets.csvblocks import csv_blocks
from appraise.errors import DataError
from appraise.serving.batch.inputs import InputFile
from appraise.serving.batch.layout import Layout, parquet_errors

#: Rows that are read and valued at a time, and the least that a shard is made of.
UNIT_ROWS = 16_384
_MOST_UNITS = 8
#: Shards that a run is cut into where it is small, so that several processes have work.
_SHARDS = 16
#: Bytes of text that are read at a time, whatever its rows are.
_UNIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one file that follow each other.

    Attributes:
        file: the file's position among the inputs.
        start: the byte that text begins at, or the row group.
        size: bytes of text; 0 for Parquet.
        skip: rows of the row group that come before; 0 for text.
        rows: how many.
    """

    file: int
    start: int
    size: int
    skip: int
    rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """What is read, valued and written as one: a part of the output."""

    index: int
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """How many."""
        return sum(piece.rows for piece in self.pieces)


def plan_shards(files: Sequence[InputFile], layout: Layout, *, endpoint: str | None) -> tuple[Shard, ...]:
    """The shards of a run, in the order of its rows.

    Raises:
        DataError: a file is damaged, or there is no row.
        DownloadError: the S3 service cannot be reached, or refuses.
    """
    pieces = [piece for place, file in enumerate(files) for piece in _pieces(place, file, layout, endpoint)]
    total = sum(piece.rows for piece in pieces)
    if total == 0:
        raise DataError(
            f"there are no rows in {files[0].address}" + (f" and {len(files) - 1} more files" if files[1:] else ""),
            hint="give files with one row for each home",
        )
    packed = _packed(pieces, _units(total) * UNIT_ROWS)
    return tuple(Shard(index, tuple(some)) for index, some in enumerate(packed))


def _units(rows: int) -> int:
    """Units of one shard: a power of two as most row groups are, for what lies before a cut in one is read twice."""
    enough = max(1, rows // (_SHARDS * UNIT_ROWS))
    return min(_MOST_UNITS, 1 << (enough - 1).bit_length())


def _pieces(place: int, file: InputFile, layout: Layout, endpoint: str | None) -> Iterator[Piece]:
    csv = layout.files[place].csv
    if csv is not None:
        with file.open(endpoint=endpoint) as stream:
            for block in csv_blocks(stream, csv, rows=UNIT_ROWS, size=_UNIT_BYTES, label=file.address):
                yield Piece(place, block.offset, block.size, 0, block.rows)
        return
    with file.open(endpoint=endpoint) as stream, parquet_errors(file.address):
        metadata = parquet.ParquetFile(stream).metadata
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    for group, rows in enumerate(groups):
        for skip in range(0, rows, UNIT_ROWS):
            yield Piece(place, group, 0, skip, min(UNIT_ROWS, rows - skip))


def _packed(pieces: Iterable[Piece], most: int) -> Iterator[list[Piece]]:
    """Pieces side by side as long as they have no more rows than `most`; those that touch are one."""
    shard: list[Piece] = []
    rows = 0
    for piece in pieces:
        if shard and rows + piece.rows > most:
            yield shard
            shard, rows = [], 0
        rows += piece.rows
        last = shard[-1] if shard else None
        if last is not None and (last.file, last.start, last.skip + last.rows) == (piece.file, piece.start, piece.skip):
            shard[-1] = Piece(last.file, last.start, 0, last.skip, last.rows + piece.rows)
        else:
            shard.append(piece)
    if shard:
        yield shard
