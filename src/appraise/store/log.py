"""`PredictionLog`: takes records from whoever serves estimates, and has them in the spool within a set time.

One thread writes what has gathered, so that a process that is killed loses no more than what came since; another has
the disk confirm it (group commit), so that a slow disk holds no writing up. What is not on the disk yet is bounded:
beyond it `append` refuses, and never drops.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterable, Sequence

from appraise.errors import LogError, LogFullError
from appraise.logs import get_logger
from appraise.store.current import CurrentSegment
from appraise.store.logplan import Listener, LogPlan, LogState
from appraise.store.pending import Batch, Pending
from appraise.store.records import Served, read_record, record_bytes
from appraise.store.segments import SpoolFolder

_log = get_logger(__name__)

_RETRY_SECONDS = 0.5
#: Groups that are written, in mode `async`, for each time that the disk is asked to confirm: it takes a fraction of a
#: millisecond of the processor each time, whatever there is to confirm.
_GROUPS_CONFIRMED = 4
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))


class PredictionLog:
    """The log of one process. Safe to use from several threads; not to be carried over a fork.

    Args:
        plan: how.

    Raises:
        LogError: the spool cannot be written.
    """

    def __init__(self, plan: LogPlan) -> None:
        self.plan = plan
        self.folder = SpoolFolder(plan.folder)
        self._segment = CurrentSegment(self.folder, most_bytes=plan.segment_bytes, most_seconds=plan.segment_seconds)
        self._pending = Pending()
        self._following = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._stop = threading.Event()
        self._abandon = threading.Event()
        self._idle = self._write_ended = False
        self._taken = self._written = self._durable = 0
        self._taken_bytes = self._written_bytes = self._durable_bytes = 0
        # What may have been handed over before something is refused.
        self._most, self._most_bytes = plan.queue, plan.queue_bytes
        self._refused = self._withdrawn = self._unconfirmed = self._lost_told = self._failures = 0
        self._trouble: str | None = None
        self._listeners: list[Listener] = []
        self._go_on()
        self._threads = [
            threading.Thread(target=self._write_loop, name="prediction-log-write", daemon=True),
            threading.Thread(target=self._sync_loop, name="prediction-log-sync", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def append(self, body: bytes) -> int:
        """Hand a record over; returns its number, counted from 1.

        Raises:
            LogFullError: too many wait already.
        """
        with self._lock:
            if self._taken >= self._most or self._taken_bytes >= self._most_bytes:
                raise self._full()
            self._pending.add(body)
            self._taken_bytes += len(body)
            self._taken = number = self._taken + 1
            if self._idle:
                self._idle = False
                self._wake.set()
        return number

    def append_many(self, bodies: Sequence[bytes]) -> int:
        """Hand records over at once, from the first on as many as there is room for; returns how many.

        Raises:
            LogFullError: there is room for none of them.
        """
        with self._lock:
            before = self._taken
            for body in bodies[: max(0, self._most - before)]:
                if self._taken_bytes >= self._most_bytes:
                    break
                self._pending.add(body)
                self._taken_bytes += len(body)
                self._taken += 1
            taken = self._taken - before
            if bodies and not taken:
                raise self._full()
            if taken and self._idle:
                self._idle = False
                self._wake.set()
        return taken

    def append_all(self, records: Iterable[Served], *, seconds: float = 30.0) -> None:
        """Hand many records over, waiting for room, in all for `seconds`; `flush` says whether they are on the disk.

        Raises:
            LogFullError: there was no room for so long. Some may have been taken: hand all of them over again, for of
                two with the same `prediction_id` the log keeps the first.
        """
        deadline = time.monotonic() + seconds
        for served in records:
            body = record_bytes(served)
            while True:
                try:
                    self.append(body)
                    break
                except LogFullError:
                    if time.monotonic() >= deadline:
                        self.refused()
                        raise
                    with self._changed:
                        self._changed.wait(0.1)

    def _full(self) -> LogFullError:
        return LogFullError(
            f"{self._taken - self._durable:,} predictions wait to be logged already"
            + (f", and the log cannot be written: {self._trouble}" if self._trouble else ""),
            hint="try again in a few seconds",
        )

    def refused(self) -> None:
        """Count an estimate that was not given because it could not be recorded."""
        with self._changed:
            self._refused += 1

    @property
    def lost(self) -> int:
        """Records that were handed over and may not be in the log: withdrawn, or not confirmed by the disk."""
        with self._lock:
            return self._withdrawn + self._unconfirmed

    def flush(self, *, since: int | None = None, seconds: float = 30.0) -> None:
        """Wait until everything that was handed over is on the disk.

        Args:
            since: `lost` before the caller handed over what it asks about, where several threads ask; None is as of the
                last call that gave none.
            seconds: how long to wait.

        Raises:
            LogError: it is not, after so long, or some was lost since then.
        """
        self._hurry.set()
        with self._changed:
            number = self._taken
            self._changed.wait_for(lambda: self._durable >= number, seconds)
            lost = self._withdrawn + self._unconfirmed
            missing = max(number - self._durable, lost - (self._lost_told if since is None else since))
            if since is None:
                self._lost_told = lost
            if missing:
                raise LogError(
                    f"{missing:,} predictions could not be logged: {self._trouble or 'the disk is too slow'}",
                    hint=f"see that {self.plan.folder} has room and may be written",
                )

    def catch_up(self, *, seconds: float) -> None:
        """Wait until what was handed over is where readers of the spool find it, or for so long."""
        with self._changed:
            number = self._taken
            self._changed.wait_for(lambda: self._written >= number, seconds)

    def state(self) -> LogState:
        """Where it stands."""
        with self._changed:
            return LogState(
                taken=self._taken,
                written=self._written,
                durable=self._durable,
                refused=self._refused,
                withdrawn=self._withdrawn,
                failures=self._failures,
                waiting_bytes=self._taken_bytes - self._durable_bytes,
                trouble=self._trouble,
            )

    def listen(self, listener: Listener) -> None:
        """Have a function called when records are settled, in a thread of the log, which it must not ask anything."""
        self._listeners.append(listener)

    def close(self, *, seconds: float = 10.0) -> int:
        """Write what waits, seal the segment, and end.

        Returns:
            How many records could not be written in time. They are lost, and the program's own log says so.
        """
        with self._lock:
            self._stop.set()
            self._most = 0
        self._wake.set()
        self._hurry.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._abandon.set()
        for thread in self._threads:
            thread.join(1.0)
        with self._lock:
            lost, first = self._taken - self._durable, self._pending.first(10)
        if lost:
            _log.error(
                "predictions were served and could not be logged",
                records=lost,
                reason=self._trouble or "the disk is too slow",
                first=[read_record(body).prediction_id for body in first],
            )
        if not any(thread.is_alive() for thread in self._threads):
            self._segment.give_up()
        return lost

    def _write_loop(self) -> None:
        while self._await_records() and self._write_rounds():
            pass
        with self._changed:
            self._write_ended = True
            self._changed.notify_all()

    def _write_rounds(self) -> bool:
        """Write what gathers until nothing does; False where it was given up at the end.

        Where records keep coming, whoever hands one over has nobody to wake.
        """
        while True:
            if self.plan.mode == "async":
                self._stop.wait(self.plan.commit_seconds)
            with self._lock:
                if not self._pending:
                    return True
            if not self._write():
                return False

    def _await_records(self) -> bool:
        """Wait for records; False when there are none and none will come."""
        while True:
            with self._changed:
                if self._pending:
                    return True
                if self._stop.is_set():
                    return False
                self._idle = True
            self._wake.wait(1.0)
            self._wake.clear()
            self._rotate_when_due()

    def _write(self) -> bool:
        """Write what waits, trying for as long as it takes; False where it was given up at the end."""
        while True:
            with self._lock:
                batch = self._pending.take()
            try:
                if batch is not None:
                    self._write_batch(batch)
                    batch = None
                self._rotate_when_due()
                with self._lock:
                    if not self._pending.held_up:
                        return True
                self._go_on()
            except (OSError, LogError) as error:
                self._write_failed(error, batch)
                if self._abandon.wait(_RETRY_SECONDS):
                    return False

    def _write_batch(self, batch: Batch) -> None:
        """Write frames of the segment in hand."""
        self._segment.write(batch.frames, batch.link)
        with self._changed:
            if self._trouble is not None:
                _log.info("the prediction log can be written again")
                self._trouble = None
            self._written += batch.count
            self._written_bytes += batch.size
            self._changed.notify_all()

    def _go_on(self) -> None:
        """Have a segment, and frame for it what waits for one."""
        if self._segment.open():
            self._following = False
        with self._lock:
            if not self._following:
                self._pending.follow(*self._segment.end)
                self._following = True
            self._pending.frame_some()

    def _write_failed(self, error: OSError | LogError, batch: Batch | None) -> None:
        """Note that a write failed. In mode `sync` nobody was answered yet, and what waits is withdrawn."""
        number = error.errno if isinstance(error, OSError) else None
        with self._changed:
            reason = error.message if isinstance(error, LogError) else error.strerror or str(error)
            if self._trouble is None:
                _log.error("the prediction log cannot be written", reason=reason, folder=str(self.plan.folder))
            self._trouble = reason
            self._failures += 1
            self._pending.give_back(batch)
            self._following = False
            if self.plan.mode == "sync":
                # Told before anything can be confirmed beyond them.
                self._tell(self._written + 1, self._taken, reason)
                self._withdrawn += self._taken - self._written
                self._written, self._written_bytes = self._taken, self._taken_bytes
                self._pending.withdraw()
                self._changed.notify_all()
        if number not in _NO_ROOM:
            self._segment.give_up()

    def _sync_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._written > self._durable or self._write_ended)
                if self._written == self._durable:
                    return
                first, target, size = self._durable + 1, self._written, self._written_bytes
            reason = self._sync()
            with self._changed:
                self._durable, self._durable_bytes = target, size
                if reason is not None:
                    self._unconfirmed += target - first + 1
                if not self._stop.is_set():
                    self._most, self._most_bytes = target + self.plan.queue, size + self.plan.queue_bytes
                self._tell(first, target, reason)
                self._changed.notify_all()
            if self.plan.mode == "async" and not self._stop.is_set():
                self._hurry.wait(self.plan.commit_seconds * _GROUPS_CONFIRMED)
                self._hurry.clear()

    def _sync(self) -> str | None:
        """Have the disk confirm; returns why it does not."""
        try:
            self._segment.sync()
        except OSError as error:
            reason = error.strerror or str(error)
            _log.error("the disk does not confirm what was written to the prediction log", reason=reason)
            with self._changed:
                self._failures += 1
            return reason
        return None

    def _tell(self, first: int, last: int, reason: str | None) -> None:
        for listener in self._listeners:
            listener(first, last, reason)

    def _rotate_when_due(self) -> None:
        if not self._segment.is_due():
            return
        with self._lock:
            self._pending.halt()
            if self._pending.framed:
                # It is for this segment, and is written to it first.
                return
        self._segment.give_up()
