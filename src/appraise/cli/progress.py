"""How the command line watches a job: bars on a terminal, log events elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from appraise.cli.terminal import is_terminal
from appraise.jobs.progress import Progress, Task

if TYPE_CHECKING:
    import rich.progress
    from structlog.stdlib import BoundLogger


def make_progress() -> Progress:
    """The progress that fits what stderr is."""
    return TerminalProgress() if is_terminal() else LogProgress()


class TerminalProgress:
    """A bar for each task under way, on stderr, gone when the last one ends."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True, highlight=False)
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            # Of a task whose amount is not known there is nothing to count.
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
            transient=True,
        )
        self._depth = 0

    @contextmanager
    def task(self, name: str, *, total: float | None = None) -> Iterator[Task]:
        """A bar; without a total it moves to and fro."""
        if self._depth == 0:
            self._bars.start()
        self._depth += 1
        bar = self._bars.add_task("  " * (self._depth - 1) + name, total=total, note="", count=_counted(0, total))
        try:
            yield _Bar(self._bars, bar, total)
        finally:
            self._bars.remove_task(bar)
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()

    def message(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, markup=False)


class _Bar:
    def __init__(self, bars: rich.progress.Progress, bar: rich.progress.TaskID, total: float | None) -> None:
        self._bars = bars
        self._bar = bar
        self._total = total
        self._done = 0.0

    def advance(self, amount: float = 1) -> None:
        self._done += amount
        self._bars.update(self._bar, advance=amount, count=_counted(self._done, self._total))

    def note(self, text: str) -> None:
        from rich.markup import escape

        self._bars.update(self._bar, note=escape(text))


def _counted(done: float, total: float | None) -> str:
    return "" if total is None else f"{done:,.0f}/{total:,.0f}"


class LogProgress:
    """A log event for each message; that a task ended, and its notes, are for debugging."""

    def __init__(self) -> None:
        from appraise.logs import get_logger

        self._log = get_logger("appraise.progress")

    @contextmanager
    def task(self, name: str, *, total: float | None = None) -> Iterator[Task]:  # noqa: ARG002
        """An event with the time that the task took."""
        start = time.perf_counter()
        yield _LoggedTask(self._log, name)
        self._log.debug("done", task=name, seconds=round(time.perf_counter() - start, 2))

    def message(self, text: str) -> None:
        """An event."""
        self._log.info(text)


class _LoggedTask:
    def __init__(self, log: BoundLogger, name: str) -> None:
        self._log = log
        self._name = name

    def advance(self, amount: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        self._log.debug(text, task=self._name)
