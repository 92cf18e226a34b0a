"""`Loader`: brings the spool into the database, in the order in which it was written, each record once.

What is loaded and how far are written in one transaction, so that a loader that is killed, or whose database goes
away, begins again where it was. A record that the database has already, by its `prediction_id`, goes to `log_unlisted`,
and so does what is no record: neither holds up what follows.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from appraise.errors import StoreError, StoreUnavailableError
from appraise.logs import get_logger
from appraise.store.chain import ORIGIN, Damage, Frame, Link, scan
from appraise.store.database import Database
from appraise.store.faults import driver_errors
from appraise.store.headers import Header, Seal, seal_of
from appraise.store.insertion import insert
from appraise.store.leadership import LoaderStatus, leadership, read_status, write_status
from appraise.store.priority import Courtesy, stand_back
from appraise.store.segments import Segment, SpoolFolder

if TYPE_CHECKING:
    import psycopg

_log = get_logger(__name__)

#: Bytes that are read and loaded in one transaction.
_CHUNK, _SMALL_CHUNK = 4 * 2**20, 256 * 1024
#: For so long nothing may be loaded whole because the processor is busy; then every gap is used.
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0
#: After more records than so many the loader waits for so long, so that the next transaction is worth its while.
_FEW, _ROUND_SECONDS = 100, 1.0


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a segment is in the database."""

    bytes: int = 0
    link: Link = field(default_factory=Link)
    sealed: Seal | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """What was read of a segment.

    Attributes:
        header: its first frame, where this is its beginning and it is whole.
        records: the frames that are neither header nor seal.
        damaged: where the bytes lie that are no frame.
        progress: how far it is then.
    """

    header: Frame | None
    records: tuple[Frame, ...]
    damaged: tuple[tuple[int, int], ...]
    progress: _Progress


