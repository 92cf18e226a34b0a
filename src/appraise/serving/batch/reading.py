"""The rows of a shard, a unit at a time, so that memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from appraise.datasets.csvblocks import BrokenRow, parse_block
from appraise.datasets.csvread import without_missing
from appraise.errors import DataError
from appraise.serving.batch.inputs import InputFile
from appraise.serving.batch.layout import FileLayout, Layout, parquet_errors
from appraise.serving.batch.planning import UNIT_ROWS, Piece, Shard

_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Unit:
    """Some rows as they came.

    Attributes:
        layout: of the file that they are of.
        table: the rows that could be told apart into columns, stripped, and null where there is no value.
        came: the same rows, cell by cell as they came.
        broken: the others, by their places among all of them.
    """

    layout: FileLayout
    table: pa.Table
    came: pa.Table
    broken: tuple[BrokenRow, ...] = ()


def read_shard(shard: Shard, files: tuple[InputFile, ...], layout: Layout, *, endpoint: str | None) -> Iterator[Unit]:
    """The rows of a shard, in order.

    Raises:
        DataError: a file is damaged, or is not what it was when the run began.
        DownloadError: the S3 service cannot be reached, or refuses.
    """
    with ExitStack() as opened:
        streams: dict[int, BinaryIO] = {}
        for piece in shard.pieces:
            if piece.file not in streams:
                streams[piece.file] = opened.enter_context(files[piece.file].open(endpoint=endpoint))
            stream, address = streams[piece.file], files[piece.file].address
            if layout.files[piece.file].csv is None:
                yield from _parquet(piece, stream, address, layout.files[piece.file])
            else:
                yield _text(piece, stream, address, layout.files[piece.file])


def _parquet(piece: Piece, stream: BinaryIO, address: str, layout: FileLayout) -> Iterator[Unit]:
    skip, left = piece.skip, piece.rows
    with parquet_errors(address):
        # Buffered, so that of a large row group only what is being read is in memory.
        file = parquet.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
        batches = file.iter_batches(UNIT_ROWS, row_groups=[piece.start], use_threads=False)
        for batch in batches:
            wanted = batch.slice(skip, left)
            skip = max(0, skip - batch.num_rows)
            left -= wanted.num_rows
            if wanted.num_rows:
                rows = pa.Table.from_batches([wanted])
                yield Unit(layout, rows, rows)
            if not left:
                return
    raise DataError(f"{address} has fewer rows than it says", hint="write or copy the file again")


def _text(piece: Piece, stream: BinaryIO, address: str, layout: FileLayout) -> Unit:
    assert layout.csv is not None  # noqa: S101  it is text
    stream.seek(piece.start)
    data = stream.read(piece.size)
    table, broken = parse_block(data, layout.csv, layout.names, address)
    if table.num_rows + len(broken) != piece.rows:
        found = table.num_rows + len(broken)
        raise DataError(
            f"{address} has {found:,} rows from byte {piece.start:,}, where {piece.rows:,} were counted",
            hint="check the quoting of its fields",
        )
    cells = pl.DataFrame(table)
    text = without_missing(cells, layout.csv)
    # An empty text would be written in quotes.
    came = cells.with_columns(pl.when(pl.all() != "").then(pl.all()).name.keep())
    return Unit(layout, text.to_arrow(), came.to_arrow(), tuple(broken))
