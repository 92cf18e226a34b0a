"""`appraise stream ingest` and its database are killed in the middle, and the table is as after single delivery."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from appraise.errors import StoreError
from appraise.store.database import Database, DatabaseOptions

PARTITIONS = 2


@pytest.fixture
def home():
    """A home that the account of the embedded server can reach."""
    folder = Path(tempfile.mkdtemp(prefix="appraise-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(kafka, topics, home, tmp_path):
    """Starts the worker of a partition, as a process."""
    processes = []

    def starter(partition):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
        environment |= {
            "APPRAISE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "APPRAISE_KAFKA__TOPIC_PREFIX": topics.prefix,
            "APPRAISE_STREAM__BATCH": "100",
        }
        command = [sys.executable, "-m", "appraise", "--home", str(home), "stream", "ingest"]
        with (tmp_path / f"worker-{len(processes)}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--partition", str(partition)], stdout=log, stderr=log, env=environment, cwd=tmp_path
            )
        processes.append(process)
        return process

    yield starter
    for process in processes:
        process.kill()
        process.wait()


def _written(database):
    """The next offset of each partition; None while the server is away."""
    try:
        with database.connect() as connection:
            return dict(connection.exec_driver_sql("SELECT partition, next_offset FROM stream_offsets").fetchall())
    except StoreError:
        return None


def _event(number):
    moment = f"2026-01-{number // 100 + 1:02}T00:00:{number % 60:02}+00:00"
    return {"user_id": f"user{number % 50}", "event_type": "MedInc", "value": number / 7, "timestamp": moment}


def test_the_table_is_as_after_single_delivery_whatever_is_killed(kafka, topics, home, start, eventually):
    dice = random.Random(11)  # noqa: S311
    events = [_event(number) for number in range(2000)]
    repeated = [event for event in events for _ in range(dice.randint(1, 5))]
    dice.shuffle(repeated)
    parts = [repeated[begin::4] for begin in range(4)]
    producer = kafka.producer()
    begun, ends = {}, dict.fromkeys(range(PARTITIONS), 0)

    def send():
        begun.update(ends)
        for event in parts.pop():
            partition = dice.randrange(PARTITIONS)
            producer.produce(topics.events, json.dumps(event).encode(), partition=partition)
            ends[partition] += 1
        assert producer.flush(30) == 0

    def kill(workers, numbers, how=None):
        """Kill workers and the server in the middle of what was sent last, with more sent while they hold still."""
        eventually(lambda: all((_written(database) or {}).get(number, 0) > begun[number] for number in begun))
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        send()
        if how is not None:
            os.kill(int((home / "postgres/data/postmaster.pid").read_text().splitlines()[0]), how)
        for number, worker in enumerate(workers):
            if number in numbers:
                worker.kill()
                worker.wait()
                workers[number] = start(number)
            else:
                worker.send_signal(signal.SIGCONT)

    with Database(DatabaseOptions(None, home / "postgres")) as database:
        database.upgrade(actor="tests")
        send()
        workers = [start(number) for number in range(PARTITIONS)]
        kill(workers, {0})
        # An immediate shutdown: nothing is written that was not yet.
        kill(workers, {}, signal.SIGQUIT)
        kill(workers, {1}, signal.SIGKILL)
        eventually(lambda: _written(database) == ends)
        assert [worker.poll() for worker in workers] == [None, None]
        with database.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT user_id, event_type, feature_value, ingestion_timestamp FROM user_features"
            ).fetchall()
    stored = [{**dict(zip(events[0], row, strict=True)), "timestamp": row[3].isoformat()} for row in rows]
    assert sorted(stored, key=str) == sorted(events, key=str)
