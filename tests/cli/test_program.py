"""What every verb shares: where output goes, how errors are told, and what the exit code says."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appraise import __version__, errors
from appraise.cli import exits
from appraise.cli.program import run
from appraise.errors import AppraiseError, Problem, RowError
from appraise.jobs import simulate


def test_the_version_is_told(appraise):
    assert appraise("--version").out == f"appraise {__version__}\n"


@pytest.mark.parametrize("args", [(), ("--help",), ("models",), ("models", "--help"), ("simulate", "-h")])
def test_help_is_there_without_anything_set_up(appraise, args, folder):
    ended = appraise(*args)
    assert ended.code == 0
    assert "Usage:" in ended.out
    assert list(folder.iterdir()) == []


def test_help_comes_at_once(appraise_process):
    appraise_process("--help")
    seconds = []
    for _ in range(3):
        start = _spent()
        assert appraise_process("--help").code == 0
        seconds.append(_spent() - start)
    # Of the processor, which other tests beside this one do not lengthen much; 0.2 s where it was measured.
    assert min(seconds) < 1.0


def _spent() -> float:
    """Seconds of the processor that ended children took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_imports_nothing_heavy():
    script = "import sys, appraise.cli.program; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"polars", "numpy", "mlflow", "sklearn", "catboost", "pydantic", "structlog", "pandas"}
    assert heavy.isdisjoint(done.stdout.split())


# Errors


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["simulat"], "no such command 'simulat'", "appraise --help"),
        (["simulate"], "missing argument 'NAME'", "appraise simulate --help"),
        (["simulate", "homes", "--rows", "many"], "'--rows': it should be a valid integer", "appraise simulate --help"),
        (["simulate", "homes", "--rows", "0"], "--rows", "appraise simulate --help"),
        (["simulate", "homes", "--colour", "red"], "no such option: --colour", "appraise simulate --help"),
        (
            ["models", "show", "homes", "--version", "newest"],
            "'newest' is not a version",
            "appraise models show --help",
        ),
    ],
)
def test_wrong_usage_is_explained(appraise, args, message, hint):
    ended = appraise(*args)
    assert ended.code == exits.USAGE
    error, told = ended.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert told == f"hint: see {hint}"
    assert ended.out == ""


def test_an_error_is_a_sentence_and_a_hint_on_stderr(appraise):
    ended = appraise("simulate", "bayside_")
    assert ended.code == 3
    assert ended.out == ""
    assert ended.err.splitlines()[-2:] == ["error: there is no simulator 'bayside_'", "hint: did you mean 'bayside'?"]


@pytest.mark.parametrize(
    ("args", "kind", "code"),
    [
        (["simulate", "bayside_"], "SettingsError", 3),
        (["data", "nowhere.toml"], "SpecError", 4),
        (["data", "homes", "--data", "nowhere.csv"], "DataError", 5),
        (["models", "show", "homes"], "UnknownModelError", 7),
        (["simulate", "homes", "--output", "homes.xlsx"], "OutputError", 8),
        (["simulate", "homes", "--rows", "x"], "UsageError", 2),
    ],
)
def test_with_json_an_error_is_the_one_json_object(appraise, args, kind, code):
    ended = appraise(*args, "--json")
    assert ended.code == code
    error = ended.json["error"]
    assert (error["type"], error["exit_code"]) == (kind, code)
    assert error["message"] in ended.err
    assert error["hint"]


def test_every_error_has_an_exit_code_of_its_own_kind():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AppraiseError)]
    for kind in set(kinds) - {AppraiseError}:
        assert any(issubclass(kind, known) for known in exits.CODES), kind


def test_every_refused_field_is_told(appraise, monkeypatch):
    problems = tuple(Problem(row, "rooms", "must be at least 0", str(-row)) for row in range(1, 4))

    def refuse(*_args: object, **_options: object) -> None:
        raise RowError(problems)

    monkeypatch.setattr(simulate, "simulate", refuse)
    ended = appraise("simulate", "homes")
    assert ended.code == 5
    assert "row 1, rooms: must be at least 0, received -1 (and 2 more)" in ended.err
    assert "also: row 3, rooms: must be at least 0, received -3" in ended.err


def _crash(*_args: object, **_options: object) -> None:
    raise ZeroDivisionError("division by zero")


def test_an_error_that_nobody_foresaw_reaches_the_top(monkeypatch):
    monkeypatch.setattr(simulate, "simulate", _crash)
    with pytest.raises(ZeroDivisionError):
        run(["simulate", "homes"])


@pytest.fixture
def crashing(folder: Path) -> list[str]:
    """The program with a fault in one of its jobs."""
    script = (
        "import appraise.jobs.simulate as job\n"
        "def crash(*args, **options): return 1 / 0\n"
        "job.simulate = crash\n"
        "from appraise.cli import main\n"
        "main()\n"
    )
    return [sys.executable, "-c", script]


def _run(command: list[str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *args], capture_output=True, text=True, check=False)


