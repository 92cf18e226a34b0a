"""The last resort: an error that nobody foresaw becomes a short message and a file to send to a maintainer."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from appraise import __version__
from appraise.cli.exits import CRASHED
from appraise.cli.terminal import tell_error, write_error_json


def install(args: Sequence[str]) -> None:
    """Have errors that reach the top told by `report` from now on."""

    def hook(_kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        report(error.with_traceback(trace), args)

    sys.excepthook = hook


def report(error: BaseException, args: Sequence[str]) -> None:
    """Tell of an unforeseen error on stderr; the traceback goes to a file, or to stderr with `--debug`."""
    text = "".join(traceback.format_exception(error))
    message = f"appraise met an error that it did not expect: {type(error).__name__}: {error}"
    if "--debug" in args:
        sys.stderr.write(text)
        hint = "please report it, with the lines above"
    else:
        file = _write(text, args)
        hint = f"please report it, with {file}" if file is not None else "run it again with --debug to see where"
    tell_error(message, hint)
    if "--json" in args:
        write_error_json(type(error).__name__, message, hint, CRASHED)


def _write(text: str, args: Sequence[str]) -> Path | None:
    now = dt.datetime.now(dt.UTC)
    head = f"appraise {__version__}, Python {platform.python_version()}, {platform.platform()}\n{shlex.join(args)}\n\n"
    for folder in (Path(os.environ.get("APPRAISE_HOME") or ".appraise") / "logs", Path(tempfile.gettempdir())):
        file = folder.expanduser() / f"appraise-crash-{now:%Y%m%dT%H%M%S%f}.log"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(head + text, encoding="utf-8")
        except OSError:
            continue
        return file
    return None
