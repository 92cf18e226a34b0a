"""`IngestingSession`: feature events into the database, each once, for as long as one consumer lives.

One turn:

    1  take what is waiting
    2  check each event; what is refused becomes a dead letter, and is in Kafka before anything else happens
    3  begin a transaction of the database, write the events
    4  move the offset of each partition on in it, from where this worker believes it to be
    5  commit; then tell Kafka, for whoever looks at the lag

A batch is checked while the one before is written.

Where a partition was moved on by another worker, 4 fails, and nothing of the batch stands. Kafka's own offsets are a
hint, and never read. Dead letters are the one thing that may be there twice: after a crash between 2 and 5.

While the database is away the partitions are paused and polling goes on, so that the group does not lose its member.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from appraise.errors import MessageError, Problem, StoreError, StoreUnavailableError
from appraise.logs import get_logger
from appraise.serving.streaming.calling import close_client
from appraise.serving.streaming.deadletters import Header, dead_letter_headers, left_out
from appraise.serving.streaming.failures import ClientsLostError
from appraise.serving.streaming.messages import decode_event, refused
from appraise.serving.streaming.reading import Batch, Reader, place_of
from appraise.serving.streaming.tally import Tally
from appraise.store.database import Database
from appraise.store.features import FeatureEvent, FeatureRows, pack_features
from appraise.store.ingestion import ingest_features, next_offsets

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, Producer

_log = get_logger(__name__)

#: Seconds that dead letters may take to be acknowledged.
_FLUSH_SECONDS = 15.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
#: An event may be about a time to come, but not from a clock that is years ahead, or from before there were sales.
_LATEST_AHEAD = dt.timedelta(days=366)
_EARLIEST = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)

#: What is wrong with an event beyond its form, at a moment: a phrase for a field, or None.
EventCheck = Callable[[FeatureEvent, dt.datetime], Problem | None]


@dataclass(slots=True)
class FeatureSink:
    """The table of features, and how far each partition has been written into it.

    Attributes:
        database: where.
        group, topic: who reads what.
    """

    database: Database
    group: str
    topic: str
    _expected: dict[int, int | None] = field(default_factory=dict)

    def positions(self, partitions: Sequence[int]) -> dict[int, int]:
        """Where to go on, of the partitions of which something was written.

        Raises:
            StoreUnavailableError: the database is away.
            StoreError: it refuses.
        """
        with self.database.connect() as connection:
            found = next_offsets(connection, self.group, self.topic)
        self._expected.update({number: found.get(number) for number in partitions})
        return {number: found[number] for number in partitions if number in found}

    def expected(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """Where the database is, of these partitions, as far as this worker knows."""
        return {number: self._expected.get(number) for number in partitions}

    def write(self, rows: FeatureRows, following: dict[int, int], expected: dict[int, int | None]) -> None:
        """Write rows and the next offset of each partition, all or nothing.

        Args:
            rows: of a batch.
            following: the next offset of each of its partitions.
            expected: where the database was when the batch was read; asked for before it is written beside other work,
                for a partition that comes back meanwhile is elsewhere.

        Raises:
            StoreUnavailableError: the database is away.
            StoreError: it refuses, or another worker has moved a partition on.
        """
        with self.database.connect() as connection:
            ingest_features(connection, rows, self.group, self.topic, expected=expected, following=following)
        self._expected.update(following)


class _Checked(NamedTuple):
    """A batch whose dead letters are in Kafka, ready to be written."""

    batch: Batch
    rows: FeatureRows
    stored: int
    dead_letters: int
    created_ms: list[int]


class IngestingSession:
    """A worker's life between two makings of its clients.

    Args:
        reader: the events, placed by the sink.
        consumer: its client.
        producer: sends dead letters.
        sink: where events go.
        dead_letters: the topic of what is refused.
        check: what else is asked of an event.
        tally: what is counted.
        most: events of one transaction.
        wait_seconds: how long to wait for the first event.
    """

    def __init__(
        self,
        reader: Reader,
        consumer: Consumer,
        producer: Producer,
        sink: FeatureSink,
        tally: Tally,
        *,
        dead_letters: str,
        check: EventCheck,
        most: int,
        wait_seconds: float,
    ) -> None:
        self._reader = reader
        self._consumer = consumer
        self._producer = producer
        self._sink = sink
        self._tally = tally
        self._dead_letters = dead_letters
        self._check = check
        self._most = most
        self._wait_seconds = wait_seconds
        self._trouble: str | None = None
        self._attempts = 0
        self._again = 0.0
        self._failed: list[tuple[Message, list[Header], KafkaError]] = []
        self._writing: tuple[_Checked, Future[None]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write")

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written now, None where it can."""
        return self._trouble

    def turn(self) -> bool:
        """Do what there is to do; says whether something was committed.

        Raises:
            ClientsLostError: new clients are needed.
            UnknownTopicError: the topic is gone.
            StoreError: the database refuses; what was taken is read again.
        """
        if self._trouble is not None or self._reader.displaced:
            self._find_place()
            return False
        batch = self._reader.take(self._most, 0.0 if self._writing else self._wait_seconds)
        # The batch before is being written meanwhile.
        checked = None if batch is None else self._checked(batch)
        done = self._settle()
        if checked is None or self._reader.displaced:
            return done
        if checked.batch.epoch != self._reader.epoch:
            # Some of it may be another worker's by now; what is still ours is read again.
            self._reader.displaced = True
            return done
        following = checked.batch.next_offsets()
        expected = self._sink.expected(following)
        self._writing = checked, self._thread.submit(self._sink.write, checked.rows, following, expected)
        return done

    def finish(self) -> None:
        """Commit what was taken."""
        self._settle()

    def close(self) -> None:
        """Leave the group."""
        self._thread.shutdown()
        close_client("leave the group", self._reader.close)

    def lag(self, *, ask: bool = False) -> int:
        """Messages that wait in its partitions."""
        return self._reader.lag(ask=ask)

    def partitions(self) -> tuple[int, ...]:
        """The partitions that it has."""
        return self._reader.partitions

    def _find_place(self) -> None:
        """Read again from where the database is; while it is away, stay in the group and try again in a while."""
        # Paused partitions give nothing; what was fetched before is read again anyway.
        self._reader.take(self._most, self._wait_seconds if self._trouble else 0.0)
        if time.monotonic() < self._again:
            return
        try:
            self._reader.rewind()
        except StoreUnavailableError as error:
            self._hold(error)
            return
        if self._trouble is not None:
            _log.info("the database is back", attempts=self._attempts)
            self._trouble, self._attempts, self._again = None, 0, 0.0
            self._reader.resume()

    def _settle(self) -> bool:
        """Wait for the batch that is being written; says whether there was one, and it stands."""
        writing, self._writing = self._writing, None
        if writing is None:
            return False
        checked, future = writing
        try:
            future.result()
        except StoreUnavailableError as error:
            self._reader.displaced = True
            self._hold(error)
            return False
        except StoreError:
            self._reader.displaced = True
            raise
        self._tally.committed((("stored", checked.stored), ("dead_letter", checked.dead_letters)), checked.created_ms)
        self._tell_kafka(checked.batch)
        return True

    def _hold(self, error: StoreUnavailableError) -> None:
        """Pause, and note when to try again."""
        if self._trouble is None:
            _log.warning("the database is away, partitions are paused", reason=error.message)
            self._reader.pause()
        self._trouble = error.message
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 20)
        self._again = time.monotonic() + pause

    def _tell_kafka(self, batch: Batch) -> None:
        from confluent_kafka import KafkaException

        try:
            self._consumer.commit(offsets=self._reader.offsets(batch), asynchronous=True)
        except KafkaException as error:
            _log.debug("Kafka was not told of the offsets", reason=error.args[0].str())

    def _checked(self, batch: Batch) -> _Checked:
        events: list[FeatureEvent] = []
        dead, now = 0, dt.datetime.now(tz=dt.UTC)
        for message in batch.messages:
            try:
                event = decode_event(message.value())
                problem = self._check(event, now)
                if problem is not None:
                    raise refused([problem])
            except MessageError as error:
                self._refuse(message, error)
                dead += 1
            else:
                events.append(event)
        if dead:
            self._flush()
        created_ms = [message.timestamp()[1] for message in batch.messages]
        return _Checked(batch, pack_features(events), len(events), dead, created_ms)

    def _refuse(self, message: Message, error: MessageError) -> None:
        headers: list[Header] = dead_letter_headers(message, error, stage="check")
        self._send(message, message.value(), headers)

    def _send(self, message: Message, value: bytes | None, headers: list[Header]) -> None:
        def heard(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._failed.append((message, headers, error))

        key, partition = message.key(), place_of(message)[1]
        while True:
            try:
                self._producer.produce(self._dead_letters, value, key, partition, on_delivery=heard, headers=[*headers])
            except BufferError:
                self._flush()
            else:
                return

    def _flush(self) -> None:
        """Wait until every dead letter is acknowledged; one that is too large for the topic goes without its value."""
        from confluent_kafka import KafkaError as Code

        while True:
            left = self._producer.flush(_FLUSH_SECONDS)
            if left:
                raise ClientsLostError(f"{left} dead letters were not acknowledged within {_FLUSH_SECONDS:g} s")
            failed, self._failed = self._failed, []
            if not failed:
                return
            for message, headers, error in failed:
                if error.code() != Code.MSG_SIZE_TOO_LARGE:
                    raise ClientsLostError(f"a dead letter was not taken: {error.str()}", error)
                size = len(message.value() or b"")
                self._send(message, None, [*headers, left_out(size)])


def check_event_time(event: FeatureEvent, now: dt.datetime) -> Problem | None:
    """What is wrong with the time of an event, at a moment."""
    if event.timestamp < _EARLIEST:
        return Problem(0, "timestamp", f"must not lie before {_EARLIEST:%Y}", event.timestamp.isoformat())
    if event.timestamp > now + _LATEST_AHEAD:
        return Problem(0, "timestamp", "must not lie more than a year ahead", event.timestamp.isoformat())
    return None
