"""One real Apache Kafka broker a test session, shared by all test processes, and fresh topics for each test."""

import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition
from tests.serving.california import HOME, train_california
from tests.serving.streaming.certificates import Authority
from tests.waiting import until

from appraise.bootstrap import build_registry
from appraise.errors import MissingProgramError
from appraise.jobs.kafka.broker import LocalBroker, RunningBroker
from appraise.serving.models import Shelf
from appraise.serving.source import RegistrySource
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.health import Pulse
from appraise.serving.streaming.supervising import Session, Supervisor
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.topics import Topics, create_topics, list_topics
from appraise.settings import Settings


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    with path.open("a") as stream:
        fcntl.flock(stream, how)
        yield stream.fileno()


#: Seconds after which the tests of the other processes count as hung.
_LONGEST_SESSION_SECONDS = 1200.0


def _start(broker: LocalBroker, free_port: Callable[[], int]) -> RunningBroker:
    try:
        return broker.running() or broker.start(**_listening(broker.folder.parent, free_port))
    except MissingProgramError as error:
        # Continuous integration must not be green without a broker.
        if os.environ.get("REQUIRE_KAFKA"):
            raise
        pytest.skip(f"not tested on a real broker: {error}")


def _listening(folder: Path, free_port: Callable[[], int]) -> dict[str, Any]:
    """How the broker is started: it speaks TLS too, and lets sessions be short, so that few tests need their own."""
    authority, (plain, tls, controller) = Authority.made("the right authority"), (free_port() for _ in range(3))
    server = authority.write_server(folder / "kafka-server.pem")
    sealed = f"127.0.0.1:{tls}", authority.write(folder / "kafka-authority.pem")
    _sealed(folder).write_text(json.dumps(sealed), encoding="utf-8")
    clients = f"PLAINTEXT://127.0.0.1:{plain},TLS://127.0.0.1:{tls}"
    properties = {
        "listeners": f"{clients},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": clients,
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TLS:SSL",
        "listener.name.tls.ssl.keystore.type": "PEM",
        "listener.name.tls.ssl.keystore.location": str(server),
        "group.min.session.timeout.ms": "1000",
    }
    return {"port": plain, "properties": properties}


def _sealed(folder: Path) -> Path:
    return folder / "kafka-sealed.json"


def _is_last(user: int) -> bool:
    """Whether nobody else holds the lock of those who use the broker."""
    try:
        fcntl.flock(user, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[RunningBroker]:
    """A real broker."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    broker = LocalBroker(root / "kafka")
    # Whoever uses the broker holds a shared lock, and whoever can have it alone at the end was the last. Who started
    # the broker waits for that, for it is a child of this process.
    with _locked(root / "kafka-users.lock", fcntl.LOCK_SH) as user:
        with _locked(root / "kafka-start.lock", fcntl.LOCK_EX):
            is_ours = broker.running() is None
            running = _start(broker, free_port)
        yield running
        deadline = time.monotonic() + (_LONGEST_SESSION_SECONDS if is_ours else 0.0)
        while not _is_last(user) and time.monotonic() < deadline:
            threading.Event().wait(0.1)
        with _locked(root / "kafka-start.lock", fcntl.LOCK_EX):
            if is_ours or _is_last(user):
                broker.stop()


@pytest.fixture(scope="session")
def sealed(broker: RunningBroker) -> tuple[str, str]:
    """Where the same broker speaks TLS, and the file of the authority that its certificate is of."""
    address, authority = json.loads(_sealed(broker.log.parent.parent).read_text(encoding="utf-8"))
    return address, authority


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


@pytest.fixture(scope="session")
def scoring_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with `california` 1.0.0, its champion, in the cache too."""
    return train_california(tmp_path_factory.mktemp("scoring"), rows=300, iterations=20)


@pytest.fixture(scope="session")
def shelf(scoring_home: Path) -> Shelf:
    """The model, in memory."""
    shelf = Shelf(RegistrySource(build_registry(Settings(home=scoring_home))))
    assert not shelf.open()
    return shelf


@pytest.fixture(scope="session")
def row() -> dict[str, float]:
    """A home that the model values without a warning."""
    return HOME


class Worker:
    """A worker in a thread of the test."""

    def __init__(self, open_session: Callable[[], Session], role: str, tally: Tally, stall_seconds: float) -> None:
        self.tally = tally
        self.pulse = Pulse()
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._supervisor = Supervisor(open_session, self.stop, tally, self.pulse, stall_seconds)
        self._thread = threading.Thread(target=self._run, name=role)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._supervisor.run()
        except BaseException as error:  # noqa: BLE001  for the test to see
            self.error = error

    def end(self, seconds: float = 60.0) -> None:
        self.stop.set()
        self._thread.join(seconds)
        assert not self._thread.is_alive()

    def join(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()


@pytest.fixture
def work() -> Iterator[Callable[..., Worker]]:
    """Starts workers, and ends them with the test."""
    with ExitStack() as stack:

        def start(open_session: Callable[[], Session], tally: Tally, *, stall_seconds: float = 30.0) -> Worker:
            worker = Worker(open_session, tally.role, tally, stall_seconds)
            stack.callback(worker.end)
            return worker

        yield start


def read_all(kafka: KafkaConfig, *topics: str, committed: bool = True) -> list[Message]:
    """Every message of topics, to their ends."""
    isolation = "read_committed" if committed else "read_uncommitted"
    consumer = kafka.consumer(f"read-{uuid.uuid4()}", {"isolation.level": isolation, "enable.partition.eof": True})
    # The end of a transaction reaches its partitions a little after whoever ended it is told so.
    waiting = {(topic.name, one.partition): one.end for topic in list_topics(kafka, topics) for one in topic.partitions}
    consumer.assign([TopicPartition(topic, number, 0) for topic, number in waiting])
    messages: list[Message] = []
    deadline = time.monotonic() + 60
    while waiting:
        assert time.monotonic() < deadline
        for message in consumer.consume(1000, 0.1):
            error, place = message.error(), (message.topic(), message.partition())
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF and message.offset() >= waiting.get(place, 0):
                waiting.pop(place, None)
    consumer.close()
    return messages


@pytest.fixture(scope="session")
def read(kafka: KafkaConfig) -> Callable[..., list[Message]]:
    """Reads every message of topics, those that were committed unless told otherwise."""
    return partial(read_all, kafka)


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Waits until something holds."""
    return until
