"""Messages a second and latency of the stream workers, beside bare loops and bare COPY, on a real Apache Kafka.

    scoring     `appraise stream score`, 1 and 2 workers, on requests of 1 KB for homes near sales that the model
                knows: checked, valued, logged, answered once. All become readable at one moment, when the workers, or
                the loops beside them, are warm, have heard from the registry and are idle
    bare        a loop of librdkafka that copies each message in the same transactions of the same size, 1 and 2 workers
    tutorial    one message, flush, synchronous commit: the loop that tutorials show, once only copying, and once
                with what tutorials of models do with each: JSON to a frame of pandas, and a model of scikit-learn
    latency     from a request's production to its answer's arrival at a read-committed reader
    ingestion   `appraise stream ingest` into user_features, beside a bare COPY of the same rows

It needs a registered `california`:

    appraise train california --data california_housing.csv
    python benchmarks/streaming.py --home .appraise
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
from _report import Figure, held_against, parser, say, show
from confluent_kafka import Consumer, Producer, TopicPartition

from appraise.bootstrap import build_registry
from appraise.datasets.presets import find_spec
from appraise.jobs.kafka.broker import LocalBroker, RunningBroker
from appraise.serving.models import Shelf, example_row
from appraise.serving.source import RegistrySource
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.topics import Topics, create_topics
from appraise.settings import Settings
from appraise.store.database import Database, DatabaseOptions

PARTITIONS = 2
MESSAGE_BYTES = 1024
_TUTORIAL_MESSAGES = 1_000
#: Messages by which workers, and the compiler of the broker's machine code, get warm.
_WARM_MESSAGES = 20_000
_FILLING = {"linger.ms": 20, "queue.buffering.max.messages": 500_000}
_DEADLINE_SECONDS = 240.0
#: What counts as idle: so many seconds in which no more than this share of a processor is taken. A broker and a worker
#: that do nothing look at their sockets a few times a second.
_IDLE_SECONDS, _IDLE_SHARE = 1.0, 0.15
#: What a home differs by from one that was sold: degrees (0.01 are about 1 km), and shares of the other values.
_MOVED, _CHANGED = 0.01, 0.1
_PLACE = ("Latitude", "Longitude")


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--home", type=Path, default=Path(os.environ.get("APPRAISE_HOME", ".appraise")))
    options.add_argument("--messages", type=int, default=300_000, help="requests of one measurement of a rate")
    options.add_argument("--events", type=int, default=200_000, help="feature events")
    options.add_argument("--batch", type=int, default=5_000, help="most messages of one transaction")
    options.add_argument("--seconds", type=float, default=15.0, help="of one measurement of latency")
    options.add_argument("--only", nargs="+", choices=("rates", "tutorial", "latency", "ingestion"))
    options.add_argument("--loop", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.loop:
        _LOOPS[args.loop.split()[0]](*args.loop.split()[1:])
        return
    wanted = args.only or ("rates", "tutorial", "latency", "ingestion")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="appraise-streaming-") as name:
        folder = Path(name)
        # The embedded PostgreSQL runs as another user where this is root.
        folder.chmod(0o755)
        broker = LocalBroker(folder / "kafka")
        bench = Bench(broker.start(port=0), folder, args.home.absolute(), args.batch)
        try:
            if "rates" in wanted:
                figures += rates(bench, args.messages)
            if "tutorial" in wanted:
                figures += tutorial(bench, figures)
            if "latency" in wanted:
                figures += latencies(bench, args.seconds)
            if "ingestion" in wanted:
                figures += ingestion(bench, args.events)
        finally:
            broker.stop()
    show(figures, as_json=args.json)


class Bench:
    """What all measurements share.

    Attributes:
        kafka: the broker.
        folder: for files.
        home: where the model is.
        batch: most messages of one transaction.
        homes: what requests ask for.
    """

    def __init__(self, broker: RunningBroker, folder: Path, home: Path, batch: int) -> None:
        self.kafka = KafkaConfig(broker.bootstrap_servers)
        self.folder = folder
        self.home = home
        self.batch = batch
        self.homes = sold_homes(home)
        self._broker = psutil.Process(broker.pid)
        self._count = 0

    def topics(self) -> Topics:
        """New topics."""
        self._count += 1
        topics = Topics(f"b{self._count}-")
        create_topics(self.kafka, topics.all, partitions=PARTITIONS)
        return topics

    def appraise(self, *words: str) -> list[str]:
        """The command of a worker."""
        program = [sys.executable, "-m", "appraise", "--home", str(self.home), "--log-level", "warning"]
        return [*program, "stream", *words, "--json"]

    def loop(self, name: str, topics: Topics, part: str) -> list[str]:
        """The command of a loop of this file."""
        servers = self.kafka.bootstrap_servers
        return [sys.executable, __file__, "--loop", f"{name} {servers} {topics.prefix} {part} {self.batch}"]

    def requests(self, count: int) -> Iterator[bytes]:
        """Requests of 1 KB; JSON allows the white space that fills them."""
        dice = random.Random(7)  # noqa: S311
        for number in range(count):
            body = json.dumps({"request_id": f"r{number}", "features": _near(dice.choice(self.homes), dice)}).encode()
            yield body + b" " * (MESSAGE_BYTES - len(body))

    @contextlib.contextmanager
    def running(self, topics: Topics, *commands: list[str]) -> Iterator[Running]:
        """Worker processes."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
        environment |= {
            "APPRAISE_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "APPRAISE_KAFKA__TOPIC_PREFIX": topics.prefix,
            "APPRAISE_STREAM__BATCH": str(self.batch),
        }
        said = [self.folder / f"{topics.prefix}{number}.out" for number in range(len(commands))]
        processes = []
        with contextlib.ExitStack() as stack:
            log = stack.enter_context((self.folder / "workers.log").open("ab"))
            for command, path in zip(commands, said, strict=True):
                out = stack.enter_context(path.open("wb"))
                processes.append(subprocess.Popen(command, env=environment, stdout=out, stderr=log, cwd=self.folder))
            try:
                yield Running([self._broker, *(psutil.Process(one.pid) for one in processes)], said)
                failed = [process.poll() for process in processes if process.poll() is not None]
                if failed:
                    sys.exit(f"a worker ended with {failed[0]}: {(self.folder / 'workers.log').read_text()[-2000:]}")
            finally:
                for process in processes:
                    process.send_signal(signal.SIGTERM)
                for process in processes:
                    process.wait(timeout=60)


