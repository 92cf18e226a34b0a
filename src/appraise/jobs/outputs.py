"""Files that are whole or absent: results are written beside their place and renamed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

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


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV, Parquet or JSON lines, by the file's suffix; what was there stays until it is complete.

    Raises:
        OutputError: another suffix, or a place that cannot be written.
    """
    check_table_path(path)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        match path.suffix.lower():
            case ".csv":
                frame.write_csv(stream)
            case ".parquet":
                frame.write_parquet(stream)
            case _:
                frame.write_ndjson(stream)


def write_text(text: str, path: Path) -> None:
    """Write a text file as UTF-8; what was there stays until it is complete. Raises OutputError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, renamed over it when the block ends, removed when it fails.

    Devices and pipes (`/dev/stdout`) are written as they are. Missing folders are made.

    Raises:
        OutputError: where anything in the block cannot be written.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="make room on the disk, or choose a place that may be written",
        ) from error
