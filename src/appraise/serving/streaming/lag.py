"""Lag: messages that a consumer group has not yet dealt with."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from appraise.serving.streaming.clients import KafkaConfig, translated
from appraise.serving.streaming.topics import list_topics
from appraise.serving.streaming.viewing import view

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
    from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

    admin = config.admin()
    found = []
    for group, name in groups:
        (topic,) = list_topics(config, [name])
        places = [TopicPartition(name, one.partition) for one in topic.partitions]
        futures = admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, places)], request_timeout=config.seconds
        )
        try:
            committed = {one.partition: one.offset for one in futures[group].result().topic_partitions}
        except KafkaException as error:
            raise translated(error, config, f"the offsets of {group} cannot be read") from error
        for one in topic.partitions:
            offset = committed.get(one.partition, -1)
            begin = offset if offset >= 0 else one.beginning
            waiting = _waiting(config, name, one.partition, max(begin, one.beginning), one.end)
            found.append(Lag(group, name, one.partition, offset if offset >= 0 else None, one.end, waiting))
    return tuple(found)


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