class Running:
    """The broker and the workers of one measurement.

    Args:
        processes: theirs.
        said: where each worker's output goes.
    """

    def __init__(self, processes: list[psutil.Process], said: list[Path]) -> None:
        self._processes = processes
        self._said = said

    def settle(self) -> None:
        """Wait until nothing is left to do: each worker has heard from the registry, and no process takes time."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        before, since = self._seconds(), time.monotonic()
        while True:
            time.sleep(_IDLE_SECONDS)
            now, at = self._seconds(), time.monotonic()
            if now - before < _IDLE_SHARE * (at - since) and all(map(_has_asked, self._said)):
                return
            if at > deadline:
                sys.exit(f"workers and broker were not idle within {_DEADLINE_SECONDS:g} s")
            before, since = now, at

    def _seconds(self) -> float:
        """Of processor time that they, and processes that they started, have taken."""
        total = 0.0
        for process in self._processes:
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = one.cpu_times()
                    total += times.user + times.system + (times.children_user + times.children_system)
        return total


def _has_asked(said: Path) -> bool:
    """Whether a worker has heard from the registry, after which nothing is asked for minutes; bare loops ask nobody."""
    text = said.read_text()
    if not text:
        return True
    health = json.loads(text)["health"]
    answer: dict[str, object] = httpx.get(f"{health}/health/ready", trust_env=False, timeout=10.0).json()
    return answer["registry"] == "answered"


def rates(bench: Bench, count: int) -> list[Figure]:
    """Messages a second of the scoring worker beside the bare loop."""
    figures = []
    for workers in (1, 2):
        # Two workers have a partition each: a rebalance in the middle is not what is measured.
        parts = ["all"] if workers == 1 else [str(number) for number in range(PARTITIONS)]
        topics = bench.topics()
        rate = steady_rate(bench, topics, [bench.loop("bare", topics, part) for part in parts], count)
        bare = Figure(f"bare loop/{workers} workers", rate, "messages/s")
        figures.append(bare)
        commands = [bench.appraise("score", *(() if part == "all" else ("--partition", part))) for part in parts]
        rate = steady_rate(bench, bench.topics(), commands, count)
        figures.append(held_against(f"appraise/{workers} workers", rate, "messages/s", bare))
        say(f"{workers} workers: bare {bare.value:,.0f}/s, appraise {rate:,.0f}/s")
    return figures


def tutorial(bench: Bench, figures: list[Figure]) -> list[Figure]:
    """Messages a second of the loops of tutorials."""
    ours = next((one for one in figures if one.name == "appraise/1 workers"), None)
    found = []
    for name, loop in (("tutorial loop, copying", "tutorial"), ("tutorial loop, with a model", "tutorial-model")):
        topics = bench.topics()
        fill(bench.kafka, topics.requests, bench.requests(_TUTORIAL_MESSAGES))
        with bench.running(topics, bench.loop(loop, topics, "all")):
            rate = rate_of(bench.kafka, topics.predictions, _TUTORIAL_MESSAGES)
        say(f"{name}: {rate:,.0f}/s")
        found.append(Figure(name, rate, "messages/s"))
        if ours is not None:
            found.append(held_against(f"appraise/1 workers beside {name}", ours.value, ours.unit, found[-1]))
    return found


def latencies(bench: Bench, seconds: float) -> list[Figure]:
    """Milliseconds from a request's production to its answer's arrival."""
    figures = []
    for rate in (100, 1_000):
        for name in ("bare", "appraise"):
            topics = bench.topics()
            command = bench.loop("bare", topics, "all") if name == "bare" else bench.appraise("score")
            with bench.running(topics, command) as running:
                found = latency_of(bench, running, topics, rate, seconds)
            for percent in (50, 99):
                value = float(np.percentile(found, percent))
                figures.append(Figure(f"{name}/{rate} messages a second/p{percent}", value, "ms"))
                say(f"{name} at {rate}/s: p{percent} {value:.1f} ms")
    return figures


def ingestion(bench: Bench, count: int) -> list[Figure]:
    """Events a second into user_features, beside COPY of the same rows."""
    topics = bench.topics()
    fill(bench.kafka, topics.events, events(count))
    home = bench.folder / "home"
    with Database(DatabaseOptions(url=None, folder=home / "postgres")) as database:
        database.upgrade(actor="benchmark")
        copied = Figure("bare COPY", copy_rate(database, count), "rows/s")
        program = [sys.executable, "-m", "appraise", "--home", str(home), "--log-level", "warning", "stream", "ingest"]
        with bench.running(topics, program):
            rate = table_rate(database, count)
    say(f"ingestion: {rate:,.0f} events/s, COPY {copied.value:,.0f} rows/s")
    return [copied, held_against("appraise/ingestion", rate, "events/s", copied)]


def sold_homes(home: Path) -> list[dict[str, float]]:
    """The sales that the `california` of a home compares with, as homes to be valued."""
    shelf = Shelf(RegistrySource(build_registry(Settings(home=home))), ("california",))
    shelf.open()
    predictor = shelf.lineup.champions()[0].predictor
    shelf.close()
    comparables = predictor.pipeline.comparables_
    if comparables is None:
        sys.exit("the model compares with no sales: appraise train california")
    table = comparables.pool_.table
    return [dict(zip(table.names, values, strict=True)) for values in table.values.tolist()]


def _near(home: dict[str, float], dice: random.Random) -> dict[str, float]:
    """A home near another one, and larger or smaller in all: whatever holds between its values does so still."""
    share = dice.uniform(1.0 - _CHANGED, 1.0 + _CHANGED)
    return {
        name: round(value + dice.uniform(-_MOVED, _MOVED) if name in _PLACE else value * share, 4)
        for name, value in home.items()
    }


def events(count: int) -> Iterator[bytes]:
    """Feature events of 20,000 users."""
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for number in range(count):
        moment = (begin + dt.timedelta(seconds=number)).isoformat()
        event = {"user_id": f"user{number % 20_000}", "event_type": "MedInc", "value": number / 7, "timestamp": moment}
        yield json.dumps(event).encode()


def fill(kafka: KafkaConfig, topic: str, values: Iterator[bytes]) -> None:
    """Put messages into a topic."""
    _send(kafka.producer(_FILLING), topic, values)


def fill_hidden(kafka: KafkaConfig, topic: str, values: Iterator[bytes]) -> Callable[[], None]:
    """Put messages into a topic, which nobody reads before what is returned is called."""
    options = {"transactional.id": f"fill-{topic}", "transaction.timeout.ms": 300_000}
    producer = kafka.producer({**_FILLING, **options})
    producer.init_transactions(30)
    producer.begin_transaction()
    _send(producer, topic, values)
    return lambda: producer.commit_transaction(30)


def _send(producer: Producer, topic: str, values: Iterator[bytes]) -> None:
    for number, value in enumerate(values):
        while True:
            try:
                producer.produce(topic, value, str(number), number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush(60)


def steady_rate(bench: Bench, topics: Topics, commands: list[list[str]], count: int) -> float:
    """Messages a second of workers that have worked before: what a start takes is not in it."""
    fill(bench.kafka, topics.requests, bench.requests(_WARM_MESSAGES))
    show_all = fill_hidden(bench.kafka, topics.requests, bench.requests(count))
    consumer = bench.kafka.consumer("warm", {})
    with bench.running(topics, *commands) as running:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while sum(_ends(consumer, topics.predictions)) < _WARM_MESSAGES:
            if time.monotonic() > deadline:
                sys.exit(f"no worker was warm within {_DEADLINE_SECONDS:g} s")
            time.sleep(0.05)
        running.settle()
        before = _ends(consumer, topics.predictions)
        consumer.close()
        show_all()
        return rate_of(bench.kafka, topics.predictions, count, before)


def rate_of(kafka: KafkaConfig, topic: str, count: int, before: list[int] | None = None) -> float:
    """Messages a second that arrive in a topic after others, from the first batch to the last."""
    consumer = kafka.consumer("rate", {})

    def arrived() -> int:
        new = [end - begin for end, begin in zip(_ends(consumer, topic), before or [0] * PARTITIONS, strict=True)]
        # It begins when every worker works.
        return sum(new) if all(new) else 0

    rate = _rate(arrived, count)
    consumer.close()
    return rate


def _ends(consumer: Consumer, topic: str) -> list[int]:
    """Of each partition where it ends for those who read what is committed."""
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    return [consumer.get_watermark_offsets(place, timeout=10.0)[1] for place in places]


def table_rate(database: Database, count: int) -> float:
    """Rows a second that arrive in user_features."""

    def arrived() -> int:
        with database.connect() as connection:
            return int(
                connection.exec_driver_sql("SELECT coalesce(sum(next_offset), 0) FROM stream_offsets").scalar_one()
            )

    return _rate(arrived, count)


def _rate(arrived: Callable[[], int], count: int) -> float:
    """What arrives a second between the first sign of work and the end; markers of transactions count for nothing."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    first: tuple[float, int] | None = None
    while True:
        here, now = arrived(), time.perf_counter()
        if first is None and here:
            first = now, here
        if here >= count:
            break
        if time.monotonic() > deadline:
            sys.exit(f"only {here:,} of {count:,} came within {_DEADLINE_SECONDS:g} s")
        time.sleep(0.01)
    if first is None or first[1] >= count:
        sys.exit("all of it came at once: take more --messages")
    return (count - first[1]) / (now - first[0])


