"""Messages sent, each with the partition and offset that it got."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appraise.errors import StreamError, UnknownTopicError
from appraise.serving.streaming.clients import KafkaConfig, metadata_of, translated
from appraise.serving.streaming.topics import unknown_topic

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send.

    Attributes:
        value: its bytes.
        key: what it is about; None where it has none.
        partition: where to; by the key, or else any, where None.
    """

    value: bytes
    key: bytes | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the cluster has.

    Attributes:
        partition, offset: its place.
        key: as text, None without one.
    """

    partition: int
    offset: int
    key: str | None


def send(
    config: KafkaConfig,
    topic: str,
    messages: Iterable[Outgoing],
    *,
    delivered: Callable[[Sent], None] = lambda _: None,
) -> list[Sent]:
    """Send messages, and wait until every replica that must have them has them.

    Args:
        config: the cluster.
        topic: where to.
        messages: what.
        delivered: is called for each message that arrived.

    Returns:
        Where they are, in their order.

    Raises:
        UnknownTopicError: there is no such topic, or no such partition in it.
        StreamError: a message is refused or did not arrive in time; the sentence says how many did.
    """
    from confluent_kafka import KafkaException

    producer = config.producer({"message.timeout.ms": round(config.seconds * 1000), "linger.ms": 5})
    # Asked of the producer itself: one that is not connected yet takes a second to begin.
    present = metadata_of(config, producer).topics
    if topic not in present:
        raise unknown_topic(topic, present)
    partitions = len(present[topic].partitions)
    delivery = _Delivery(delivered)
    count = 0
    try:
        for position, message in enumerate(messages):
            if message.partition is not None and not 0 <= message.partition < partitions:
                raise UnknownTopicError(
                    f"{topic} has no partition {message.partition}", hint=f"its partitions are 0 to {partitions - 1}"
                )
            _produce(producer, topic, message, delivery.noting(position))
            count += 1
            if delivery.failed is not None:
                break
    except KafkaException as error:
        what = f"message {count + 1:,} ({len(message.value):,} bytes) was not sent"
        raise translated(error, config, what) from error
    finally:
        _flush(producer.flush, config.seconds)
    if delivery.failed is not None:
        what = f"{len(delivery.places):,} of {count:,} messages arrived"
        raise translated(delivery.failed, config, what)
    if len(delivery.places) < count:
        raise StreamError(
            f"{len(delivery.places):,} of {count:,} messages arrived within {config.seconds:g} s",
            hint="see that the broker runs: appraise kafka status",
        )
    return [delivery.places[position] for position in range(count)]


def _produce(
    producer: Producer, topic: str, message: Outgoing, note: Callable[[KafkaError | None, Message], None]
) -> None:
    """Put a message into the producer's queue, when there is room."""
    place = -1 if message.partition is None else message.partition
    while True:
        try:
            producer.produce(topic, message.value, key=message.key, partition=place, on_delivery=note)
        except BufferError:
            producer.poll(_POLL_SECONDS)
        else:
            producer.poll(0)
            return


class _Delivery:
    """What became of messages."""

    def __init__(self, delivered: Callable[[Sent], None]) -> None:
        self.places: dict[int, Sent] = {}
        self.failed: KafkaError | None = None
        self._delivered = delivered

    def noting(self, position: int) -> Callable[[KafkaError | None, Message], None]:
        def note(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.failed = self.failed or error
                return
            key = message.key()
            text = key.decode("utf-8", "replace") if isinstance(key, bytes) else key
            sent = Sent(int(message.partition() or 0), int(message.offset() or 0), text)
            self.places[position] = sent
            self._delivered(sent)

        return note


def _flush(flush: Callable[[float], int], seconds: float) -> None:
    deadline = time.monotonic() + seconds + 1.0
    while flush(_POLL_SECONDS) > 0 and time.monotonic() < deadline:
        continue
