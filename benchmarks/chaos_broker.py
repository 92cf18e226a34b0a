"""Whether a broker keeps the outcome of transactions that were ending when it was killed with -9.

Exactly once rests on it: what a transaction writes and the offsets that it commits must come to the same end, also when
the broker dies between the word of the producer and the markers in the partitions. In each round

    every producer writes an answer, sends the offset of its request, and then all end their transactions at once,
        three of four by an abort, the others by a commit
    the broker is killed in the middle of it, and started again
    the same producers, made anew, commit a transaction of other partitions

Then an aborted answer must be hidden and its offset not committed, a committed one visible together with its offset,
and no partition may be held up by a transaction that nobody will end.

    python benchmarks/chaos_broker.py --rounds 10
    python benchmarks/chaos_broker.py --rounds 10 --jars FOLDER      # the jars of another Apache Kafka
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _report import Figure, parser, say, show
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from appraise.jobs.kafka import broker as broker_module
from appraise.jobs.kafka.broker import LocalBroker
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.topics import create_topics, list_topics

PRODUCERS = 16
#: Of so many producers one commits.
_COMMIT_EVERY = 4
#: The broker is killed at most so long after it has confirmed the first end: then some ends are in its log, and not yet
#: in the partitions.
_KILL_SECONDS = 0.008
#: A call that ends a transaction while the broker dies is not waited for.
_END_SECONDS = 1.0
_CALL_SECONDS = 30.0
_READ_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
#: Rounds that are played at the most for each that counts.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one death of the broker.

    Attributes:
        ending: transactions whose end was asked for and not confirmed when the broker was killed.
        torn: transactions whose answer and offset came to different ends.
        undone: aborts that became commits, and confirmed commits that became aborts.
        stuck: partitions that a transaction without an end holds up.
    """

    ending: int
    torn: int
    undone: int
    stuck: int

    @property
    def kept(self) -> bool:
        """Whether every transaction came to the end that it was given."""
        return self.torn == self.undone == self.stuck == 0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a round plays: topics and a group that no other round has, for what is torn once stays torn."""

    kafka: KafkaConfig
    name: str

    @property
    def requests(self) -> str:
        """The topic whose offsets are committed; nothing need be in it."""
        return f"{self.name}-requests"

    @property
    def answers(self) -> str:
        """The topic that is written to."""
        return f"{self.name}-answers"


class Party:
    """One producer of a round: its transaction, and what it was told of the end."""

    def __init__(self, stage: Stage, number: int, *, commits: bool) -> None:
        self._stage = stage
        self.number = number
        self.commits = commits
        self.asked = self.confirmed = False
        self._producer = self._made()

    def prepare(self, group: Any) -> None:
        """All of the transaction but its end; raises KafkaException."""
        self._write(self.number, group)

    def end(self, first: threading.Event) -> None:
        """End it, as far as the broker lives; sets `first` when that is confirmed."""
        self.asked = True
        try:
            (self._producer.commit_transaction if self.commits else self._producer.abort_transaction)(_END_SECONDS)
        except KafkaException:
            return
        self.confirmed = True
        first.set()

    def return_anew(self, group: Any) -> None:
        """Take the transactional id over, and commit a transaction of other partitions; raises KafkaException."""
        self._producer.purge()
        self._producer = self._made()
        self._write(PRODUCERS + self.number, group)
        self._producer.commit_transaction(_CALL_SECONDS)

    def _made(self) -> Producer:
        name = f"{self._stage.name}.{self.number}"
        producer = self._stage.kafka.producer({"transactional.id": name, "retry.backoff.ms": 2, "linger.ms": 1})
        producer.init_transactions(_CALL_SECONDS)
        return producer

    def _write(self, partition: int, group: Any) -> None:
        self._producer.begin_transaction()
        self._producer.produce(self._stage.answers, b"answer", partition=partition)
        self._producer.flush(_CALL_SECONDS)
        offsets = [TopicPartition(self._stage.requests, partition, 1)]
        self._producer.send_offsets_to_transaction(offsets, group, _CALL_SECONDS)


def run_round(broker: LocalBroker, dice: random.Random) -> Round:
    """Kill the broker once."""
    running = broker.running() or broker.start(port=0)
    stage = Stage(KafkaConfig(running.bootstrap_servers, seconds=30.0), f"round-{time.time_ns()}")
    create_topics(stage.kafka, [stage.requests, stage.answers], partitions=2 * PRODUCERS)
    consumer = stage.kafka.consumer(stage.name)
    group = consumer.consumer_group_metadata()
    parties = [Party(stage, number, commits=number % _COMMIT_EVERY == 0) for number in range(PRODUCERS)]
    for party in parties:
        party.prepare(group)
    first = threading.Event()
    ends = [threading.Thread(target=party.end, args=(first,)) for party in parties]
    for thread in ends:
        thread.start()
    first.wait(_END_SECONDS)
    time.sleep(dice.uniform(0.0, _KILL_SECONDS))
    # At once: looking first whether it runs would take longer than the ends do.
    os.kill(running.pid, signal.SIGKILL)
    ending = sum(party.asked and not party.confirmed for party in parties)
    broker.kill()
    for thread in ends:
        thread.join()
    broker.start()
    with ThreadPoolExecutor(PRODUCERS) as pool:
        list(pool.map(lambda party: party.return_anew(group), parties))
    visible, stuck = _read_answers(stage)
    moved = _moved(stage, consumer)
    consumer.close()
    torn = undone = 0
    for party in parties:
        halves = {party.number in moved, party.number in visible}
        torn += len(halves) == 2
        undone += (True in halves) if not party.commits else (party.confirmed and False in halves)
    return Round(ending, torn, undone, len(stuck))


def _moved(stage: Stage, consumer: Any) -> set[int]:
    """Partitions whose offset is committed."""
    places = [TopicPartition(stage.requests, number) for number in range(2 * PRODUCERS)]
    deadline = time.monotonic() + _READ_SECONDS
    while True:
        found = consumer.committed(places, timeout=_CALL_SECONDS)
        # That of a transaction which nobody ends cannot be told.
        if all(place.error is None for place in found) or time.monotonic() > deadline:
            return {place.partition for place in found if place.error is None and place.offset >= 0}
        time.sleep(_PAUSE_SECONDS)


def _read_answers(stage: Stage) -> tuple[set[int], set[int]]:
    """Partitions whose answers a reader of committed data sees, and those that it cannot read to the end."""
    consumer = stage.kafka.consumer(f"check-{stage.name}", {"enable.partition.eof": True})
    waiting = {one.partition: one.end for one in list_topics(stage.kafka, [stage.answers])[0].partitions}
    consumer.assign([TopicPartition(stage.answers, partition, 0) for partition in waiting])
    visible: set[int] = set()
    deadline = time.monotonic() + _READ_SECONDS
    while waiting and time.monotonic() < deadline:
        for message in consumer.consume(1000, _PAUSE_SECONDS):
            error, partition = message.error(), message.partition()
            if error is None:
                visible.add(partition)
            elif error.code() == KafkaError._PARTITION_EOF and message.offset() >= waiting.get(partition, 0):
                waiting.pop(partition, None)
    consumer.close()
    return visible, set(waiting)


def main() -> None:
    """Run, print, and fail where a transaction came to another end than it was given."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="how often the broker is killed")
    options.add_argument("--seed", type=int, default=0, help="decides when")
    options.add_argument("--jars", type=Path, help="a folder with the jars of another Apache Kafka")
    args = options.parse_args()
    if args.jars is not None:
        broker_module.fetch_jars = lambda *_: args.jars
    dice = random.Random(args.seed)  # noqa: S311
    rounds = []
    with tempfile.TemporaryDirectory(prefix="appraise-chaos-") as name:
        broker = LocalBroker(Path(name) / "kafka")
        try:
            # The machine decides whether anything was still ending; a round in which nothing was shows nothing.
            while sum(one.ending > 0 for one in rounds) < args.rounds and len(rounds) < _TRIES * args.rounds:
                rounds.append(run_round(broker, dice))
                say(f"round {len(rounds)}: {'kept' if rounds[-1].kept else 'NOT kept'}: {rounds[-1]}")
        finally:
            broker.stop()
    figures = [
        Figure("rounds", len(rounds), "rounds"),
        Figure("transactions that were ending", sum(one.ending for one in rounds), "transactions"),
        Figure("torn", sum(one.torn for one in rounds), "transactions"),
        Figure("ended otherwise than was asked", sum(one.undone for one in rounds), "transactions"),
        Figure("partitions held up", sum(one.stuck for one in rounds), "partitions"),
    ]
    show(figures, as_json=args.json)
    sys.exit(0 if all(one.kept for one in rounds) else 1)


if __name__ == "__main__":
    main()
