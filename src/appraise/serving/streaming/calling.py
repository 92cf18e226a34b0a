"""Calls into the client library, which may not come back.

librdkafka calls have deadlines, and now and then, after a broker was killed, one does not keep it: sending offsets was
seen to wait for an answer that nobody would give any more. A thread that waits so cannot be ended; it is left behind
with its client, and new clients take over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from appraise.logs import get_logger
from appraise.serving.streaming.failures import ClientsLostError

_log = get_logger(__name__)

T = TypeVar("T")

#: Seconds beyond its own deadline after which a call counts as lost.
_GRACE_SECONDS = 5.0
#: Seconds that a client may take to be closed.
_CLOSE_SECONDS = 15.0


def close_client(step: str, function: Callable[[], object]) -> None:
    """Close a client, or leave it behind where it does not close in time."""
    calls = Calls()
    try:
        calls.call(step, function, _CLOSE_SECONDS)
    except ClientsLostError as error:
        _log.warning("a client could not be closed and is left behind", reason=str(error))
    calls.close()


class Calls:
    """Makes calls, one after another, in a thread that may be left behind."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Future[object], Callable[[], object]] | None] = SimpleQueue()
        self._lost = False
        # A daemon: the end of the process does not wait for a call that never comes back.
        threading.Thread(target=self._run, name="kafka-calls", daemon=True).start()

    def call(self, step: str, function: Callable[[], T], seconds: float) -> T:
        """Make a call, and wait for it.

        Args:
            step: what it is, for the error.
            function: the call, with a deadline of its own.
            seconds: that deadline.

        Raises:
            ClientsLostError: it did not come back. Nothing more can be called.
        """
        if self._lost:
            raise ClientsLostError(f"{step}: an earlier call never came back")
        future: Future[T] = Future()
        self._waiting.put((future, function))  # type: ignore[arg-type]
        try:
            return future.result(seconds + _GRACE_SECONDS)
        except TimeoutError as error:
            if future.done():
                raise
            self._lost = True
            raise ClientsLostError(f"{step}: the call did not come back") from error

    def close(self) -> None:
        """Make no more calls."""
        self._waiting.put(None)

    @property
    def lost(self) -> bool:
        """Whether a call never came back."""
        return self._lost

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            future, function = waiting
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  it belongs to whoever asked
                future.set_exception(error)
