"""Reading Parquet files: only the columns that are asked for, and what they will take, known beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from appraise.errors import DataError

MAGIC = b"PAR1"
#: What files of it are called.
PARQUET_SUFFIXES = (".parquet", ".pq")
#: Bytes a value takes in memory while a table is read and typed, as measured (`docs/decisions/0003-memory.md`).
_NUMBER_COST = 40
_TEXT_COST = 96


def is_parquet(path: Path) -> bool:
    """Whether the file is Parquet, by its first bytes and not by its name."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the file and its rights") from error


def parquet_header(path: Path) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        DataError: the file is damaged, or two columns have one name.
    """
    from pyarrow import parquet

    with _explained(path):
        names = tuple(parquet.read_schema(path).names)
    for position, name in enumerate(names):
        if name in names[:position]:
            raise DataError(f"{path} has two columns named {name!r}", hint="rename one of them")
    return names


def parquet_cost(path: Path, columns: Sequence[str]) -> int:
    """Bytes that reading these columns takes at its peak, from the file's own account of itself."""
    import pyarrow as pa
    from pyarrow import parquet

    with _explained(path), parquet.ParquetFile(path) as file:
        rows = file.metadata.num_rows
        schema = file.schema_arrow
    fixed = [pa.types.is_primitive(schema.field(name).type) for name in columns]
    return int(rows * sum(_NUMBER_COST if each else _TEXT_COST for each in fixed))


def read_parquet_columns(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """These columns, in that order.

    Raises:
        DataError: the file is damaged, has no rows, or holds lists or records in a column.
    """
    from pyarrow import parquet

    with _explained(path):
        frame = pl.DataFrame(parquet.ParquetFile(path).read(columns=list(columns)))
    if frame.height == 0:
        raise DataError(f"{path} has no rows", hint="give a file with one row for each sale")
    for name, dtype in frame.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise DataError(
                f"the column {name!r} of {path} holds {dtype}, not single values", hint="take it out of the spec"
            )
    return frame.select(columns)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        cause = str(error).strip().splitlines()[0]
        raise DataError(f"{path} is not a whole Parquet file: {cause}", hint="write or copy the file again") from error
