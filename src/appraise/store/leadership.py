"""Who loads a spool, and what it last said of itself: a lock and a file in the spool's folder."""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from appraise.logs import get_logger

_log = get_logger(__name__)

_STATUS = "loader.json"


class LoaderStatus(msgspec.Struct, frozen=True):
    """What the loader last said of itself.

    Attributes:
        at: when, seconds since 1970.
        pid: its process.
        loaded: records that it has brought into the database since it began.
        trouble: why it cannot go on, None where it can.
        bytes: how far each segment is in the database, by its id.
    """

    at: float
    pid: int
    loaded: int
    trouble: str | None = None
    bytes: dict[str, int] = {}


def write_status(folder: Path, status: LoaderStatus) -> None:
    """Leave word for other processes."""
    temporary = folder / f".loader-{uuid.uuid4().hex}"
    try:
        temporary.write_bytes(msgspec.json.encode(status))
        temporary.replace(folder / _STATUS)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        _log.debug("the loader's status cannot be written", reason=error.strerror or str(error))


def read_status(folder: Path) -> LoaderStatus | None:
    """What the loader of a spool last said; None where there was none."""
    try:
        return msgspec.json.decode((folder / _STATUS).read_bytes(), type=LoaderStatus)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


@contextmanager
def leadership(folder: Path, stop: threading.Event) -> Iterator[bool]:
    """Wait until no other process loads this spool; False where it was told to stop before."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "loader.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if stop.wait(1.0):
                    yield False
                    return
            else:
                yield True
                return
    finally:
        os.close(descriptor)


def is_loading(folder: Path) -> bool:
    """Whether a process loads this spool."""
    try:
        descriptor = os.open(folder / "loader.lock", os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
