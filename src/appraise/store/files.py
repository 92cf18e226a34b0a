"""Files that one process holds, writes to the end of, and has the disk confirm."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

#: Bytes of one write. For more the kernel takes large stretches of memory, which are more likely to be new to a virtual
#: machine: 400 KB took five times as long at once as in pieces.
_PIECE = 64 * 1024


def locked_file(path: Path, flags: int) -> int:
    """An open file that this process alone has locked.

    Raises:
        BlockingIOError: another process has it.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def append(descriptor: int, data: bytes | bytearray) -> None:
    """Write all of it to the end of a file that was opened for that.

    Raises:
        OSError: some of it may have been written.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view[:_PIECE]) :]


def confirm(descriptor: int) -> None:
    """Have what was written to a file survive a power cut."""
    # macOS has no fdatasync.
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(path: Path) -> None:
    """Have the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def writer_lives(path: Path) -> bool:
    """Whether the process that writes a segment is there."""
    try:
        os.close(locked_file(path, os.O_RDONLY))
    except BlockingIOError:
        return True
    return False
