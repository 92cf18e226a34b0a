"""Whether a registry may have changed."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from appraise.registry.changes import Stamp, stamp_of


@pytest.mark.parametrize("journal", ["delete", "truncate", "wal"])
def test_every_change_of_the_file_is_seen_and_looking_is_none(tmp_path, journal):
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute(f"pragma journal_mode={journal}")
        writer.execute("create table aliases (name text, version integer)")
        writer.execute("insert into aliases values ('champion', 1)")
        before = _stamp(file)
        for version in range(2, 12):
            with closing(sqlite3.connect(file)) as reader:
                assert reader.execute("select version from aliases").fetchone() == (version - 1,)
            assert _stamp(file) == before
            writer.execute("update aliases set version = ?", [version])
            assert _stamp(file) != before
            before = _stamp(file)


def test_a_change_within_one_tick_of_the_clock_is_seen(tmp_path):
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("create table aliases (name text, version integer)")
        writer.execute("insert into aliases values ('champion', 1)")
        before, times = _stamp(file), file.stat()
        writer.execute("update aliases set version = 2")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = _stamp(file)
    assert after.file == before.file
    assert after != before


@pytest.mark.parametrize(
    "address",
    [
        "https://models.example.com",
        "postgresql://ann@127.0.0.1:5432/homes",
        "sqlite:///file:models?mode=memory&uri=true",
        "sqlite:////nowhere/mlflow.db",
    ],
)
def test_what_is_no_file_has_no_state(address):
    assert stamp_of(address) is None


def _stamp(file: Path) -> Stamp:
    stamp = stamp_of(f"sqlite:///{file}")
    assert stamp is not None
    return stamp
