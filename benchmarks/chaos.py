"""Whether each request is answered exactly once while workers, the broker and the group fail, on a real Apache Kafka.

Two workers share six partitions. Requests go in all the time; meanwhile, in an order that the seed decides,

    a worker is killed with -9, at random and at each named point of a transaction
    a worker is stopped for longer than its session, and goes on as if nothing had happened
    the broker is killed with -9, and started again
    more workers come and go, so that partitions change hands again and again
    transactions are aborted that have reached the broker whole

Then the faults end. A read-committed reader must find every acknowledged request exactly once among the predictions and
dead letters, aborted records must be there for a reader that does not mind them, and nothing may wait after 60 s.

    python benchmarks/chaos.py --seeds 20
    python benchmarks/chaos.py --mutants          # workers that are broken on purpose, which the check must find out
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _report import Figure, parser, say, show
from chaos_worker import LIMITS, MUTANTS, POINTS
from confluent_kafka import KafkaError, Producer, TopicPartition

from appraise.errors import StreamError
from appraise.jobs.kafka.broker import LocalBroker
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.deadletters import origin_of
from appraise.serving.streaming.lag import committed_offsets
from appraise.serving.streaming.topics import Topics, create_topics, list_topics

PARTITIONS = 6
LAG_SECONDS = 60.0
_WORKER = Path(__file__).with_name("chaos_worker.py")
#: One request in so many is poison.
_POISON, _POISON_EVERY = b"no JSON", 25
#: How many transactions are aborted. For a mutant it is every other one: each of its few must meet what it gets wrong.
_ABORT_SHARE, _MUTANT_ABORT_SHARE = 0.05, 0.5
_MUTANT_FAULTS = ("dies at: committed", "dies at: committed")
_READ_SECONDS = 60.0
#: Sessions may be shorter than brokers usually allow, so that a run need not wait long for one to end.
_BROKER = {"group.min.session.timeout.ms": "1000"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed.

    Attributes:
        seed: which.
        acknowledged: requests that the broker has taken.
        lost: of those, how many were never answered.
        repeated: how many records of requests were answered more than once.
        sent_twice: how many requests lie in their topic more than once, each to be answered on its own.
        aborted: records that only a reader of uncommitted data sees.
        behind_seconds: from the last fault until nothing was left waiting; None where that took too long.
        faults: what was done.
    """

    seed: int
    acknowledged: int
    lost: int
    repeated: int
    sent_twice: int
    aborted: int
    behind_seconds: float | None
    faults: tuple[str, ...]

    @property
    def exactly_once(self) -> bool:
        """Whether nothing was lost, nothing repeated, and the run has shown it."""
        return self.lost == self.repeated == 0 and self.aborted > 0 and self.behind_seconds is not None


@dataclass(slots=True)
class Driver:
    """Sends requests all the time, and remembers which of them the broker has acknowledged."""

    kafka: KafkaConfig
    topics: Topics
    rate: float
    acknowledged: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait for the last acknowledgements."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        producer = self.kafka.producer({"delivery.timeout.ms": 60_000, "linger.ms": 5})
        started, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - started) * self.rate)
            while number < due:
                self._send(producer, number)
                number += 1
            producer.poll(0.01)
        producer.flush(60.0)

    def _send(self, producer: Producer, number: int) -> None:
        name = f"r{number}"
        value = _POISON if number % _POISON_EVERY == 0 else json.dumps({"features": {}, "request_id": name}).encode()

        def heard(error: object, _: object) -> None:
            if error is None:
                self.acknowledged.append(name)

        producer.produce(self.topics.requests, value, name, number % PARTITIONS, on_delivery=heard)


class Crew:
    """The worker processes: whoever dies is started again, without the wish to die."""

    def __init__(self, servers: str, prefix: str, log: Path, *, mutant: str | None) -> None:
        share = _ABORT_SHARE if mutant is None else _MUTANT_ABORT_SHARE
        self._plan = {"servers": servers, "prefix": prefix, "abort_share": share, "mutant": mutant}
        self._log = log.open("ab")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, slot: str, **plan: Any) -> None:
        """Start a worker."""
        words = json.dumps({**self._plan, "slot": slot, **plan})
        self._processes[slot] = subprocess.Popen([sys.executable, str(_WORKER), words], stderr=self._log)

    def signal(self, slot: str, number: int) -> None:
        """Send a signal."""
        self._processes[slot].send_signal(number)

    def await_end(self, slot: str, seconds: float) -> bool:
        """Wait until a worker has ended; says whether it has."""
        try:
            self._processes[slot].wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self, slot: str) -> None:
        """End a worker as a crash would."""
        self._processes[slot].kill()
        self._processes[slot].wait()

    def keep(self) -> None:
        """Start again whoever has ended."""
        for slot, process in list(self._processes.items()):
            if process.poll() is not None:
                self.start(slot)

    def retire(self, slot: str) -> int:
        """End a worker as an operator would; returns its exit code."""
        self.signal(slot, signal.SIGTERM)
        process = self._processes.pop(slot)
        try:
            return process.wait(60.0)
        except subprocess.TimeoutExpired:
            say(f"the worker {slot} did not end within a minute")
            process.kill()
            return process.wait()

    def close(self) -> list[int]:
        """End all; returns the exit codes."""
        codes = [self.retire(slot) for slot in list(self._processes)]
        self._log.close()
        return codes