class Loader:
    """Loads one spool into one database; of several for one spool, one works and the others wait.

    Args:
        folder: the spool.
        database: where to.
        keep_days: how long a segment is kept when all of it is in the database.
        behind: do this only while nothing else wants the processor, in the database too where it is the embedded one.
            What it would start then would do the same for ever, so that `run` ends where that server does not run.
    """

    def __init__(self, folder: Path, database: Database, *, keep_days: float = 7.0, behind: bool = False) -> None:
        self._behind = behind
        self._folder = SpoolFolder(folder)
        self._database = database
        self._keep_seconds = keep_days * 86_400
        self._connection: psycopg.Connection[Any] | None = None
        self._progress: dict[str, _Progress] = {}
        self._chunk = _SMALL_CHUNK if behind else _CHUNK
        self._courtesy = Courtesy()
        self._caught_up = time.monotonic()
        self._stop = threading.Event()
        self._loaded = 0
        self._trouble: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Load until it is told to stop, and then once more what is left."""
        self._stop = stop
        if self._behind:
            stand_back()
        with leadership(self._folder.path, stop) as leads:
            pause = _PAUSE_SECONDS
            while leads:
                ends = stop.is_set()
                moved = 0
                try:
                    moved = self.load()
                    pause = _PAUSE_SECONDS
                except StoreError as error:
                    self._tell(error.message)
                    ends = ends or self._is_asleep()
                except OSError as error:
                    self._tell(f"the spool cannot be read: {error.strerror or error}")
                if ends:
                    break
                if self._trouble is not None:
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                stop.wait(_ROUND_SECONDS if moved > _FEW else pause)
        self.close()

    def load(self) -> int:
        """Load what there is.

        Returns:
            How many records it was.

        Raises:
            StoreError: the database is away or refuses; the next call begins where this one ended.
            OSError: the spool cannot be read.
        """
        before = self._loaded
        try:
            segments = self._folder.segments()
            for segment in segments:
                self._courtesy.begin()
                while self._load_some(segment):
                    self._rest()
        except BaseException:
            self.close()
            raise
        there = {segment.id for segment in segments}
        self._progress = {name: one for name, one in self._progress.items() if name in there}
        self._caught_up = time.monotonic()
        self._tell(None)
        return self._loaded - before

    def _rest(self) -> None:
        """Leave others the processor's caches for a while, where they are busy and what waits is not old."""
        seconds = self._courtesy.rest_seconds() if self._behind else 0.0
        if seconds and time.monotonic() - self._caught_up < _PATIENCE_SECONDS:
            self._tell(None)
            self._stop.wait(seconds)
        self._courtesy.begin()

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        self._progress.clear()
        if connection is not None:
            connection.close()

    def _load_some(self, segment: Segment) -> bool:
        """Load the next part of a segment; says whether more may follow at once."""
        with driver_errors(self._database.address):
            progress = self._progress.get(segment.id)
            if progress is None:
                progress = _remembered(self._opened(), segment.id)
            self._progress[segment.id] = progress
            if progress.sealed is not None:
                self._retire(segment, progress.sealed)
                return False
            part = self._read(segment, progress)
            if part is None:
                return self._close_abandoned(segment)
            self._write(segment, progress, part)
        self._progress[segment.id] = part.progress
        self._loaded += len(part.records)
        return part.progress.sealed is None

    def _close_abandoned(self, segment: Segment) -> bool:
        """Close a segment whose process has ended; says whether there is more to read of it."""
        try:
            return self._folder.recover(segment) and segment.path.exists()
        except OSError as error:
            # A full disk must not keep what is in the other segments from the database.
            _log.warning("a segment of the prediction log cannot be closed", reason=error.strerror or str(error))
            return False

    def _read(self, segment: Segment, progress: _Progress) -> _Part | None:
        """The next part of a segment; None where nothing whole follows."""
        length = self._chunk
        while True:
            with segment.path.open("rb") as stream:
                data = os.pread(stream.fileno(), length, progress.bytes)
            part = _part(data, progress)
            if part is not None:
                break
            if len(data) < length:
                return None
            # One record, or one stretch of damage, that is longer than that.
            length *= 4
        for start, end in part.damaged:
            kept = self._folder.quarantine(segment, start, end)
            _log.error("part of the prediction log is damaged and set aside", bytes=end - start, kept=str(kept))
        return part

    def _write(self, segment: Segment, progress: _Progress, part: _Part) -> None:
        connection = self._opened()
        after, seal = part.progress, part.progress.sealed
        with connection.transaction():
            if progress.bytes == 0:
                _begin(connection, segment, part.header)
            if part.records:
                insert(connection, segment.id, part.records)
            connection.execute(
                "UPDATE log_segments SET loaded_bytes = %s, frames = %s, last_hash = %s, sealed_frames = %s,"
                " sealed_hash = %s, damaged_bytes = damaged_bytes + %s, loaded_at = now() WHERE segment = %s",
                (
                    after.bytes,
                    after.link.position,
                    after.link.digest,
                    None if seal is None else seal.frames,
                    None if seal is None else bytes.fromhex(seal.hash),
                    sum(end - start for start, end in part.damaged),
                    segment.id,
                ),
            )

    def _retire(self, segment: Segment, seal: Seal) -> None:
        """Remove a segment that has been in the database for long enough."""
        if segment.path.exists() and time.time() - segment.path.stat().st_mtime >= self._keep_seconds:
            self._folder.remove(segment)
            _log.info(
                "a loaded segment of the prediction log is removed", segment=segment.path.name, frames=seal.frames
            )

    def _opened(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            if self._is_asleep():
                raise StoreUnavailableError("the embedded PostgreSQL does not run")
            self._connection = self._database.dedicated(autocommit=True)
            if self._behind and self._database.embedded:
                stand_back(self._connection.info.backend_pid)
        return self._connection

    def _is_asleep(self) -> bool:
        """Whether the embedded server has to be started by somebody who does not stand back."""
        return self._behind and not self._database.runs()

    def _tell(self, trouble: str | None) -> None:
        """Leave word of how it stands for other processes."""
        if trouble is not None and trouble != self._trouble:
            _log.warning("the prediction log is kept in its spool until it can be loaded", reason=trouble)
        if trouble is None and self._trouble is not None:
            _log.info("the prediction log is loaded again")
        self._trouble = trouble
        done = {segment: progress.bytes for segment, progress in self._progress.items()}
        if trouble is not None:
            status = read_status(self._folder.path)
            done = {} if status is None else status.bytes
        write_status(self._folder.path, LoaderStatus(time.time(), os.getpid(), self._loaded, trouble, done))


def _part(data: bytes, progress: _Progress) -> _Part | None:
    """What a piece of a segment holds; None where it is no whole frame."""
    header: Frame | None = None
    records: list[Frame] = []
    damaged: list[tuple[int, int]] = []
    link, end, sealed = progress.link, 0, None
    for piece in scan(data):
        if isinstance(piece, Damage):
            if piece.last:
                break
            damaged.append((progress.bytes + piece.offset, progress.bytes + piece.end))
            continue
        if (piece.position, piece.previous) != link:
            _log.error("the chain of the prediction log is broken: appraise log verify", position=piece.position)
        end = piece.end
        sealed = seal_of(piece)
        if sealed is not None:
            # The seal itself is not counted in what it says.
            link = Link(piece.position, piece.previous)
            break
        link = Link(piece.position + 1, piece.digest)
        if piece.position == 0:
            header = piece
        else:
            records.append(piece)
    if end == 0:
        return None
    return _Part(header, tuple(records), tuple(damaged), _Progress(progress.bytes + end, link, sealed))


def _remembered(connection: psycopg.Connection[Any], segment: str) -> _Progress:
    row = connection.execute(
        "SELECT loaded_bytes, frames, last_hash, sealed_frames, sealed_hash FROM log_segments WHERE segment = %s",
        (segment,),
    ).fetchone()
    if row is None:
        return _Progress()
    size, frames, last_hash, sealed_frames, sealed_hash = row
    sealed = None if sealed_frames is None else Seal(segment, sealed_frames, bytes(sealed_hash).hex())
    return _Progress(size, Link(frames, bytes(last_hash)), sealed)


def _begin(connection: psycopg.Connection[Any], segment: Segment, header: Frame | None) -> None:
    """Make the row of a segment that is loaded for the first time."""
    text, log = "", ""
    if header is not None:
        text = header.body.decode()
        log = msgspec.json.decode(text, type=Header).log
    connection.execute(
        "INSERT INTO log_segments (segment, log, number, header, loaded_bytes, frames, last_hash)"
        " VALUES (%s, %s, %s, %s, 0, 0, %s) ON CONFLICT (segment) DO NOTHING",
        (segment.id, log or segment.id, segment.number, text, ORIGIN),
    )
