"""What sets the project up and checks it."""

import os
import re
import shutil
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = (ROOT / "requirements.lock", ROOT / "scripts" / "requirements-uv.lock")
SCRIPTS = [path for path in (ROOT / "scripts").iterdir() if path.read_bytes().startswith(b"#!")]


def _pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_name_versions_and_hashes_and_no_index_or_path(lock):
    requirements = re.sub(r"\\\n", " ", lock.read_text()).strip().splitlines()
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9._-]+==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
        assert not re.search(r"https?:|file:|--index|--find-links| @ ", requirement), requirement


def test_every_dependency_is_locked():
    project = _pyproject()["project"]
    groups = _pyproject()["dependency-groups"]
    declared = chain(project["dependencies"], *project["optional-dependencies"].values(), groups["dev"])
    locked = set(re.findall(r"^([a-z0-9._-]+)==", LOCKS[0].read_text(), flags=re.MULTILINE))
    missing = {canonicalize_name(Requirement(text).name) for text in declared} - locked - {"appraise"}
    assert not missing, "run: make lock"


def test_the_lock_satisfies_what_is_declared():
    project = _pyproject()["project"]
    locked = dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", LOCKS[0].read_text(), flags=re.MULTILINE))
    for text in chain(project["dependencies"], *project["optional-dependencies"].values()):
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name != "appraise":
            assert requirement.specifier.contains(locked[name]), f"{text}, locked is {locked[name]}; run: make lock"


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda script: script.name)
def test_scripts_can_be_run(script):
    assert os.access(script, os.X_OK)
    shell = script.read_text().splitlines()[0].split()[-1].rpartition("/")[2]
    subprocess.run([shell, "-n", script], check=True)


def test_every_make_target_says_what_it_is_for():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE))
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == set(re.findall(r"^  make ([a-z-]+) +\S", shown, flags=re.MULTILINE))
    assert {"up", "test", "setup"} <= targets


def test_ci_runs_the_test_command_and_counts_last(tmp_path):
    text = (ROOT / ".ci" / "run").read_text()
    assert "make test" in text
    report = tmp_path / "junit.xml"
    report.write_text(
        '<testsuites><testsuite tests="10" failures="1" errors="1" skipped="3" time="61.4"/></testsuites>'
    )
    command = ["python3", ROOT / "scripts" / "test_counts.py", report]
    counts = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert counts == "tests: 5 passed, 2 failed, 3 skipped in 61 s\n"


def test_set_up_says_so_where_python_is_too_old(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo Python 3.9.2; exit 0; }\nexit 1\n')
    old.chmod(0o755)
    for name in ("python3.11", "python3.12", "python3.13"):
        (tmp_path / name).symlink_to(old)
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "setup"],
        env={**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": "python3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "error: Python 3.11 or later is needed, and python3 is Python 3.9.2" in done.stderr
    assert "hint: " in done.stderr


def test_nothing_of_one_machine_is_in_the_project():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pattern = re.compile(r"(?<![\w.~-])/(?:home/\w+|root|work|Users/\w+)/|files\.pythonhosted|pypi\.org/simple")
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not pattern.search(text), f"{name}: {pattern.search(text)}"


def test_without_java_the_tests_of_kafka_are_named_as_not_run(tmp_path):
    script = ROOT / "scripts" / "install-kafka"
    for name in ("sh", "sed", "head", "id"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)

    def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": str(tmp_path), **environment}
        return subprocess.run(
            [tmp_path / "sh", script, *args], env=variables, capture_output=True, text=True, check=False
        )

    here = run()
    assert here.returncode == 0
    assert "apt-get install default-jre-headless maven" in here.stderr
    assert run(REQUIRE_KAFKA="1").returncode == 1
    assert "NOT TESTED: everything that needs a real Apache Kafka" in run("--check").stderr
    assert "REQUIRE_KAFKA=1" in (ROOT / ".ci" / "run").read_text()
