"""The loader beside a service that leaves it no processor."""

import errno
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text
from tests.waiting import until

from appraise.jobs import loading as loaders
from appraise.jobs.loading import LoadingPlan, loading
from appraise.store.database import Database
from appraise.store.log import PredictionLog
from appraise.store.logplan import LogPlan
from appraise.store.records import Served, ServedInterval

RECORDS = 10_000


@contextmanager
def full_processor() -> Iterator[None]:
    """Keep this thread, and what it starts, to a processor that another program of its session wants all of."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        busy.kill()
        busy.wait()


def _write(folder: Path) -> None:
    log = PredictionLog(LogPlan(folder))
    log.append_all(
        Served(
            prediction_id=str(uuid.UUID(int=number)),
            timestamp="2026-11-01T00:00:00.000+00:00",
            model_name="california",
            model_version="1.0.0",
            prediction=4.5,
            prediction_interval=ServedInterval(4.0, 5.0, 0.9),
            confidence_score=0.9,
            input_features={"MedInc": 8.3, "text": "x" * 200},
        )
        for number in range(RECORDS)
    )
    assert log.close() == 0


def _loaded(database: Database) -> int:
    with database.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM predictions")).scalar_one())


def test_records_that_waited_too_long_are_loaded_though_the_processor_is_full(tmp_path, database):
    _write(tmp_path)
    with full_processor(), loading(LoadingPlan(LogPlan(tmp_path, lag_seconds=1.0), database, log_level="error")):
        until(lambda: _loaded(database) == RECORDS, 120)


def test_a_loader_that_cannot_be_started_for_now_is_started_later(tmp_path, database, monkeypatch):
    starts = []

    def run_process(*_arguments: object, ended: threading.Event, **_options: object) -> int:
        starts.append(len(starts))
        if len(starts) == 1:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        ended.wait(60)
        return 0

    monkeypatch.setattr(loaders, "run_process", run_process)
    monkeypatch.setattr(loaders, "_AGAIN_SECONDS", (0.01, 0.1))
    with loading(LoadingPlan(LogPlan(tmp_path), database)):
        until(lambda: len(starts) == 2)