def latency_of(  # noqa: C901
    bench: Bench, running: Running, topics: Topics, rate: int, seconds: float
) -> list[float]:
    """Send requests at a rate, and see when their answers can be read; those before all was idle do not count."""
    kafka = bench.kafka
    sent: dict[bytes, float] = {}
    arrived: dict[bytes, float] = {}
    done = threading.Event()
    ready = threading.Event()

    def read() -> None:
        consumer = kafka.consumer("latency", {"fetch.wait.max.ms": 100})
        consumer.assign([TopicPartition(topics.predictions, number, 0) for number in range(PARTITIONS)])
        while not done.is_set():
            message = consumer.poll(0.05)
            if message is not None and message.error() is None:
                arrived[message.key()] = time.perf_counter()
                ready.set()
        consumer.close()

    reader = threading.Thread(target=read)
    reader.start()
    producer = kafka.producer({"linger.ms": 0})
    values = list(bench.requests(1000))

    def send(number: int) -> None:
        key = str(number).encode()
        sent[key] = time.perf_counter()
        producer.produce(topics.requests, values[number % 1000], key, number % PARTITIONS)
        producer.poll(0)

    number = 0
    while not ready.wait(0.2):
        send(number)
        number += 1
    for _ in range(rate):
        send(number)
        number += 1
    running.settle()
    first, started = number, time.perf_counter()
    while time.perf_counter() - started < seconds:
        if number - first < (time.perf_counter() - started) * rate:
            send(number)
            number += 1
        else:
            time.sleep(0.0005)
    deadline = time.monotonic() + 30.0
    while len(arrived) < number and time.monotonic() < deadline:
        time.sleep(0.05)
    done.set()
    reader.join()
    wanted = [str(one).encode() for one in range(first, number)]
    if any(key not in arrived for key in wanted):
        sys.exit("some answers never came")
    return [(arrived[key] - sent[key]) * 1e3 for key in wanted]


