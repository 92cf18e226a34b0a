"""Worker processes of this machine: each does one shard at a time and tells how it went, or ends without a word."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

# What a process imports before it has said how many threads it wants is as light as it can be.
if TYPE_CHECKING:
    from appraise.serving.batch.manifest import PartMark
    from appraise.serving.batch.planning import Shard
    from appraise.serving.batch.shard import Work

#: Libraries that start threads when they are imported: there is a process a processor.
_ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
#: After a kill a process is gone at once, unless a file system holds it.
_END_SECONDS = 10.0


class Lost(Exception):  # noqa: N818  not an error of the run yet
    """A process ended without a word."""


class Worker:
    """A process that does the shards of some work, one at a time; it is started at once.

    Attributes:
        process: it.
        is_ready: whether it has begun to listen; one that never does could not be started.
        shard: what it was given and has not answered.
    """

    def __init__(self, work: Work) -> None:
        context = get_context("spawn")
        self.is_ready = False
        self.shard: Shard | None = None
        self._work: Work | None = work
        self._connection, its = context.Pipe()
        # Nothing that may be large is handed over here: were the process to end early, this one would wait for ever.
        self.process = context.Process(target=_serve, args=(its,), daemon=True)
        with _deaf_to_interrupts():
            self.process.start()
        its.close()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a shard."""
        return self.is_ready and self.shard is None

    def give(self, shard: Shard) -> None:
        """Have a process that listens do a shard. If it has ended meanwhile `answer` tells."""
        self.shard = shard
        with suppress(ConnectionError):
            self._connection.send((self._work, shard))
        self._work = None

    def answer(self) -> PartMark | None:
        """What it has to say, which it waits for: a part, or None where it is ready for its first shard.

        Raises:
            Lost: it ended; `shard` is what it had.
            Exception: whatever `do_shard` raised.
        """
        try:
            said: PartMark | Exception | None = self._connection.recv()
        except (EOFError, ConnectionError):
            raise Lost from None
        self.is_ready, self.shard = True, None
        if isinstance(said, Exception):
            raise said
        return said

    def end(self) -> None:
        """End it at once: what is under way is no part yet."""
        self.process.kill()
        self.process.join(_END_SECONDS)
        self._connection.close()


def heard(workers: Sequence[Worker], *, until: float) -> list[Worker]:
    """Those that have something to say or have ended; none where nobody did until this moment of the monotonic clock.

    The end of a process closes its end of the pipe, which nobody else has: reading tells, after all that it said.
    """
    left = max(0.0, until - time.monotonic())
    found = connection.wait([worker._connection for worker in workers], timeout=left)
    return [worker for worker in workers if worker._connection in found]


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started here leave Ctrl-C to this one from their first instant; here it comes a moment later."""
    # Started by the first process otherwise, it would make this thread hear again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(listening: Connection[Any, Any]) -> None:
    """What a process does: one shard after the other, until nobody gives it more. It does not outlive its parent."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(_ONE_THREAD)
    from appraise.serving.threads import use_threads

    use_threads(1)
    work: Work | None = None
    with suppress(EOFError, ConnectionError):
        listening.send(None)
        while True:
            given, shard = listening.recv()
            work = given or work
            assert work is not None  # noqa: S101  it comes with the first shard
            listening.send(_done(work, shard))


def _done(work: Work, shard: Shard) -> PartMark | Exception:
    from appraise.serving.batch.shard import do_shard

    try:
        return do_shard(work, shard)
    except Exception as error:  # noqa: BLE001  the parent raises it
        # Pickled without it, the error would not say where it arose.
        error.add_note("".join(traceback.format_exception(error)))
        return error


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
