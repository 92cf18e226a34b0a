"""Logs that no request waits for."""

from __future__ import annotations

import logging
import logging.handlers
import queue
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_MOST_LOG_RECORDS = 10_000


@contextmanager
def logs_handed_over() -> Iterator[None]:
    """Have another thread write the logs: a terminal or pipe that is full would hold up every request."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    records: queue.Queue[logging.LogRecord] = queue.Queue(_MOST_LOG_RECORDS)
    listener = _Writer(records, *handlers, respect_handler_level=True)
    root.handlers[:] = [_HandOver(records)]
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        root.handlers[:] = handlers


class _Writer(logging.handlers.QueueListener):
    """Writes records in a thread."""

    def enqueue_sentinel(self) -> None:
        """Tell the thread to end; where the queue is full, which would be an error, the oldest record makes room."""
        while True:
            try:
                self.queue.put_nowait(None)
            except queue.Full:
                with suppress(queue.Empty):
                    self.dequeue(block=False)
            else:
                return


class _HandOver(logging.handlers.QueueHandler):
    """Hands records to a thread; where the thread cannot keep up they are dropped, for requests come first."""

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand one over."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            return

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Leave the record as it is: it stays in this process."""
        return record