def test_a_crash_is_a_short_message_and_a_file(crashing, folder):
    done = _run(crashing, "simulate", "homes", "--json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: appraise met an error that it did not expect: ZeroDivisionError" in done.stderr
    (file,) = (folder / ".appraise" / "logs").iterdir()
    assert file.name in done.stderr
    text = file.read_text()
    assert "simulate homes --json" in text
    assert "in crash" in text
    assert json.loads(done.stdout)["error"]["exit_code"] == 1


def test_a_crash_shows_its_traceback_with_debug(crashing, folder):
    done = _run(crashing, "--debug", "simulate", "homes")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert not (folder / ".appraise" / "logs").exists()


def test_a_crash_is_told_where_no_file_can_be_written(crashing, folder):
    (folder / ".appraise").write_text("in the way")
    done = subprocess.run(
        [*crashing, "simulate", "homes"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(folder / "nowhere")},
    )
    assert "did not expect" in done.stderr


# Output


def test_json_is_one_object_on_stdout_and_nothing_else(appraise):
    ended = appraise("simulate", "homes", "--rows", 10, "--json")
    assert ended.json["rows"] == 10
    assert ended.out.endswith("}\n")
    assert all("event" in event for event in ended.events)


def test_messages_are_log_events_where_stderr_is_no_terminal(appraise):
    ended = appraise("--debug", "simulate", "homes", "--rows", 10)
    assert "done" in [event["event"] for event in ended.events]
    assert appraise("simulate", "homes", "--rows", 10).err == ""
    assert "Simulated 10 rows of homes" in ended.out


def test_a_full_disk_behind_stdout_is_an_error(folder):
    command = [sys.executable, "-m", "appraise", "simulate", "homes", "--rows", "10", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 8
    assert "error: the result cannot be written to the standard output: No space left" in done.stderr


def test_a_reader_that_goes_away_is_no_crash(folder):
    command = f"{sys.executable} -m appraise simulate homes --rows 10 --json | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr
    assert "did not expect" not in done.stderr


# Settings


def test_a_flag_beats_the_environment_and_it_the_file(appraise, folder, monkeypatch):
    (folder / "appraise.toml").write_text('home = "by-file"\nseed = 1\n')
    assert appraise("simulate", "homes", "--rows", 5, "--json").json["seed"] == 1
    assert (folder / "by-file" / "data" / "homes.parquet").exists()
    monkeypatch.setenv("APPRAISE_HOME", "by-variable")
    monkeypatch.setenv("APPRAISE_SEED", "2")
    assert appraise("simulate", "homes", "--rows", 5, "--json").json["seed"] == 2
    assert (folder / "by-variable").exists()
    assert appraise("--home", "by-flag", "simulate", "homes", "--rows", 5, "--seed", 3, "--json").json["seed"] == 3
    assert (folder / "by-flag").exists()


def test_a_wrong_setting_stops_every_verb(appraise, monkeypatch):
    monkeypatch.setenv("APPRAISE_TRAIN__QUALITY", "fastest")
    for args in (["simulate", "homes"], ["data", "homes"], ["models", "list"]):
        ended = appraise(*args)
        assert ended.code == 3
        assert "APPRAISE_TRAIN__QUALITY is 'fastest'" in ended.err


def test_a_variable_that_is_no_setting_is_a_warning(appraise, monkeypatch):
    monkeypatch.setenv("APPRAISE_DATADIR", "x")
    ended = appraise("models", "list")
    assert ended.code == 0
    assert ended.events[0]["variable"] == "APPRAISE_DATADIR"
    assert ended.events[0]["did_you_mean"] == "APPRAISE_DATA_DIR"


@pytest.mark.parametrize(("flag", "level"), [(("--debug",), "debug"), (("--log-level", "error"), "error")])
def test_the_log_level_is_a_flag(appraise, flag, level):
    ended = appraise(*flag, "simulate", "homes", "--rows", 5)
    assert bool(ended.events) == (level == "debug")


# Interruption

_SLOW = (
    "import signal, sys, threading\n"
    "import appraise.jobs.simulate as job\n"
    "from appraise.jobs.outputs import write_text\n"
    "def slow(*args, workspace, **options):\n"
    "    with workspace.scratch() as folder:\n"
    "        (folder / 'half').write_text('half')\n"
    "        sys.stdout.write('working\\n'); sys.stdout.flush()\n"
    # A signal that comes right before a wait without end begins would be noticed at its end.
    "        while not threading.Event().wait(0.05): pass\n"
    "job.simulate = slow\n"
    "from appraise.cli import main\n"
    "main()\n"
)


@contextmanager
def _killed_in_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_an_interruption_clears_away_what_is_half_done(folder, number, code):
    command = [sys.executable, "-c", _SLOW, "simulate", "homes", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process, _killed_in_the_end(process):
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert list((folder / ".appraise" / "tmp").iterdir()) == []
    if number == signal.SIGINT:
        assert "error: interrupted" in err
        assert json.loads(out)["error"]["exit_code"] == 130
