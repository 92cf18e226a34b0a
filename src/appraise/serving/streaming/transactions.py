"""One transaction of Kafka within one deadline, and each error in its way.

    retriable             the same call again, until the deadline
    requires an abort     abort, then `AbortedError`: nothing of it will be read, and its input is to be read again
    fatal                 `ClientsLostError`: another worker has taken over, or the producer is broken
    anything else, or the deadline passed
                          `ClientsLostError`: whether it was committed only new clients can find out

An outcome that is not known is never followed by another transaction of the same producer: an end that is delayed on
its way could tear the next one (brokers before KIP-890).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from appraise.serving.streaming.calling import Calls
from appraise.serving.streaming.failures import AbortedError, ClientsLostError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer, TopicPartition

#: Seconds to wait before a call is made again, and for room in a producer's queue.
_PAUSE_SECONDS = 0.02
#: Least seconds that an abort is given, however late it is.
_ABORT_SECONDS = 10.0


class Output(NamedTuple):
    """A message to produce.

    Attributes:
        topic, partition: where.
        key, value: as bytes.
        headers: None where there are none.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] | None


class Transaction:
    """One transaction, which begins at once and ends with `commit` or `abort`.

    Args:
        producer: a producer whose transactions were initialised, with none open.
        seconds: the deadline of the whole transaction.
        calls: makes the calls that wait for the broker; one of its own where None.

    Raises:
        ClientsLostError: from every method.
        AbortedError: from every method but `abort`.
    """

    def __init__(self, producer: Producer, *, seconds: float, calls: Calls | None = None) -> None:
        self._producer = producer
        self._calls = calls or Calls()
        self._ends = time.monotonic() + seconds
        self._call("begin", lambda _: producer.begin_transaction())

    def produce(self, outputs: Iterable[Output]) -> None:
        """Add messages."""
        produce, refused = self._producer.produce, _kafka_exception()
        for topic, partition, key, value, headers in outputs:
            while True:
                try:
                    if headers:
                        produce(topic, value, key, partition, headers=list(headers))
                    else:
                        produce(topic, value, key, partition)
                except BufferError:
                    self._await_room()
                except refused as error:
                    self._settle("produce", error.args[0])
                else:
                    break

    def send_offsets(self, offsets: Sequence[TopicPartition], group: Any) -> None:
        """Add where the input is to be read from next.

        Args:
            offsets: next offset of each partition.
            group: the consumer's membership of its group as it was when it read them.
        """
        sent = list(offsets)
        self._call("send offsets", lambda left: self._producer.send_offsets_to_transaction(sent, group, left))

    def commit(self) -> None:
        """Make all of it readable."""
        self._call("commit", self._producer.commit_transaction)

    def abort(self) -> None:
        """Make none of it readable."""
        self._ends = max(self._ends, time.monotonic() + _ABORT_SECONDS)
        self._call("abort", self._producer.abort_transaction, aborting=True)

    def _call(self, step: str, function: Callable[[float], object], *, aborting: bool = False) -> None:
        while True:
            left = self._ends - time.monotonic()
            if left <= 0:
                raise ClientsLostError(f"the transaction's deadline passed before {step} had an outcome")
            try:
                self._calls.call(step, partial(function, left), left)
            except _kafka_exception() as error:
                self._settle(step, error.args[0], aborting=aborting)
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _await_room(self) -> None:
        if time.monotonic() > self._ends:
            raise ClientsLostError("the producer's queue stayed full until the transaction's deadline")
        self._producer.poll(_PAUSE_SECONDS)

    def _settle(self, step: str, error: KafkaError, *, aborting: bool = False) -> None:
        """Return where the call is to be made again."""
        if error.fatal():
            raise ClientsLostError(f"{step}: {error.str()}", error)
        if error.retriable():
            return
        if error.txn_requires_abort() and not aborting:
            self.abort()
            raise AbortedError(error)
        raise ClientsLostError(f"{step}: {error.str()}", error)


def _kafka_exception() -> type[Exception]:
    from confluent_kafka import KafkaException

    return KafkaException
