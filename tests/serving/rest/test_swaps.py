"""Swaps of the model under load, by the benchmark that measures many of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "swaps.py"


def test_no_request_fails_and_none_is_answered_by_another_version_than_it_names(own_home, make_database, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
    environment |= {"APPRAISE_DATABASE_URL": make_database()}
    sizes = ["--swaps", "3", "--requests", "1500", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--home", str(own_home), "--json", *sizes],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    figures = {figure["name"]: figure["value"] for figure in json.loads(done.stdout)}
    assert figures["swaps"] == 3
    assert figures["requests"] >= 1500
    assert figures["failed"] == figures["answered with an estimate of another version"] == 0
    assert figures["answered by 1.0.0"] > 50
    assert figures["answered by 1.1.0"] > 50
