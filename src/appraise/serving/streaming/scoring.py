"""`ScoringSession`: from requests to predictions, exactly once, for as long as one pair of clients lives.

One turn:

    1  take what is waiting, up to a few thousand messages
    2  check and value them in one call, in a thread: no transaction is open for as long as that takes
    3  see that the log has the predictions on the disk
    4  make sure that the partitions of the batch before are still this worker's
    5  begin a transaction, produce its predictions and dead letters
    6  send the offsets in the same transaction
    7  commit

While the log or the broker is waited for, the next batches are valued. Whatever goes wrong between 3 and 7, what was
taken and not committed is dropped, and every partition is read again from what is committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from appraise.errors import LogError, UnknownTopicError
from appraise.logs import get_logger
from appraise.serving.streaming.calling import Calls, close_client
from appraise.serving.streaming.failures import AbortedError
from appraise.serving.streaming.reading import Batch, Reader, StaleBatchError
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.transactions import Output, Transaction

if TYPE_CHECKING:
    from confluent_kafka import Message, Producer

_log = get_logger(__name__)

#: Batches that are valued while another is being committed.
_AHEAD = 2
#: Seconds that the log may take to have a batch on the disk.
_LOG_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What a batch came to.

    Attributes:
        outputs: predictions and dead letters, in the order of their requests.
        dead_letters: how many of them are dead letters.
        created_ms: when each request was produced.
    """

    outputs: Sequence[Output]
    dead_letters: int
    created_ms: Sequence[int]


class Answering(Protocol):
    """Values messages."""

    def answer(self, messages: Sequence[Message]) -> Answers:
        """The predictions and dead letters of a batch, its predictions handed to the log."""

    def settle(self, seconds: float) -> None:
        """Wait until the log has every prediction that was handed to it; raises LogError where it has not."""

    def too_large(self, answers: Answers) -> None:
        """Learn that the broker takes no dead letter as large as the largest of these."""


class _Pending(NamedTuple):
    batch: Batch
    answers: Future[Answers]


class ScoringSession:
    """A worker's life between two makings of its clients.

    Args:
        reader: the requests.
        producer: a transactional producer whose transactions were initialised.
        calls: makes the calls that wait for the broker.
        answering: values them.
        tally: what is counted.
        most: messages of one transaction.
        wait_seconds: how long to wait for the first message.
        transaction_seconds: the deadline of one transaction.
    """

    def __init__(
        self,
        reader: Reader,
        producer: Producer,
        calls: Calls,
        answering: Answering,
        tally: Tally,
        *,
        most: int,
        wait_seconds: float,
        transaction_seconds: float,
        begin: Callable[..., Transaction] = Transaction,
    ) -> None:
        self._reader = reader
        self._producer = producer
        self._calls = calls
        self._answering = answering
        self._tally = tally
        self._most = most
        self._wait_seconds = wait_seconds
        self._transaction_seconds = transaction_seconds
        self._begin = begin
        self._pending: deque[_Pending] = deque()
        self._threads = ThreadPoolExecutor(_AHEAD, thread_name_prefix="value")

    @property
    def trouble(self) -> str | None:
        """Nothing that would be waited for here."""
        return None

    def turn(self) -> bool:
        """Do what there is to do; says whether something was committed.

        Raises:
            ClientsLostError: new clients are needed.
            UnknownTopicError: a topic, or a partition of it, is gone.
            AbortedError: the transaction was aborted, and its input will be read again.
            LogError: the log cannot take the predictions, and their requests will be read again.
        """
        if not self._pending or self._behind():
            batch = self._reader.take(self._most, 0.0 if self._pending else self._wait_seconds)
            if batch is not None:
                self._pending.append(_Pending(batch, self._threads.submit(self._answering.answer, batch.messages)))
                if self._behind():
                    return False
        if not self._pending:
            return False
        pending = self._pending.popleft()
        try:
            self._publish(pending)
        except StaleBatchError:
            self._drop(pending)
            return False
        except (AbortedError, LogError):
            self._drop(pending)
            raise
        return True

    def finish(self) -> None:
        """Commit what was taken; raises as `turn` does."""
        try:
            while self._pending:
                self._publish(self._pending.popleft())
        except StaleBatchError:
            _log.info("the last messages belong to another worker by now")

    def close(self) -> None:
        """Leave the group, and drop what is not committed."""
        self._threads.shutdown(cancel_futures=True)
        # In threads of their own: a producer that hangs must not keep the consumer, and its partitions, in the group.
        close_client("leave the group", self._reader.close)
        if not self._calls.lost:
            close_client("drop what is not sent", self._producer.purge)
        self._calls.close()

    def _behind(self) -> bool:
        """Whether another batch is to be taken before the oldest is published: messages came by the thousand."""
        return 0 < len(self._pending) <= _AHEAD and 2 * len(self._pending[-1].batch.messages) > self._most

    def _publish(self, pending: _Pending) -> None:
        answers = pending.answers.result()
        self._answering.settle(_LOG_SECONDS)
        group = self._reader.group_metadata(pending.batch)
        transaction = self._begin(self._producer, seconds=self._transaction_seconds, calls=self._calls)
        try:
            transaction.produce(answers.outputs)
            transaction.send_offsets(self._reader.offsets(pending.batch), group)
            transaction.commit()
        except AbortedError as aborted:
            self._learn(aborted, answers)
            raise
        dead = answers.dead_letters
        self._tally.committed((("predicted", len(answers.outputs) - dead), ("dead_letter", dead)), answers.created_ms)

    def _learn(self, aborted: AbortedError, answers: Answers) -> None:
        from confluent_kafka import KafkaError

        code = aborted.error.code()
        if code == KafkaError.MSG_SIZE_TOO_LARGE:
            self._answering.too_large(answers)
        if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
            raise UnknownTopicError(
                f"a topic of the answers is gone: {aborted.error.str()}", hint="make it: appraise stream topics create"
            ) from aborted

    def _drop(self, pending: _Pending) -> None:
        """Read again what was taken and not committed."""
        self._tally.aborted()
        for one in (pending, *self._pending):
            one.answers.cancel()
        self._pending.clear()
        self._reader.rewind()

    def lag(self, *, ask: bool = False) -> int:
        """Messages that wait in its partitions."""
        return self._reader.lag(ask=ask)

    def partitions(self) -> tuple[int, ...]:
        """The partitions that it has."""
        return self._reader.partitions
