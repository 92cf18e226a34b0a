"""The input of a worker: a batch at a time, of the partitions that are its own.

What was taken and not committed counts for nothing: whenever the assignment changes in the middle of a batch, or a
transaction was aborted, every partition is sought back to what is committed and read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appraise.errors import StoreError, UnknownTopicError
from appraise.logs import get_logger
from appraise.serving.streaming.failures import ClientsLostError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

_log = get_logger(__name__)

#: Seconds that one question to the broker may take.
_ASK_SECONDS = 10.0
#: Seconds within which a partition that was just assigned can be sought.
_SEEK_SECONDS = 10.0
_PAUSE_SECONDS = 0.05

#: Of the given partitions, the offset to begin at where it is known: what is absent begins where Kafka says.
Positions = Callable[[Sequence[int]], dict[int, int]]


class StaleBatchError(Exception):
    """The batch was of partitions that are another's by now; nothing of it may be written."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Messages that were taken together, in the order of each partition.

    Attributes:
        messages: at least one.
        epoch: the assignment that they were taken under.
    """

    messages: list[Message]
    epoch: int

    def next_offsets(self) -> dict[int, int]:
        """Of each partition in it, the offset after its last message."""
        # The last message of a partition overwrites those before it.
        last = {message.partition(): message for message in self.messages}
        return {partition: offset + 1 for _, partition, offset in map(place_of, last.values())}


class Reader:
    """Reads one topic, as a member of the group or one partition by name.

    Args:
        consumer: its client.
        topic: what is read.
        partition: the one partition; the group shares them out where None.
        positions: where to begin, for workers that keep their offsets elsewhere.

    Attributes:
        displaced: whether partitions were assigned without knowing where to begin: they are paused until `rewind`.
    """

    def __init__(
        self, consumer: Consumer, topic: str, *, partition: int | None = None, positions: Positions | None = None
    ) -> None:
        self._consumer = consumer
        self.topic = topic
        self._managed = partition is None
        self._positions = positions
        self._member: str | None = None
        self._epoch = 0
        # Of each assigned partition the next offset to take, None before the first message.
        self._next: dict[int, int | None] = {}
        # Of each partition that was read to its end, where that was: markers of transactions have offsets too.
        self._ends: dict[int, int] = {}
        self._paused = False
        self.displaced = False
        if partition is None:
            consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        else:
            self._next[partition] = None
            consumer.assign(self._starts([partition]))
            self._hold()

    @property
    def epoch(self) -> int:
        """Changes with the assignment, and whenever partitions are sought."""
        return self._epoch

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions that it has now."""
        return tuple(sorted(self._next))

    @property
    def at_end(self) -> bool:
        """Whether all that was there has been taken."""
        return self._ends.keys() >= self._next.keys()

    def take(self, most: int, seconds: float) -> Batch | None:
        """What is waiting, up to `most` messages; waits `seconds` for the first of them.

        Raises:
            UnknownTopicError: the topic is gone.
            ClientsLostError: the consumer is broken.
        """
        first = self._consumer.poll(seconds)
        if first is None:
            return None
        epoch = self._epoch
        taken = [first, *self._consumer.consume(most - 1, 0)] if most > 1 else [first]
        if epoch != self._epoch:
            # Some of it may be of a partition that was taken away, and given back, in between.
            self.rewind()
            return None
        messages = [message for message in taken if message.error() is None]
        batch = Batch(messages, self._epoch) if messages else None
        if batch is not None:
            for number, offset in batch.next_offsets().items():
                self._next[number] = offset
                self._ends.pop(number, None)
        if len(messages) < len(taken):
            for message in taken:
                error = message.error()
                if error is not None:
                    self._hear(error, message)
        return batch

    def group_metadata(self, batch: Batch) -> Any:
        """The membership under which a batch may be committed.

        Raises:
            StaleBatchError: it ended: a consumer that was thrown out of its group has no member id. The broker would
                refuse its offsets too, but only when all of the batch had been sent.
        """
        metadata = self._consumer.consumer_group_metadata()
        # In this order: a member id that is the same afterwards was the same before.
        if batch.epoch != self._epoch or (self._managed and self._consumer.memberid() != self._member):
            raise StaleBatchError
        return metadata

    def offsets(self, batch: Batch) -> list[TopicPartition]:
        """Where to read on after a batch, for Kafka."""
        from confluent_kafka import TopicPartition

        return [TopicPartition(self.topic, number, offset) for number, offset in batch.next_offsets().items()]

    def rewind(self) -> None:
        """Seek every partition back to what is committed, and to its beginning where nothing is.

        Raises:
            ClientsLostError: it cannot be told what is committed, or sought.
            StoreError: it cannot be told because that is kept in a database which is away, or refuses.
        """
        from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

        self._epoch += 1
        numbers = self.partitions
        if not numbers:
            return
        try:
            committed = self._committed(numbers)
        except KafkaException as error:
            raise ClientsLostError(f"the committed offsets: {error.args[0].str()}", error.args[0]) from error
        for number in numbers:
            offset = committed.get(number, OFFSET_BEGINNING)
            self._seek(TopicPartition(self.topic, number, offset))
            self._next[number] = offset if offset >= 0 else None
        self._ends.clear()
        if self.displaced:
            self.displaced = False
            self.resume()

    def lag(self, *, ask: bool = False) -> int:
        """Messages that wait in its partitions: by what was last fetched, or by what the broker says when asked."""
        from confluent_kafka import KafkaException, TopicPartition

        total = 0
        for number, position in self._next.items():
            place = TopicPartition(self.topic, number)
            try:
                marks = self._consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS / 2, cached=not ask)
            except KafkaException:
                continue
            if marks is not None and marks[1] >= 0:
                total += max(0, marks[1] - max(position or 0, self._ends.get(number, 0), marks[0]))
        return total

    def pause(self) -> None:
        """Take nothing more, and stay in the group."""
        self._paused = True
        self._consumer.pause(self._places())

    def resume(self) -> None:
        """Take again."""
        self._paused = False
        self._consumer.resume(self._places())

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _places(self) -> list[TopicPartition]:
        from confluent_kafka import TopicPartition

        return [TopicPartition(self.topic, number) for number in self.partitions]

    def _committed(self, numbers: Sequence[int]) -> dict[int, int]:
        if self._positions is not None:
            return self._positions(numbers)
        deadline = time.monotonic() + _ASK_SECONDS
        while True:
            found = self._consumer.committed(self._places(), timeout=_ASK_SECONDS)
            refused = next((place.error for place in found if place.error is not None), None)
            if refused is None:
                return {place.partition: place.offset for place in found if place.offset >= 0}
            # As where the transaction of an offset has not ended yet. It is not the same as that none is committed: a
            # partition that was read from its beginning for it would be answered twice.
            if time.monotonic() > deadline:
                raise ClientsLostError(f"the committed offsets: {refused.str()}", refused)
            time.sleep(_PAUSE_SECONDS)

    def _starts(self, numbers: Sequence[int]) -> list[TopicPartition]:
        """Where partitions begin that were just assigned."""
        from confluent_kafka import OFFSET_BEGINNING, OFFSET_STORED, TopicPartition

        if self._positions is None:
            return [TopicPartition(self.topic, number, OFFSET_STORED) for number in numbers]
        try:
            known = self._positions(numbers)
        except StoreError as error:
            _log.warning("it is not known where to begin, partitions are paused", reason=error.message)
            self.displaced = True
            known = {}
        return [TopicPartition(self.topic, number, known.get(number, OFFSET_BEGINNING)) for number in numbers]

    def _hold(self) -> None:
        """Pause partitions that were assigned while everything is paused."""
        if self._paused or self.displaced:
            self._consumer.pause(self._places())

    def _seek(self, place: TopicPartition) -> None:
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + _SEEK_SECONDS
        while True:
            try:
                self._consumer.seek(place)
            except KafkaException as error:
                # A partition that was just assigned cannot be sought until it is being fetched.
                if time.monotonic() > deadline:
                    raise ClientsLostError(f"seek: {error.args[0].str()}", error.args[0]) from error
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _hear(self, error: KafkaError, message: Message) -> None:
        """Deal with what the consumer says beside messages."""
        from confluent_kafka import KafkaError as Code

        if error.code() == Code._PARTITION_EOF:
            _, partition, offset = place_of(message)
            if (self._next.get(partition) or 0) <= offset:
                self._ends[partition] = offset
        elif error.code() in (Code.UNKNOWN_TOPIC_OR_PART, Code._UNKNOWN_TOPIC, Code._UNKNOWN_PARTITION):
            raise UnknownTopicError(
                f"the topic {self.topic} is not there: {error.str()}", hint="make it: appraise stream topics create"
            )
        elif error.fatal() or error.code() == Code.NOT_COORDINATOR:
            # librdkafka asks once where a partition begins. Where the group's coordinator has moved meanwhile, as in a
            # cluster's first seconds, it never reads that partition (confluentinc/librdkafka#5586).
            raise ClientsLostError(error.str(), error)
        else:
            _log.warning("the consumer met an error, and goes on", reason=error.str())

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        numbers = [place.partition for place in places]
        self._epoch += 1
        self._member = consumer.memberid()
        consumer.incremental_assign(self._starts(numbers))
        self._next.update(dict.fromkeys(numbers))
        self._hold()
        if numbers or not self._next:
            # A cooperative rebalance tells the members that gain nothing too, and several times.
            _log.info("partitions assigned", topic=self.topic, partitions=numbers, all=self.partitions)

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        # No transaction is open here: each begins and ends between two calls of `take`, and no other call leads here.
        self._forget(places)
        consumer.incremental_unassign(places)
        _log.info("partitions revoked", topic=self.topic, partitions=[place.partition for place in places])

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._member = None
        self._forget(places)
        consumer.incremental_unassign(places)
        _log.warning("partitions lost", topic=self.topic, partitions=[place.partition for place in places])

    def _forget(self, places: Sequence[TopicPartition]) -> None:
        self._epoch += 1
        for place in places:
            self._next.pop(place.partition, None)
            self._ends.pop(place.partition, None)


def place_of(message: Message) -> tuple[str, int, int]:
    """Topic, partition and offset of a consumed message."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("a message that was not consumed")
    return topic, partition, offset
