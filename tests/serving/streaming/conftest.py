"""One real Apache Kafka broker a test session, shared by all test processes, and fresh topics for each test."""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appraise.errors import MissingProgramError
from appraise.jobs.kafka.broker import LocalBroker, RunningBroker
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.topics import Topics, create_topics


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    with path.open("a") as stream:
        fcntl.flock(stream, how)
        yield stream.fileno()


def _start(broker: LocalBroker) -> RunningBroker:
    try:
        return broker.running() or broker.start(port=0)
    except MissingProgramError as error:
        # Continuous integration must not be green without a broker.
        if os.environ.get("REQUIRE_KAFKA"):
            raise
        pytest.skip(f"not tested on a real broker: {error}")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A real broker."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    broker = LocalBroker(root / "kafka")
    # Whoever uses the broker holds a shared lock; whoever can have it alone at the end was the last.
    with _locked(root / "kafka-users.lock", fcntl.LOCK_SH) as user:
        with _locked(root / "kafka-start.lock", fcntl.LOCK_EX):
            running = _start(broker)
        yield running
        with _locked(root / "kafka-start.lock", fcntl.LOCK_EX):
            try:
                fcntl.flock(user, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            broker.stop()


@pytest.fixture(scope="session")
def kafka(broker: RunningBroker) -> KafkaConfig:
    """How to talk to it."""
    return KafkaConfig(broker.bootstrap_servers)


@pytest.fixture
def make_topics(kafka: KafkaConfig) -> Callable[..., Topics]:
    """Makes a set of topics that no other test has."""

    def make(partitions: int = 2) -> Topics:
        topics = Topics(f"t{uuid.uuid4().hex[:8]}-")
        create_topics(kafka, topics.all, partitions=partitions)
        return topics

    return make


@pytest.fixture
def topics(make_topics: Callable[..., Topics]) -> Topics:
    """Topics of two partitions that no other test has."""
    return make_topics()
