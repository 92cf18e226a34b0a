"""What goes on beside a service, in threads and processes that end with it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

_LOOK_SECONDS = 0.2
_PARENT_SECONDS = 1.0


@contextmanager
def working(work: Callable[[threading.Event], None], *, name: str, seconds: float) -> Iterator[None]:
    """Work in a thread for as long as the block runs.

    Args:
        work: is given the event that says that the block has ended, and then comes to its end.
        name: of the thread.
        seconds: longest wait for that.
    """
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(seconds)


def run_process(
    target: Callable[..., None], *arguments: object, name: str, ended: threading.Event, seconds: float
) -> int | None:
    """Run a function of a module in a process of its own until it returns, or until `ended` is set.

    Args:
        target, arguments: the function, and what it is given.
        name: of the process.
        ended: ends it by SIGTERM.
        seconds: how long it may take to end; then it is killed.

    Returns:
        Its exit code.
    """
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, name=name)
    process.start()
    while process.is_alive() and not ended.is_set():
        wait([process.sentinel], timeout=_LOOK_SECONDS)
    if process.is_alive():
        process.terminate()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
    return process.exitcode


def follow(parent: int, end: Callable[[], object]) -> None:
    """In a process of `run_process`: call a function when the process that started it is gone, however it ended."""

    def look() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(_PARENT_SECONDS)
        end()

    threading.Thread(target=look, name="parent", daemon=True).start()