def run_seed(
    seed: int, broker: LocalBroker, folder: Path, faults: Sequence[str], *, rate: float, mutant: str | None = None
) -> Outcome:
    """One run of faults."""
    dice = random.Random(seed)  # noqa: S311
    running = broker.running() or broker.start(port=0, properties=_BROKER)
    kafka = KafkaConfig(running.bootstrap_servers, seconds=30.0)
    topics = Topics(f"chaos{seed}-{time.time_ns() % 10**9}-")
    create_topics(kafka, topics.all, partitions=PARTITIONS)
    driver = Driver(kafka, topics, rate)
    crew = Crew(running.bootstrap_servers, topics.prefix, folder / f"workers-{seed}.log", mutant=mutant)
    codes: list[int] = []
    try:
        crew.start("a")
        crew.start("b")
        driver.start()
        for fault in faults:
            time.sleep(dice.uniform(0.5, 1.5))
            _inflict(fault, crew, broker, dice)
            crew.keep()
        last = time.monotonic()
        driver.stop()
        behind = _await_end(kafka, topics, crew, last)
    finally:
        codes = crew.close()
    answers, aborted = _read_answers(kafka, topics)
    wanted = set(driver.acknowledged)
    asked = _requests(kafka, topics)
    missing = sorted(place for places in asked.values() for place in places - answers.keys())
    if missing:
        say(f"of {topics.requests} these were never answered, by partition and offset: {missing[:20]}")
    return Outcome(
        seed=seed,
        acknowledged=len(wanted),
        lost=len(wanted - asked.keys()) + sum(1 for places in asked.values() if not places <= answers.keys()),
        repeated=sum(1 for count in answers.values() if count > 1),
        sent_twice=sum(1 for places in asked.values() if len(places) > 1),
        aborted=aborted,
        behind_seconds=behind if all(code == 0 for code in codes) else None,
        faults=tuple(faults),
    )


def plan(seed: int, rounds: int) -> list[str]:
    """The faults of a run: each kind at least once where there are rounds enough, in any order."""
    dice = random.Random(seed)  # noqa: S311
    points = [f"dies at: {point}" for point in dice.sample(POINTS, 3)]
    faults = ["killed", "stopped", "broker", "storm", *points]
    dice.shuffle(faults)
    return [faults[number % len(faults)] for number in range(rounds)]


def _inflict(fault: str, crew: Crew, broker: LocalBroker, dice: random.Random) -> None:
    slot = dice.choice("ab")
    match fault:
        case "killed":
            crew.kill(slot)
        case "stopped":
            crew.signal(slot, signal.SIGSTOP)
            time.sleep(LIMITS.session_seconds + 2.0)
            crew.signal(slot, signal.SIGCONT)
        case "broker":
            broker.kill()
            time.sleep(dice.uniform(0.0, 2.0))
            broker.start(properties=_BROKER)
        case "storm":
            for number in range(3):
                crew.start(f"storm-{number}")
                time.sleep(dice.uniform(0.5, 2.0))
            for number in range(3):
                crew.retire(f"storm-{number}")
        case _:
            crew.kill(slot)
            crew.start(slot, point=fault.removeprefix("dies at: "), after=dice.randint(1, 4))
            crew.await_end(slot, 20.0)


def _await_end(kafka: KafkaConfig, topics: Topics, crew: Crew, last: float) -> float | None:
    """Seconds from the last fault until the group has committed the end of every partition."""
    ends = {one.partition: one.end for one in list_topics(kafka, [topics.requests])[0].partitions}
    while time.monotonic() - last < LAG_SECONDS:
        crew.keep()
        try:
            found = committed_offsets(kafka, topics.group("score"), topics.requests, ends)
        except StreamError as error:
            # As where the coordinator loads its group again after the broker was killed.
            say(f"the committed offsets cannot be told yet: {error.message}")
        else:
            if all(found.get(partition, 0) >= end for partition, end in ends.items()):
                return time.monotonic() - last
        time.sleep(0.2)
    return None


