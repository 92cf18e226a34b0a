"""From settings to sessions: the clients that a worker's life is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from appraise.errors import StreamError, UnknownTopicError
from appraise.serving.streaming.calling import Calls, close_client
from appraise.serving.streaming.clients import KafkaConfig, metadata_of, translated
from appraise.serving.streaming.failures import ClientsLostError
from appraise.serving.streaming.ingesting import EventCheck, FeatureSink, IngestingSession
from appraise.serving.streaming.reading import Reader
from appraise.serving.streaming.scoring import Answering, ScoringSession
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.topics import Topics, unknown_topic
from appraise.serving.streaming.transactions import Transaction

if TYPE_CHECKING:
    from confluent_kafka import Producer

#: The largest message that librdkafka can be told of: what a broker takes, the broker decides.
_LARGEST_MESSAGE = 1_000_000_000
_PAUSE_SECONDS = 0.2
#: Milliseconds between signs of life to the group, as is usual; more often where sessions are short.
_HEARTBEAT_MS = 3000
#: Milliseconds for which answers gather that no commit sends.
_LINGER_MS = 50
#: Seconds that a look at the topics may take.
_LOOK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Batches and deadlines of a worker.

    Attributes:
        batch: most messages of one transaction.
        wait_seconds: how long to wait for a message before looking after other things.
        transaction_seconds: the deadline of one transaction; the broker aborts what is a little older.
        session_seconds: a worker that is silent for so long loses its partitions to others.
        stall_seconds: without progress for so long although messages wait, new clients are made.
    """

    batch: int = 5_000
    wait_seconds: float = 0.2
    transaction_seconds: float = 15.0
    session_seconds: float = 15.0
    stall_seconds: float = 30.0


def check_topics(kafka: KafkaConfig, source: str, targets: Sequence[str], partition: int | None = None) -> None:
    """See that the topics of a worker are there, and that each partition read has its like where answers go.

    Args:
        kafka: the cluster.
        source: what is read.
        targets: where answers and dead letters go.
        partition: the one partition that is read, None for all.

    Raises:
        UnknownTopicError: a topic, or the partition, is not there.
        StreamError: a target has fewer partitions than the source, or the cluster refuses.
    """
    present = metadata_of(kafka, kafka.admin()).topics
    for name in (source, *targets):
        if name not in present or present[name].error is not None:
            raise unknown_topic(name, present)
    count = len(present[source].partitions)
    if partition is not None and not 0 <= partition < count:
        raise UnknownTopicError(f"{source} has no partition {partition}", hint=f"its partitions are 0 to {count - 1}")
    for name in targets:
        found = len(present[name].partitions)
        if found < count:
            raise StreamError(
                f"{name} has {found} partition{'' if found == 1 else 's'} and {source} has {count}, "
                "but each answer goes to the partition number of its request",
                hint=f"appraise stream topics create --partitions {count} --grow",
            )


def topics_present(kafka: KafkaConfig, names: Sequence[str]) -> Callable[[], None]:
    """What sees whether topics are there, by a client of its own that it keeps, within a few seconds.

    Args:
        kafka: the cluster.
        names: the topics.

    Returns:
        A function that raises UnknownTopicError where one is not there, and StreamError where that cannot be told.
    """
    asked = replace(kafka, seconds=min(kafka.seconds, _LOOK_SECONDS))
    client = asked.admin()

    def look() -> None:
        present = metadata_of(asked, client).topics
        for name in names:
            if name not in present or present[name].error is not None:
                raise unknown_topic(name, present)

    return look


