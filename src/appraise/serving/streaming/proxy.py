"""`TopicPublisher`: messages of HTTP requests, sent by one producer for all of them.

The producer, and the thread that hears what became of its messages, begin with the first request. What is on its way is
bounded in messages and bytes, and each message has a deadline: a broker that is away costs an answer, not memory.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from appraise.errors import BrokerUnavailableError, ForbiddenTopicError, UnknownPartitionError
from appraise.logs import get_logger
from appraise.serving.batching import Overloaded
from appraise.serving.publishing import NotPublished, Published, Record
from appraise.serving.streaming.clients import KafkaConfig, metadata_of, reason_of
from appraise.serving.streaming.topics import unknown_topic

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

_log = get_logger(__name__)

_POLL_SECONDS = 0.2
#: Seconds for which the topics and their partitions are taken as known.
_KNOWN_SECONDS = 30.0
#: Seconds between questions for a topic that is not there.
_ASK_SECONDS = 1.0
#: Seconds beyond a message's own deadline after which its outcome is given up.
_GRACE_SECONDS = 3.0
#: Seconds that a sign of life may take.
_SIGN_SECONDS = 2.0


@dataclass(slots=True)
class _Client:
    """A producer, the thread that serves it, and what its cluster told.

    Attributes:
        config: the cluster.
        producer: sends.
        closing: ends the thread.
        partitions: how many each topic has.
        asked: when that was told, by the clock of `time.monotonic`.
    """

    config: KafkaConfig
    producer: Producer
    closing: threading.Event = field(default_factory=threading.Event)
    partitions: dict[str, int] = field(default_factory=dict)
    asked: float = -_KNOWN_SECONDS

    def ask(self) -> None:
        """Ask the cluster for its topics."""
        topics = metadata_of(self.config, self.producer).topics
        self.partitions = {name: len(topic.partitions) for name, topic in topics.items()}
        self.asked = time.monotonic()

    def serve(self) -> None:
        """Hear what became of messages, until told to end."""
        while not self.closing.is_set():
            self.producer.poll(_POLL_SECONDS)


class TopicPublisher:
    """Sends messages for one event loop.

    Args:
        find: finds the cluster; raises BrokerUnavailableError where there is none.
        allowed: the topics that clients may write to.
        most_records, most_bytes: what may be on its way at a time.
        seconds: how long a message may take.
    """

    def __init__(
        self,
        find: Callable[[], KafkaConfig],
        allowed: Sequence[str],
        *,
        most_records: int = 10_000,
        most_bytes: int = 64 * 2**20,
        seconds: float = 8.0,
    ) -> None:
        self._find = find
        self._allowed = frozenset(allowed)
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._records = self._bytes = 0
        self._client: _Client | None = None
        self._asking = threading.Lock()

    async def publish(self, topic: str, records: Sequence[Record]) -> list[Published | NotPublished]:
        """Send messages; see `Publisher`."""
        size = sum(len(one.key or b"") + len(one.value or b"") for one in records)
        if self._records + len(records) > self._most_records or self._bytes + size > self._most_bytes:
            raise Overloaded
        # Counted from here on: who waits for the cluster's answer is on the way too.
        self._records += len(records)
        self._bytes += size
        try:
            client = await self._client_for(topic)
            partitions = client.partitions[topic]
            for one in records:
                if one.partition is not None and not 0 <= one.partition < partitions:
                    raise UnknownPartitionError(
                        f"{topic} has no partition {one.partition}", hint=f"its partitions are 0 to {partitions - 1}"
                    )
            sending = _Sending(asyncio.get_running_loop(), client.config, len(records))
            for position, one in enumerate(records):
                sending.send(client.producer, topic, one, position)
            try:
                async with asyncio.timeout(self._seconds + _GRACE_SECONDS):
                    await sending.done
            except TimeoutError:
                return sending.outcomes()
            return sending.outcomes()
        finally:
            self._records -= len(records)
            self._bytes -= size

    def configured(self) -> bool:
        """Whether there is a cluster to send to."""
        try:
            self._find()
        except BrokerUnavailableError:
            return False
        return True

    def sign_of_life(self) -> str:
        """Ask the cluster; see `Publisher`."""
        config = replace(self._find(), seconds=_SIGN_SECONDS)
        found = metadata_of(config, config.admin())
        return f"{len(found.brokers)} broker{'' if len(found.brokers) == 1 else 's'} at {config.bootstrap_servers}"

    def close(self, seconds: float) -> None:
        """Let go of the cluster; see `Publisher`."""
        client, self._client = self._client, None
        if client is not None:
            client.producer.flush(seconds)
            client.closing.set()

    async def _client_for(self, topic: str) -> _Client:
        """The producer, where it knows the topic."""
        client = self._client
        if client is None or topic not in client.partitions or time.monotonic() - client.asked > _KNOWN_SECONDS:
            client = await asyncio.to_thread(self._asked, topic)
        if topic not in client.partitions:
            raise unknown_topic(topic, client.partitions.keys() & self._allowed)
        if topic not in self._allowed:
            raise ForbiddenTopicError(
                f"{topic} is not written to by clients", hint=f"they may write to {', '.join(sorted(self._allowed))}"
            )
        return client

    def _asked(self, topic: str) -> _Client:
        """The producer, its cluster asked just now; a new one where the cluster is another."""
        with self._asking:
            client, config = self._client, self._find()
            if client is None or client.config.bootstrap_servers != config.bootstrap_servers:
                if client is not None:
                    client.closing.set()
                client = self._opened(config)
            age = time.monotonic() - client.asked
            if age > _KNOWN_SECONDS or (topic not in client.partitions and age > _ASK_SECONDS):
                client.ask()
            self._client = client
            return client

    def _opened(self, config: KafkaConfig) -> _Client:
        producer = config.producer(
            {
                "message.timeout.ms": round(self._seconds * 1000),
                "linger.ms": 2,
                "queue.buffering.max.messages": self._most_records,
                "queue.buffering.max.kbytes": 2 * self._most_bytes // 1024,
            }
        )
        client = _Client(config, producer)
        threading.Thread(target=client.serve, name="topic-publisher", daemon=True).start()
        _log.info("a producer was opened", servers=config.bootstrap_servers)
        return client


class _Sending:
    """The messages of one request, on their way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: KafkaConfig, count: int) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._config = config
        self._found: list[Published | NotPublished | None] = [None] * count
        self._left = count

    def send(self, producer: Producer, topic: str, record: Record, position: int) -> None:
        """Put one into the producer's queue."""
        from confluent_kafka import KafkaException

        def heard(error: KafkaError | None, message: Message) -> None:
            # In the producer's thread.
            if error is None:
                outcome: Published | NotPublished = Published(int(message.partition() or 0), int(message.offset() or 0))
            else:
                outcome = self._refused(error)
            self._loop.call_soon_threadsafe(self._settle, position, outcome)

        place = -1 if record.partition is None else record.partition
        try:
            producer.produce(topic, record.value, record.key, place, on_delivery=heard)
        except BufferError:
            self._settle(position, NotPublished("too much is on its way already", retriable=True))
        except KafkaException as error:
            self._settle(position, self._refused(error.args[0]))

    def outcomes(self) -> list[Published | NotPublished]:
        """What became of each."""
        late = NotPublished("no broker said within the deadline whether it has it", retriable=True)
        return [late if one is None else one for one in self._found]

    def _settle(self, position: int, outcome: Published | NotPublished) -> None:
        if self._found[position] is None:
            self._found[position] = outcome
            self._left -= 1
        if self._left == 0 and not self.done.done():
            self.done.set_result(None)

    def _refused(self, error: KafkaError) -> NotPublished:
        name, reason = reason_of(self._config, error)
        return NotPublished(reason, retriable=error.retriable() or name in ("_MSG_TIMED_OUT", "_TRANSPORT"))
