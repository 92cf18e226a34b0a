"""Lag: messages that a consumer group has not yet dealt with."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from appraise.serving.streaming.clients import KafkaConfig, translated
from appraise.serving.streaming.topics import list_topics
from appraise.serving.streaming.viewing import view

_PAUSE_SECONDS = 0.1
#: What a coordinator says that has just moved or begun, and will not say for long.
PASSING = ("NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS", "_WAIT_COORD")
#: Offsets that may all be markers of transactions, which nobody reads: below this many it is worth a look.
_FEW = 16
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a group is in one partition.

    Attributes:
        group, topic, partition: whose, and where.
        committed: the offset that it reads next; None where it has committed none.
        end: the offset that the next message gets.
        lag: messages that wait.
    """

    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return asdict(self)


def lag_of(config: KafkaConfig, groups: Iterable[tuple[str, str]]) -> tuple[Lag, ...]:
    """The lag of groups, partition by partition.

    Args:
        config: the cluster.
        groups: each group with the topic that it reads.

    Raises:
        UnknownTopicError: a topic is not there.
        StreamError: the cluster refuses.
    """
    found = []
    for group, name in groups:
        (topic,) = list_topics(config, [name])
        committed = committed_offsets(config, group, name, [one.partition for one in topic.partitions])
        for one in topic.partitions:
            offset = committed.get(one.partition)
            begin = one.beginning if offset is None else max(offset, one.beginning)
            waiting = _waiting(config, name, one.partition, begin, one.end)
            found.append(Lag(group, name, one.partition, offset, one.end, waiting))
    return tuple(found)


def committed_offsets(config: KafkaConfig, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """The offset that a group reads next, of each partition where it has committed one.

    It is asked by a consumer that never joins: `AdminClient.list_consumer_group_offsets` ends the process where the
    group's coordinator has moved, as after the death of a broker (confluentinc/librdkafka#5040).

    Args:
        config: the cluster.
        group, topic, partitions: whose, and where.

    Raises:
        StreamError: the cluster refuses, or does not tell in time.
    """
    from confluent_kafka import KafkaException, TopicPartition

    places = [TopicPartition(topic, partition) for partition in partitions]
    # What a transaction has not committed yet does not count, and is not waited for.
    consumer = config.consumer(group, {"isolation.level": "read_uncommitted"})
    deadline = time.monotonic() + config.seconds
    try:
        while True:
            left = max(_PAUSE_SECONDS, deadline - time.monotonic())
            try:
                told = consumer.committed(places, timeout=left)
                refused = next((place.error for place in told if place.error is not None), None)
            except KafkaException as error:
                refused = error.args[0]
            if refused is None:
                return {place.partition: place.offset for place in told if place.offset >= 0}
            if refused.name() not in PASSING or time.monotonic() + _PAUSE_SECONDS > deadline:
                raise translated(refused, config, f"the offsets of {group} cannot be read")
            time.sleep(_PAUSE_SECONDS)
    finally:
        consumer.close()


def _waiting(config: KafkaConfig, topic: str, partition: int, begin: int, end: int) -> int:
    """Messages between two offsets; few offsets are looked at, for markers of transactions are not messages."""
    if not 0 < end - begin <= _FEW:
        return max(0, end - begin)
    started = time.monotonic()
    count = 0
    for _ in view(config, topic, partition=partition, start=begin, idle_seconds=_LOOK_SECONDS, to_end=True):
        count += 1
        if time.monotonic() - started > _LOOK_SECONDS:
            return end - begin
    return count
