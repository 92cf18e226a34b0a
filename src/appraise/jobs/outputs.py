"""Files that are whole or absent: results are written beside their place and renamed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl

from appraise.datasets.atomic import replacing
from appraise.errors import OutputError

TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")


def check_table_path(path: Path) -> None:
    """Refuse a table file of a type that `write_table` does not write, before any work is done for it.

    Raises:
        OutputError: naming the types that there are.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise OutputError(
            f"{path} is not a file type that a table can be written as", hint=f"use one of {', '.join(TABLE_SUFFIXES)}"
        )


def check_apart(inputs: Iterable[str], address: str, output: Path) -> None:
    """Refuse to write into what is read: a file of the input, by whatever name, or one beside those of its folder.

    Args:
        inputs: the paths of the input's files.
        address: the input as it was given.
        output: the file that is to be written.

    Raises:
        OutputError: naming it.
    """
    hint = "choose another file with --output"
    if output.exists() and any(Path(path).exists() and output.samefile(path) for path in inputs):
        raise OutputError(f"{output} is what is read; it would be overwritten", hint=hint)
    if Path(address).expanduser().resolve() == output.resolve().parent:
        raise OutputError(f"{output} lies in the folder that is read: the next run would read it too", hint=hint)


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV, Parquet or JSON lines, by the file's suffix; what was there stays until it is complete.

    Raises:
        OutputError: another suffix, or a place that cannot be written.
    """
    check_table_path(path)
    with placed(path) as temporary, temporary.open("wb") as stream:
        try:
            _write(frame, stream, path.suffix.lower())
        except pl.exceptions.ComputeError as error:
            # What Polars makes of a full disk where it writes Parquet.
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _write(frame: pl.DataFrame, stream: IO[bytes], suffix: str) -> None:
    match suffix:
        case ".csv":
            frame.write_csv(stream)
        case ".parquet":
            frame.write_parquet(stream)
        case _:
            frame.write_ndjson(stream)


def write_text(text: str, path: Path) -> None:
    """Write a text file as UTF-8; what was there stays until it is complete. Raises OutputError."""
    with placed(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Where to write what shall be at `path`: beside it, but devices and pipes (`/dev/stdout`) take what comes."""
    if not path.exists() or path.is_file():
        with replacing(path) as temporary:
            yield temporary
        return
    try:
        yield path
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}", hint="choose a file that may be written"
        ) from error