#: Where the record of a request lies: partition and offset.
_Place = tuple[int, int]


def _requests(kafka: KafkaConfig, topics: Topics) -> dict[str, set[_Place]]:
    """Where each request lies in its topic."""
    found: dict[str, set[_Place]] = {}

    def hear(message: Any) -> None:
        found.setdefault(message.key().decode(), set()).add((message.partition(), message.offset()))

    _read(kafka, (topics.requests,), "read_committed", hear)
    return found


def _read_answers(kafka: KafkaConfig, topics: Topics) -> tuple[Counter[_Place], int]:
    """How often each record was answered for a reader of committed data, and how many answers only others see."""
    targets = (topics.predictions, topics.dead_letters(topics.requests))
    answers: Counter[_Place] = Counter()
    _read(kafka, targets, "read_committed", lambda message: answers.update([_place(message)]))
    everything: Counter[_Place] = Counter()
    _read(kafka, targets, "read_uncommitted", lambda message: everything.update([_place(message)]))
    return answers, everything.total() - answers.total()


def _place(message: Any) -> _Place:
    """The record that a prediction or dead letter answers."""
    origin = origin_of(message.headers() or [])
    if origin is not None:
        return origin.partition, origin.offset
    answer = json.loads(message.value())
    return answer["partition"], answer["offset"]


def _read(kafka: KafkaConfig, targets: tuple[str, ...], isolation: str, hear: Callable[[Any], None]) -> None:
    """Every record of topics, to their ends."""
    consumer = kafka.consumer(f"check-{time.time_ns()}", {"isolation.level": isolation, "enable.partition.eof": True})
    # The end of a transaction reaches its partitions a little after who ended it is told so, and hides what follows.
    waiting = {
        (topic.name, one.partition): one.end for topic in list_topics(kafka, targets) for one in topic.partitions
    }
    consumer.assign([TopicPartition(topic, number, 0) for topic, number in waiting])
    deadline = time.monotonic() + _READ_SECONDS
    while waiting:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the answers were not read within {_READ_SECONDS:g} s: {waiting}")
        for message in consumer.consume(1000, 0.2):
            error, place = message.error(), (message.topic(), message.partition())
            if error is None:
                hear(message)
            elif error.code() == KafkaError._PARTITION_EOF and message.offset() >= waiting.get(place, 0):
                waiting.pop(place, None)
    consumer.close()


def main() -> None:
    """Run, print, and fail where something was not exactly once."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=3, help="how many runs")
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--rounds", type=int, default=7, help="faults of one run")
    options.add_argument("--rate", type=float, default=300.0, help="requests a second")
    options.add_argument("--mutants", action="store_true", help="break the workers on purpose too: that must be found")
    args = options.parse_args()
    outcomes, missed = [], []
    folder = Path(tempfile.mkdtemp(prefix="appraise-chaos-"))
    broker = LocalBroker(folder / "kafka")
    clean = False
    try:
        for seed in range(args.first, args.first + args.seeds):
            one = run_seed(seed, broker, folder, plan(seed, args.rounds), rate=args.rate)
            say(f"seed {seed}: {'exactly once' if one.exactly_once else 'NOT exactly once'}: {one}")
            outcomes.append(one)
        clean = all(one.exactly_once for one in outcomes)
        for mutant in MUTANTS if args.mutants else ():
            one = run_seed(-1, broker, folder, _MUTANT_FAULTS, rate=args.rate, mutant=mutant)
            found = one.lost + one.repeated > 0
            say(f"mutant {mutant!r}: {'found out' if found else 'NOT found out'}: {one}")
            missed += [] if found else [mutant]
    finally:
        broker.stop()
        if clean:
            shutil.rmtree(folder)
        else:
            say(f"the broker's data and the workers' logs are kept in {folder}")
    behind = max((one.behind_seconds if one.behind_seconds is not None else LAG_SECONDS) for one in outcomes)
    figures = [
        Figure("appraise/seeds", len(outcomes), "runs"),
        Figure("appraise/acknowledged", sum(one.acknowledged for one in outcomes), "requests"),
        Figure("appraise/lost", sum(one.lost for one in outcomes), "requests"),
        Figure("appraise/repeated", sum(one.repeated for one in outcomes), "requests"),
        Figure("requests that were sent twice", sum(one.sent_twice for one in outcomes), "requests"),
        Figure("appraise/aborted", sum(one.aborted for one in outcomes), "records"),
        Figure("appraise/caught up after", behind, "s"),
        Figure("mutants that were not found out", len(missed), "mutants"),
    ]
    show(figures, as_json=args.json)
    sys.exit(0 if all(one.exactly_once for one in outcomes) and not missed else 1)


if __name__ == "__main__":
    main()
