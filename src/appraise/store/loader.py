"""`Loader`: brings the spool into the database, in the order in which it was written, each record once.

What is loaded and how far are written in one transaction, so that a loader that is killed, or whose database goes
away, begins again where it was. A record that the database has already, by its `prediction_id`, goes to `log_unlisted`,
and so does what is no record: neither holds up what follows.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appraise.errors import StoreError, StoreUnavailableError
from appraise.logs import get_logger
from appraise.store.database import Database
from appraise.store.faults import driver_errors
from appraise.store.headers import Seal
from appraise.store.insertion import insert
from appraise.store.leadership import LoaderStatus, leadership, read_status, write_status
from appraise.store.parts import Part, part_of
from appraise.store.priority import Courtesy, stand_back, take_a_share
from appraise.store.progress import Progress, advance, begin, remembered, still_at
from appraise.store.segments import Segment, SpoolFolder, size_of

if TYPE_CHECKING:
    import psycopg

_log = get_logger(__name__)

#: Bytes that are read and loaded in one transaction.
_CHUNK, _SMALL_CHUNK = 4 * 2**20, 256 * 1024
#: For so long the loader may rest because the processor is busy; then every gap is used.
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0
#: After more records than so many the loader waits for so long, so that the next transaction is worth its while.
_FEW, _ROUND_SECONDS = 100, 1.0


class Loader:
    """Loads one spool into one database; of several for one spool, one works and the others wait.

    Args:
        folder: the spool.
        database: where to.
        keep_days: how long a segment is kept when all of it is in the database.
        behind: do this only while nothing else wants the processor, in the database too where it is the embedded one.
            What it would start then would do the same for ever, so that `run` ends where that server does not run.
        lag_seconds: with `behind`, how long records may wait because the processor is busy; then `run` ends, for a
            process cannot take back that it stands back, and the next one is to begin as `late`.
        late: take a share of a busy processor until everything is loaded, and be `behind` from then on.

    Attributes:
        overdue: whether records have waited for too long.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        keep_days: float = 7.0,
        behind: bool = False,
        lag_seconds: float = 300.0,
        late: bool = False,
    ) -> None:
        self.overdue = False
        self._behind = behind
        self._lag_seconds = lag_seconds
        self._late = late
        self._folder = SpoolFolder(folder)
        self._database = database
        self._keep_seconds = keep_days * 86_400
        self._connection: psycopg.Connection[Any] | None = None
        self._progress: dict[str, Progress] = {}
        self._chunk = _SMALL_CHUNK if behind else _CHUNK
        self._courtesy = Courtesy()
        self._caught_up = time.monotonic()
        self._stop = threading.Event()
        self._loaded = 0
        self._trouble: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Load until it is told to stop, and then once more what is left; or until records are overdue."""
        # Who stands back would wait for the library for as long as the processor is full.
        import psycopg  # noqa: F401

        self._stop = stop
        self._give_way(0)
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
                if ends or self.overdue:
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
                self._load_segment(segment)
        except BaseException:
            self.close()
            raise
        if self.overdue:
            return self._loaded - before
        there = {segment.id for segment in segments}
        self._progress = {name: one for name, one in self._progress.items() if name in there}
        self._caught_up = time.monotonic()
        if self._late:
            self._late = False
            self._give_way(0)
            if self._connection is not None:
                self._give_way_there(self._connection)
        self._tell(None)
        return self._loaded - before

    def _load_segment(self, segment: Segment) -> None:
        """Load what a segment holds now; what comes meanwhile is for the next round.

        A worker that always has something new would keep the records of the others waiting.
        """
        end = size_of(segment)
        self._courtesy.begin()
        while not self.overdue and self._load_some(segment):
            progress = self._progress.get(segment.id)
            if progress is not None and progress.bytes >= end and size_of(segment) > end:
                return
            self._rest()

    def _rest(self) -> None:
        """Leave others the processor's caches for a while, where they are busy and what waits is not old."""
        seconds = self._courtesy.rest_seconds() if self._behind and not self._late else 0.0
        lag = time.monotonic() - self._caught_up
        if seconds:
            self._tell(None)
        if seconds and lag >= self._lag_seconds:
            self.overdue = True
            _log.warning(
                "the prediction log has waited for a busy processor and now takes a share of it", seconds=round(lag)
            )
        elif seconds and lag < _PATIENCE_SECONDS:
            self._stop.wait(seconds)
        self._courtesy.begin()

    def _give_way(self, pid: int) -> None:
        """Have a process, 0 for this one, take no more of the processor than it should."""
        if self._late:
            take_a_share(pid)
        elif self._behind:
            stand_back(pid)

    def _give_way_there(self, connection: psycopg.Connection[Any]) -> None:
        """The same for whoever works for this one in the embedded database."""
        if self._database.embedded:
            self._give_way(connection.info.backend_pid)

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
                progress = remembered(self._opened(), segment.id)
            self._progress[segment.id] = progress
            if progress.sealed is not None:
                self._retire(segment, progress.sealed)
                return False
            part = self._read(segment, progress)
            if part is None:
                return self._close_abandoned(segment)
            if not self._write(segment, progress, part):
                # Another loader has been at it: what was remembered here would take it back to where it was.
                del self._progress[segment.id]
                return True
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

    def _read(self, segment: Segment, progress: Progress) -> Part | None:
        """The next part of a segment; None where nothing whole follows."""
        length = self._chunk
        while True:
            with segment.path.open("rb") as stream:
                data = os.pread(stream.fileno(), length, progress.bytes)
            part = part_of(data, progress)
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

    def _write(self, segment: Segment, progress: Progress, part: Part) -> bool:
        """Write the next part of a segment; False, and nothing, where the database is not that far or further."""
        connection = self._opened()
        with connection.transaction():
            if progress.bytes == 0:
                begin(connection, segment, part.header)
            if not still_at(connection, segment.id, progress):
                return False
            if part.records:
                insert(connection, segment.id, part.records)
            advance(connection, segment.id, part.progress, sum(end - start for start, end in part.damaged))
        return True

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
            self._give_way_there(self._connection)
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
