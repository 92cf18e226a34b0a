"""Whether a registry may have changed since it was last asked, told without asking it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from appraise.registry.mlflow_client import sqlite_file

#: SQLite counts the transactions that changed a database in bytes 24 to 27 of its file.
#: Source: https://www.sqlite.org/fileformat2.html#file_change_counter
_COUNTER = slice(24, 28)
#: Bytes. Hashing more takes longer than a server should wait for it.
_LARGEST = 256 * 2**20


class Stamp(NamedTuple):
    """What differs between two states of a SQLite database.

    Attributes:
        file: device, inode, size and time of change, nanoseconds, of the database.
        counter: its change counter, which tells apart two changes within one tick of the file system's clock.
        log: the same as `file` of its write-ahead log, where changes are before they are in the database; None without.
    """

    file: tuple[int, int, int, int]
    counter: bytes
    log: tuple[int, int, int, int] | None


def stamp_of(tracking_uri: str) -> Stamp | None:
    """The state of a registry that is a SQLite file: while it stays the same, so does what the registry answers.

    Returns:
        None where the registry is something else, which must be asked, or its file cannot be read.
    """
    file = sqlite_file(tracking_uri)
    if file is None:
        return None
    try:
        with file.open("rb") as stream:
            counter = stream.read(_COUNTER.stop)[_COUNTER]
        return Stamp(_state(file), counter, _log_state(Path(f"{file}-wal")))
    except OSError:
        return None


def content_of(tracking_uri: str) -> str | None:
    """A hash of a registry that is a SQLite file: two files of the same one answer the same, wherever they lie.

    Returns:
        None where the registry is something else or is too large to be hashed in a moment, and where its file cannot
        be read or is being changed.
    """
    file = sqlite_file(tracking_uri)
    if file is None:
        return None
    try:
        if file.stat().st_size > _LARGEST or any(_holds_changes(Path(f"{file}-{log}")) for log in ("wal", "journal")):
            return None
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _holds_changes(log: Path) -> bool:
    return log.exists() and log.stat().st_size > 0


def _state(file: Path) -> tuple[int, int, int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _log_state(file: Path) -> tuple[int, int, int, int] | None:
    try:
        return _state(file)
    except FileNotFoundError:
        return None
