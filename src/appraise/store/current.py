"""The segment that a process writes, and when another takes its place."""

from __future__ import annotations

import threading
import time

from appraise.logs import get_logger
from appraise.store.chain import Link
from appraise.store.segments import SegmentWriter, SpoolFolder

_log = get_logger(__name__)


class CurrentSegment:
    """One segment at a time. `sync` may be called by another thread than the rest.

    Args:
        folder: the spool.
        most_bytes, most_seconds: a segment is due to be closed when it is as large or as old.
    """

    def __init__(self, folder: SpoolFolder, *, most_bytes: int, most_seconds: float) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_seconds = most_seconds
        self._writer: SegmentWriter | None = None
        self._opened = 0.0
        self._suspect = False
        self._unconfirmed: OSError | None = None
        # Held while the disk confirms, and while one segment gives way to the next.
        self._lock = threading.Lock()

    def open(self) -> bool:
        """Have a segment; says whether it is a new one.

        Raises:
            LogError: the folder cannot be used.
        """
        if self._writer is not None:
            return False
        self._writer = self._folder.open_segment()
        self._opened = time.monotonic()
        self._suspect = False
        return True

    @property
    def end(self) -> tuple[Link, int]:
        """The end of the chain of the segment that is open, and the bytes that it has room for."""
        assert self._writer is not None  # noqa: S101  whoever asks has opened it
        return self._writer.link, self._most_bytes - self._writer.size

    def write(self, frames: bytes | bytearray, link: Link) -> None:
        """Write frames that follow the segment's end; `link` is its end with them.

        Raises:
            OSError: nothing was written.
        """
        assert self._writer is not None  # noqa: S101  what was framed follows it
        self._writer.write(frames, link)

    def sync(self) -> None:
        """Have what was written survive a power cut.

        Raises:
            OSError: it may not, in the segment in hand or in the one before, which was closed meanwhile. The one in
                hand is due to be closed, for what a second attempt says of the same pages is worth nothing.
        """
        with self._lock:
            error, self._unconfirmed = self._unconfirmed, None
            if error is not None:
                raise error
            if self._writer is not None:
                try:
                    self._writer.sync()
                except OSError:
                    self._suspect = True
                    raise

    def is_due(self) -> bool:
        """Whether another one should take its place."""
        writer = self._writer
        if writer is None or writer.link.position <= 1:
            return False
        old = time.monotonic() - self._opened >= self._most_seconds
        return old or self._suspect or writer.size >= self._most_bytes

    def give_up(self) -> None:
        """Seal the segment; `open` begins a new one."""
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is None:
                return
            try:
                # Not left to the seal, which may find no room.
                writer.sync()
            except OSError as error:
                self._unconfirmed = error
            try:
                writer.close()
            except OSError as error:
                # Whoever loads it finds that nobody holds it, and seals it then.
                _log.warning("a segment of the prediction log is left open", reason=error.strerror or str(error))
