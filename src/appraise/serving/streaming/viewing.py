"""Messages watched as they arrive: what was committed, by nobody's group."""

from __future__ import annotations

import base64
import datetime as dt
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from appraise.errors import StreamError, UnknownTopicError
from appraise.serving.streaming.clients import KafkaConfig, metadata_of, translated
from appraise.serving.streaming.deadletters import Header, headers_of
from appraise.serving.streaming.topics import Partition, Topic, list_topics

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

#: Where to begin: the oldest message, what comes next, or an offset.
Start = Literal["beginning", "end"] | int

_POLL_SECONDS = 0.25
#: Seconds without a message after which to see whether the topic is still there.
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that was read.

    Attributes:
        topic, partition, offset: its place.
        timestamp: when it was produced, UTC; None where it does not say.
        key, value: its bytes.
        headers: in their order.
    """

    topic: str
    partition: int
    offset: int
    timestamp: dt.datetime | None
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    def to_dict(self) -> dict[str, object]:
        """The same as JSON; what is not UTF-8 is in base 64."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": None if self.timestamp is None else self.timestamp.isoformat(timespec="milliseconds"),
            **_readable("key", self.key),
            **_readable("value", self.value),
            "headers": [{"name": name, **_readable("value", value)} for name, value in self.headers],
        }


def view(
    config: KafkaConfig,
    topic: str,
    *,
    partition: int | None = None,
    start: Start = "beginning",
    count: int | None = None,
    idle_seconds: float | None = None,
    to_end: bool = False,
) -> Generator[Seen, None, None]:
    """Read a topic, and go on as messages arrive. While no broker answers it waits, but not where it is to end.

    Args:
        config: the cluster.
        topic: which.
        partition: one of its partitions; all where None.
        start: where to begin.
        count: messages after which to end.
        idle_seconds: time without a message after which to end.
        to_end: end at what was there when this began.

    Raises:
        UnknownTopicError: there is no such topic or partition, or it was deleted meanwhile.
        BrokerUnavailableError: no broker answers, at the beginning or before the end that it is to read to.
        StreamError: there is no such offset, or the cluster refuses.
    """
    from confluent_kafka import TopicPartition

    (found,) = list_topics(config, [topic])
    places = {one.partition: (one, _first_offset(found, one, start)) for one in _chosen(found, partition)}
    ends = {number: one.end for number, (one, first) in places.items() if first < one.end}
    if to_end and not ends:
        return
    # The group is named because the client asks for it; nothing is joined and nothing committed.
    options: dict[str, object] = {"enable.partition.eof": to_end, "auto.offset.reset": "error"}
    if to_end:
        # Behind the last message there may be a marker, and the broker waits for more before it says that this is all.
        options["fetch.wait.max.ms"] = 10
    consumer = config.consumer("appraise-view", options)
    try:
        consumer.assign([TopicPartition(topic, number, first) for number, (_, first) in places.items()])
        left = count
        for message in _messages(config, consumer, topic, ends if to_end else None, idle_seconds):
            yield _seen(message)
            left = None if left is None else left - 1
            if left == 0:
                return
    finally:
        consumer.close()


def _messages(
    config: KafkaConfig,
    consumer: Consumer,
    topic: str,
    ends: dict[int, int] | None,
    idle_seconds: float | None,
) -> Iterator[Message]:
    """Messages as they come; up to `ends` by partition where these are given."""
    last = looked = time.monotonic()
    while ends is None or ends:
        message = consumer.poll(_POLL_SECONDS)
        now = time.monotonic()
        if message is None:
            if idle_seconds is not None and now - last >= idle_seconds:
                return
            if now - max(last, looked) >= _LOOK_SECONDS:
                _look(config, topic, patient=ends is None)
                looked = now
            continue
        error = message.error()
        if error is not None and error.name() != "_PARTITION_EOF":
            if error.name() in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC"):
                raise _deleted(topic)
            raise translated(error, config, f"{topic} cannot be read")
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        if error is None:
            last = now
            if ends is None or partition in ends:
                yield message
            offset += 1
        if ends is not None and offset >= ends.get(partition, 0):
            ends.pop(partition, None)


def _look(config: KafkaConfig, topic: str, *, patient: bool) -> None:
    """See that the topic is still there; for a broker that is away who follows a topic waits, and nobody else."""
    try:
        present = metadata_of(config, config.admin()).topics
    except StreamError:
        if patient:
            return
        raise
    if topic not in present:
        raise _deleted(topic)


def _deleted(topic: str) -> UnknownTopicError:
    return UnknownTopicError(f"{topic} was deleted while it was read")


def _chosen(topic: Topic, partition: int | None) -> tuple[Partition, ...]:
    if partition is None:
        return topic.partitions
    chosen = tuple(one for one in topic.partitions if one.partition == partition)
    if not chosen:
        raise UnknownTopicError(
            f"{topic.name} has no partition {partition}", hint=f"its partitions are 0 to {len(topic.partitions) - 1}"
        )
    return chosen


def _first_offset(topic: Topic, partition: Partition, start: Start) -> int:
    if start == "beginning":
        return partition.beginning
    if start == "end":
        return partition.end
    if not partition.beginning <= start <= partition.end:
        raise StreamError(
            f"partition {partition.partition} of {topic.name} has no offset {start}",
            hint=f"its offsets are {partition.beginning} to {partition.end}, the last being the next one",
        )
    return start


def _seen(message: Message) -> Seen:
    kind, milliseconds = message.timestamp()
    moment = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC) if kind and milliseconds >= 0 else None
    return Seen(
        topic=str(message.topic()),
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        timestamp=moment,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=tuple(headers_of(message)),
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _readable(name: str, value: bytes | None) -> dict[str, Any]:
    """Bytes as the JSON that they hold, or else as text, or else in base 64."""
    if value is None:
        return {name: None}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
    if text[:1] in ("{", "["):
        try:
            return {name: msgspec.json.decode(text)}
        except (msgspec.DecodeError, RecursionError):
            return {name: text}
    return {name: text}
