"""Bars are for a terminal, and only there."""

import os
import pty
import subprocess
import sys

import pytest

from appraise.cli.progress import LogProgress, TerminalProgress
from appraise.jobs.progress import SilentProgress

_SCRIPT = (
    "from appraise.cli.progress import make_progress\n"
    "progress = make_progress()\n"
    "with progress.task('candidates', total=2) as task:\n"
    "    for name in ('ridge', '[bold]forest'):\n"
    "        task.note(name)\n"
    "        with progress.task('trees'):\n"
    "            progress.message(name + ' [done]')\n"
    "        task.advance()\n"
)


def _on_a_terminal(terminal: str) -> str:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": terminal},
        check=False,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the way Linux says that the other end was closed
        pass
    os.close(ours)
    assert done.returncode == 0
    assert done.stdout == b""
    return shown.decode()


def test_a_terminal_gets_bars_and_messages():
    shown = _on_a_terminal("xterm")
    assert "candidates" in shown
    assert "\x1b[" in shown
    assert "[bold]forest [done]" in shown


def test_a_terminal_that_cannot_move_its_cursor_gets_none():
    assert "\x1b[" not in _on_a_terminal("dumb")


def test_elsewhere_there_is_not_one_control_character():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("kind", [SilentProgress, LogProgress, TerminalProgress])
def test_an_error_within_a_task_goes_through_and_the_next_task_works(kind):
    progress = kind()
    with pytest.raises(ZeroDivisionError), progress.task("outer"), progress.task("inner", total=3) as task:
        task.advance(1 / 0)
    with progress.task("again") as task:
        task.note("now")
        task.advance()
