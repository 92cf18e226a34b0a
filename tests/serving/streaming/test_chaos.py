"""Two runs of the chaos benchmark, and the workers that are broken on purpose, which it must find out.

And the broker that all of it rests on, killed while transactions end."""

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
    figures, said = _run("chaos.py", "--seeds", "2", "--rounds", "4", "--rate", "200", "--mutants")
    assert figures["appraise/acknowledged"] > 1000
    assert figures["appraise/aborted"] > 0
    assert figures["appraise/lost"] == figures["appraise/repeated"] == 0
    assert figures["appraise/caught up after"] < 60
    assert said.count("found out") == 2


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("broker")
def test_the_broker_keeps_the_ends_of_transactions_over_its_own_death():
    # With Kafka 4.3.0 about every second round is torn.
    figures, _ = _run("chaos_broker.py", "--rounds", "2")
    assert figures["transactions that were ending"] > 0
    assert figures["torn"] == figures["ended otherwise than was asked"] == figures["partitions held up"] == 0


def _run(program, *words):
    """The figures of a benchmark that passes, and what it said."""
    command = [sys.executable, program, *words, "--json"]
    done = subprocess.run(command, cwd=_BENCHMARKS, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return {figure["name"]: figure["value"] for figure in json.loads(done.stdout)}, done.stderr
