"""The program, run in this process or in one of its own, in an empty working folder."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appraise.cli.program import run


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; settings and logs as in a fresh process."""
    for name in list(os.environ):
        if name.startswith("APPRAISE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root, ours = logging.getLogger(), logging.getLogger("appraise")
    handlers, level, our_level = list(root.handlers), root.level, ours.level
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def appraise(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the program in this process."""

    def call(*args: object) -> Ended:
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


@pytest.fixture
def appraise_process() -> Callable[..., Ended]:
    """Runs the program in a process of its own."""

    def call(*args: object, **options: Any) -> Ended:
        command = [sys.executable, "-m", "appraise", *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
        return Ended(done.returncode, done.stdout, done.stderr)

    return call
