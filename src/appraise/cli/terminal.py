"""What goes where: results to stdout, as text or as one JSON object, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

import typer

from appraise.cli.exits import exit_code
from appraise.errors import AppraiseError, OutputError, RowError

if TYPE_CHECKING:
    from rich.console import Console

# A table that goes to a file or a pipe is as wide as it needs to be.
_FILE_WIDTH = 240
_PROBLEMS_SHOWN = 10


class Result(Protocol):
    """What a job returns: something that can be written as JSON."""

    def to_dict(self) -> dict[str, object]:
        """The result as JSON."""


R = TypeVar("R", bound=Result)


def show(result: R, render: Callable[[Console, R], None], *, as_json: bool) -> None:
    """Print a result to stdout: as one JSON object, or by `render`.

    Raises:
        OutputError: where stdout cannot be written (a full disk). A reader that went away is left to the caller.
    """
    try:
        if as_json:
            write_json(result.to_dict())
        else:
            _print(result, render)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _abandon_stdout()
        raise OutputError(
            f"the result cannot be written to the standard output: {error.strerror or error}",
            hint="make room where it goes, or send it elsewhere",
        ) from error


def write_json(document: Mapping[str, object]) -> None:
    """Write one JSON object to stdout; numbers that JSON does not have become null."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def show_error(error: AppraiseError, *, as_json: bool) -> int:
    """Tell of an error, on stderr and where JSON was asked for on stdout too; returns the exit code."""
    code = exit_code(error)
    tell_error(error.message, error.hint)
    problems = list(error.problems) if isinstance(error, RowError) else []
    for problem in problems[1:_PROBLEMS_SHOWN]:
        typer.echo(f"  also: {problem}", err=True)
    if as_json:
        write_error_json(type(error).__name__, error.message, error.hint, code)
    return code


def tell_error(message: str, hint: str | None = None) -> None:
    """Write `error: ...` and `hint: ...` to stderr."""
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        typer.echo(f"{typer.style('hint:', fg='cyan', bold=True)} {hint}", err=True)


def write_error_json(kind: str, message: str, hint: str | None, code: int) -> None:
    """Write an error as the one JSON object of a verb that failed."""
    write_json({"error": {"type": kind, "message": message, "hint": hint, "exit_code": code}})


def counted(number: int, noun: str) -> str:
    """So many of something: `1 record`, `2,000 records`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_terminal() -> bool:
    """Whether a person watches stderr on a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _abandon_stdout() -> None:
    """Let what is still buffered go nowhere: Python writes it out when it ends, and would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _print(result: R, render: Callable[[Console, R], None]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        render(console, result)
        return
    console = Console(highlight=False, width=_FILE_WIDTH)
    with console.capture() as captured:
        render(console, result)
    # A table fills up its last column too.
    sys.stdout.write("\n".join(line.rstrip() for line in captured.get().split("\n")))
