"""The program itself: run a verb, and turn whatever ends it into a message and an exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from appraise.cli import crash
from appraise.cli.app import app
from appraise.cli.exits import INTERRUPTED, TERMINATED, USAGE, Interrupted
from appraise.cli.terminal import show_error, tell_error, write_error_json
from appraise.errors import AppraiseError

_INTERRUPTED = "interrupted; nothing half done was kept"


def main() -> None:
    """Run the program on the process's arguments, and exit."""
    args = sys.argv[1:]
    crash.install(args)
    # OpenMP's threads spin while they wait, unless told before it is loaded. Where the processors are shared with
    # other programs, a training took twice as long for it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What is half done is cleared away after SIGTERM as it is after Ctrl-C.
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(args))


def run(args: Sequence[str]) -> int:
    """Run one verb.

    Args:
        args: the arguments after the program's name.

    Returns:
        The exit code. Errors that nobody foresaw are raised.
    """
    as_json = "--json" in args
    interrupted, hint = _INTERRUPTED, None
    command = typer.main.get_command(app)
    try:
        code = command.main(list(args), prog_name="appraise", standalone_mode=False)
    except AppraiseError as error:
        return show_error(error, as_json=as_json)
    except typer.TyperException as error:
        return _usage_error(error, as_json=as_json)
    except Interrupted as stop:
        code, interrupted, hint = INTERRUPTED, stop.message, stop.hint
    except typer.Abort:
        code = INTERRUPTED
    if code == INTERRUPTED:
        tell_error(interrupted, hint)
        if as_json:
            write_error_json("Interrupted", interrupted, hint, INTERRUPTED)
    return code if isinstance(code, int) else 0


def _usage_error(error: typer.TyperException, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    message = error.format_message()
    message = message[:1].lower() + message[1:].rstrip(".").replace("Input should", "it should")
    # An argument that may be left out has brackets in the help, and none in a sentence.
    message = re.sub(r"for '\[([A-Z]+)\]'", r"for '\1'", message)
    hint = f"see {context.command_path} --help" if context is not None else "see appraise --help"
    tell_error(message, hint)
    if as_json:
        write_error_json("UsageError", message, hint, USAGE)
    return USAGE


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)