def copy_rate(database: Database, count: int) -> float:
    """Rows a second of a bare COPY of the same events into a table with the same index."""
    rows = [json.loads(value) for value in events(count)]
    with database.dedicated() as connection:
        connection.execute("CREATE TEMPORARY TABLE copied (LIKE user_features INCLUDING ALL)")
        started = time.perf_counter()
        columns = "user_id, event_type, feature_value, ingestion_timestamp"
        with connection.cursor().copy(f"COPY copied ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row((row["user_id"], row["event_type"], json.dumps(row["value"]), row["timestamp"]))
        connection.commit()
        return count / (time.perf_counter() - started)


def bare(servers: str, prefix: str, part: str, batch: str) -> None:
    """Copy messages in transactions, with nothing else done."""
    topics, kafka = Topics(prefix), KafkaConfig(servers)
    consumer = kafka.consumer("bare", {"partition.assignment.strategy": "cooperative-sticky"})
    if part == "all":
        consumer.subscribe([topics.requests])
    else:
        consumer.assign([TopicPartition(topics.requests, int(part))])
    producer = kafka.producer({"transactional.id": f"bare-{prefix}-{part}", "retry.backoff.ms": 2, "linger.ms": 50})
    producer.init_transactions(30)
    most, stop = int(batch), _stopped()
    while not stop.is_set():
        first = consumer.poll(0.2)
        if first is None or first.error():
            continue
        messages = [one for one in (first, *consumer.consume(most - 1, 0)) if not one.error()]
        producer.begin_transaction()
        for one in messages:
            producer.produce(topics.predictions, one.value(), one.key(), one.partition())
        following = {one.partition(): one.offset() + 1 for one in messages}
        offsets = [TopicPartition(topics.requests, number, offset) for number, offset in following.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)
    consumer.close()


def tutorial_loop(servers: str, prefix: str, _part: str, _batch: str) -> None:
    """One message, flush, synchronous commit, with the settings of a client that was given none."""
    _one_by_one(servers, Topics(prefix), lambda value: value)


def tutorial_model_loop(servers: str, prefix: str, _part: str, _batch: str) -> None:
    """The same with the cheapest model that a tutorial can have: a linear one, on scaled columns."""
    import pandas as pd
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dice = np.random.default_rng(7)
    home = example_row(find_spec("california"))
    homes = pd.DataFrame(dice.uniform(0.5, 1.5, (1000, len(home))) * list(home.values()), columns=list(home))
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(homes, dice.uniform(0.5, 5.0, len(homes)))

    def answer(value: bytes) -> bytes:
        request = json.loads(value)
        price = model.predict(pd.DataFrame([request["features"]]))[0]
        return json.dumps({"request_id": request["request_id"], "prediction": float(price)}).encode()

    _one_by_one(servers, Topics(prefix), answer)


def _one_by_one(servers: str, topics: Topics, answer: Callable[[bytes], bytes]) -> None:
    options = {"bootstrap.servers": servers}
    consumer = Consumer(
        {**options, "group.id": "tutorial", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    consumer.subscribe([topics.requests])
    producer, stop = Producer(options), _stopped()
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        producer.produce(topics.predictions, answer(message.value()), message.key(), message.partition())
        producer.flush()
        consumer.commit(message=message, asynchronous=False)
    consumer.close()


def _stopped() -> threading.Event:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


_LOOPS = {"bare": bare, "tutorial": tutorial_loop, "tutorial-model": tutorial_model_loop}


if __name__ == "__main__":
    main()