def scoring_session(
    kafka: KafkaConfig,
    topics: Topics,
    group: str,
    slot: str,
    partition: int | None,
    answering: Answering,
    tally: Tally,
    limits: WorkerLimits,
    *,
    begin: Callable[..., Transaction] = Transaction,
) -> Callable[[], ScoringSession]:
    """What makes the clients of a scoring worker, and a session with them.

    Args:
        kafka, topics: where.
        group: the consumer group.
        slot: the worker's stable name within it.
        partition: the one partition; the group shares them out where None.
        answering: values requests.
        tally: what is counted.
        limits: batches and deadlines.
        begin: makes a transaction, which begins at once.
    """
    dead_letters = topics.dead_letters(topics.requests)

    def open_session() -> ScoringSession:
        check_topics(kafka, topics.requests, (topics.predictions, dead_letters), partition)
        # Whatever this worker's ghost left open is ended before anything is read.
        producer = kafka.producer(
            {
                "transactional.id": f"{group}.{slot}",
                "transaction.timeout.ms": round((limits.transaction_seconds + 5.0) * 1000),
                # The default costs 100 ms whenever a transaction begins before the markers of the last are written.
                "retry.backoff.ms": 2,
                "retry.backoff.max.ms": 100,
                # A commit sends what waits at once. Sent meanwhile, a batch is dozens of requests in place of a few.
                "linger.ms": _LINGER_MS,
                "message.max.bytes": _LARGEST_MESSAGE,
                "queue.buffering.max.messages": max(100_000, 4 * limits.batch),
            }
        )
        with ExitStack() as unfinished:
            # What is left open would outlive every attempt, with its threads.
            calls = Calls()
            unfinished.callback(calls.close)
            init_transactions(kafka, producer, limits.transaction_seconds + 15.0, calls)
            consumer = kafka.consumer(group, _consumer_options(limits))
            unfinished.callback(close_client, "close the consumer", consumer.close)
            reader = Reader(consumer, topics.requests, partition=partition)
            unfinished.pop_all()
        return ScoringSession(
            reader,
            producer,
            calls,
            answering,
            tally,
            most=limits.batch,
            wait_seconds=limits.wait_seconds,
            transaction_seconds=limits.transaction_seconds,
            begin=begin,
        )

    return open_session


def ingesting_session(
    kafka: KafkaConfig,
    topics: Topics,
    group: str,
    partition: int | None,
    sink: FeatureSink,
    check: EventCheck,
    tally: Tally,
    limits: WorkerLimits,
) -> Callable[[], IngestingSession]:
    """What makes the clients of an ingesting worker, and a session with them.

    Args:
        kafka, topics: where from.
        group: the consumer group.
        partition: the one partition; the group shares them out where None.
        sink: where events go.
        check: what is asked of an event beside its form.
        tally: what is counted.
        limits: batches and deadlines.
    """
    dead_letters = topics.dead_letters(topics.events)

    def open_session() -> IngestingSession:
        check_topics(kafka, topics.events, (dead_letters,), partition)
        producer = kafka.producer({"message.max.bytes": _LARGEST_MESSAGE})
        consumer = kafka.consumer(group, _consumer_options(limits))
        with ExitStack() as unfinished:
            unfinished.callback(close_client, "close the consumer", consumer.close)
            reader = Reader(consumer, topics.events, partition=partition, positions=sink.positions)
            unfinished.pop_all()
        return IngestingSession(
            reader,
            consumer,
            producer,
            sink,
            tally,
            dead_letters=dead_letters,
            check=check,
            most=limits.batch,
            wait_seconds=limits.wait_seconds,
        )

    return open_session


def _consumer_options(limits: WorkerLimits) -> dict[str, str | int | bool]:
    return {
        "enable.partition.eof": True,
        "enable.auto.offset.store": False,
        "session.timeout.ms": round(limits.session_seconds * 1000),
        "heartbeat.interval.ms": min(_HEARTBEAT_MS, round(limits.session_seconds * 200)),
        "partition.assignment.strategy": "cooperative-sticky",
        "fetch.wait.max.ms": 200,
    }


def init_transactions(kafka: KafkaConfig, producer: Producer, seconds: float, calls: Calls) -> None:
    """Take the transactional id over.

    Args:
        kafka, producer: whose.
        seconds: how long it may take.
        calls: makes the calls that wait for the broker.

    Raises:
        ClientsLostError: it cannot be had for now.
        StreamError: the cluster refuses.
    """
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + seconds
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            calls.call("take the transactional id over", partial(producer.init_transactions, left), left)
        except KafkaException as error:
            cause = error.args[0]
            if cause.retriable() and time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
                continue
            if cause.retriable() or cause.fatal():
                raise ClientsLostError(f"transactions cannot be begun: {cause.str()}", cause) from error
            raise translated(error, kafka, "transactions cannot be begun") from error
        else:
            return
