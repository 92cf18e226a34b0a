"""Two runs of the chaos benchmark, and the workers that are broken on purpose, which it must find out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("broker")
def test_each_request_is_answered_exactly_once_whatever_dies():
    # The broker of the session says that there is Java; the run has one of its own, to kill.
    command = [sys.executable, "chaos.py", "--seeds", "2", "--rounds", "4", "--rate", "200", "--mutants", "--json"]
    done = subprocess.run(command, cwd=_BENCHMARKS, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    figures = {figure["name"]: figure["value"] for figure in json.loads(done.stdout)}
    assert figures["appraise/acknowledged"] > 1000
    assert figures["appraise/aborted"] > 0
    assert figures["appraise/lost"] == figures["appraise/repeated"] == 0
    assert figures["appraise/caught up after"] < 60
    assert done.stderr.count("found out") == 2
