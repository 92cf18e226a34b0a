"""How a job tells how far it is, without knowing who watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work that is under way."""

    def advance(self, amount: float = 1) -> None:
        """Say that so much more is done."""

    def note(self, text: str) -> None:
        """Show what is being worked on now, in place of the last note."""


class Progress(Protocol):
    """Whoever watches a job: a terminal, a log, or nobody.

    ```
    with progress.task("candidates", total=7) as task:
        for candidate in candidates:
            task.note(candidate.name)
            ...
            task.advance()
    ```
    """

    def task(self, name: str, *, total: float | None = None) -> AbstractContextManager[Task]:
        """Work that begins now and ends with the block; `total` is None where its amount is not known.

        Tasks may be nested.
        """

    def message(self, text: str) -> None:
        """Tell something worth keeping on the screen: one line, without markup."""


class SilentProgress:
    """Watches nothing."""

    @contextmanager
    def task(self, name: str, *, total: float | None = None) -> Iterator[Task]:  # noqa: ARG002
        """A task that nobody sees."""
        yield _SilentTask()

    def message(self, text: str) -> None:
        """Drop the message."""


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass
