"""Requests are answered once, poison holds nobody up, and what cannot be mended is an error."""

import json
import threading
import uuid
from collections import Counter
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition

from appraise.errors import StreamError, UnknownTopicError
from appraise.serving.batching import value_rows
from appraise.serving.streaming import supervising
from appraise.serving.streaming.answering import Answerer
from appraise.serving.streaming.failures import AbortedError
from appraise.serving.streaming.lives import WorkerLimits, scoring_session
from appraise.serving.streaming.reading import Reader, StaleBatchError
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.topics import Topics, create_topics, delete_topics
from appraise.serving.streaming.transactions import Transaction
from appraise.store.log import PredictionLog
from appraise.store.logplan import LogPlan

LIMITS = WorkerLimits(batch=500, session_seconds=6.0, transaction_seconds=10.0)


def _send(kafka, topic, values, *, partitions=2, headers=None):
    producer = kafka.producer({"message.max.bytes": 100_000_000})
    failed = []
    for number, value in enumerate(values):
        producer.produce(
            topic,
            value,
            str(number),
            number % partitions,
            headers=headers,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(30) == 0
    assert not failed


def _request(row, **fields):
    return json.dumps({"features": row, **fields}).encode()


@pytest.fixture
def score(kafka, shelf, work):
    """Starts a worker on topics."""

    def start(topics, *, slot="a", partition=None, lineup=None, log=None, begin=Transaction, limits=LIMITS, **stall):
        answerer = Answerer(
            lineup or (lambda: shelf.lineup),
            predictions=topics.predictions,
            dead_letters=topics.dead_letters(topics.requests),
            log=log,
        )
        tally = Tally("score")
        group = topics.group("score")
        session = scoring_session(kafka, topics, group, slot, partition, answerer, tally, limits, begin=begin)
        return work(session, tally, **stall)

    return start


def _dealt_with(worker, count):
    return lambda: worker.tally.count_of("predicted") + worker.tally.count_of("dead_letter") >= count or worker.error


def test_each_request_is_answered_once_where_it_came_from(kafka, topics, score, read, row, eventually, shelf):
    rows = [{**row, "MedInc": 1 + number / 20} for number in range(100)]
    headers = [("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("other", b"1")]
    _send(kafka, topics.requests, [_request(one, request_id=f"r{n}") for n, one in enumerate(rows)], headers=headers)
    worker = score(topics)
    eventually(_dealt_with(worker, 100))
    worker.end()
    assert worker.error is None
    answers = read(topics.predictions)
    model = shelf.lineup.champions()[0]
    estimates = value_rows(model, rows, 0.9)
    assert len(answers) == 100
    for message in answers:
        body = json.loads(message.value())
        number = int(message.key())
        assert body["request_id"] == f"r{number}"
        assert message.partition() == number % 2
        assert message.headers() == headers[:1]
        assert body["model_version"] == "1.0.0"
        assert body["input_features"] == rows[number]
        # The same numbers as over REST, whose path `value_rows` is.
        interval = body["prediction_interval"]
        assert body["prediction"] == pytest.approx(estimates.estimate[number], rel=1e-12)
        assert interval["lower"] == pytest.approx(estimates.lower[number], rel=1e-12)
        assert interval["upper"] == pytest.approx(estimates.upper[number], rel=1e-12)
        assert body["confidence_score"] == pytest.approx(estimates.confidence[number], rel=1e-12)
        assert body["confidence_grade"] == estimates.grades[number]
    assert len({json.loads(message.value())["prediction_id"] for message in answers}) == 100


BAD = {
    "not JSON": b"nonsense",
    "not UTF-8": b'{"features": "\xff"}',
    "empty": b"",
    "tombstone": None,
    "no object": b"[1, 2]",
    "no features": b'{"dataset": "california"}',
    "wrong type": b'{"features": {"MedInc": "high"}}',
    "unknown field": b'{"features": {"Rooms": 3}}',
    "unknown envelope": b'{"features": {}, "color": 1}',
    "NaN": b'{"features": {"MedInc": NaN}}',
    "beyond floats": b'{"features": {"MedInc": 1e400}}',
    "a number of many digits": b'{"features": {"MedInc": 1' + b"0" * 400 + b"}}",
    "a field twice": b'{"features": {"MedInc": 1, "MedInc": 2}}',
    "deep": b'{"features": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "unknown dataset": b'{"dataset": "mars", "features": {}}',
}


def test_what_cannot_be_answered_goes_to_the_dead_letters_as_it_came(kafka, topics, score, read, row, eventually):
    good = _request(row)
    values = [one for bad in BAD.values() for one in (good, bad, good)]
    _send(kafka, topics.requests, values)
    worker = score(topics)
    eventually(_dealt_with(worker, len(values)))
    worker.end()
    assert worker.error is None
    assert len(read(topics.predictions)) == 2 * len(BAD)
    letters = {int(letter.key()): letter for letter in read(topics.dead_letters(topics.requests))}
    assert letters.keys() == {3 * number + 1 for number in range(len(BAD))}
    for number, (name, value) in enumerate(BAD.items()):
        letter = letters[3 * number + 1]
        headers = dict(letter.headers())
        assert letter.value() == value, name
        assert headers["__connect.errors.topic"] == topics.requests.encode()
        assert int(headers["__connect.errors.partition"]) == letter.partition()
        assert headers["__connect.errors.offset"].isdigit()
        assert headers["__connect.errors.exception.message"], name


def test_one_poison_message_costs_none_of_the_other_999(kafka, topics, score, read, row, eventually):
    _send(kafka, topics.requests, [b"poison" if number == 500 else _request(row) for number in range(1000)])
    worker = score(topics)
    eventually(_dealt_with(worker, 1000))
    worker.end()
    keys = sorted(int(message.key()) for message in read(topics.predictions))
    assert keys == [number for number in range(1000) if number != 500]
    assert [message.key() for message in read(topics.dead_letters(topics.requests))] == [b"500"]


def test_a_message_that_the_dead_letters_do_not_take_goes_there_without_its_value(kafka, score, read, row, eventually):
    topics = Topics(f"t{uuid.uuid4().hex[:8]}-")
    create_topics(kafka, [topics.requests], partitions=2, options={"max.message.bytes": "8000000"})
    create_topics(kafka, [topics.predictions, topics.dead_letters(topics.requests)], partitions=2)
    _send(kafka, topics.requests, [_request(row), b"x" * 5_000_000, b"small poison", _request(row)])
    worker = score(topics)
    eventually(_dealt_with(worker, 4))
    worker.end()
    assert len(read(topics.predictions)) == 2
    letters = {message.key(): message for message in read(topics.dead_letters(topics.requests))}
    assert letters[b"1"].value() is None
    assert b"5000000 bytes" in dict(letters[b"1"].headers())["appraise.value.left.out"]
    assert letters[b"2"].value() == b"small poison"


class _AbortingTwice(Transaction):
    """The first two transactions are aborted when all of them is on the broker."""

    left = 2

    def send_offsets(self, offsets, group):
        super().send_offsets(offsets, group)
        if type(self).left:
            type(self).left -= 1
            self._producer.flush(10)
            self.abort()
            from confluent_kafka import KafkaError

            raise AbortedError(KafkaError(KafkaError.INVALID_TXN_STATE))


def test_what_was_aborted_is_read_again_hidden_and_logged_once(
    kafka, topics, score, read, row, eventually, tmp_path, monkeypatch
):
    monkeypatch.setattr(_AbortingTwice, "left", 2)
    _send(kafka, topics.requests, [_request(row) for _ in range(50)])
    log = PredictionLog(LogPlan(tmp_path, mode="sync"))
    worker = score(topics, log=log, begin=_AbortingTwice)
    eventually(_dealt_with(worker, 50))
    worker.end()
    assert log.close() == 0
    assert worker.tally.count_of("aborted") == 2
    assert Counter(message.key() for message in read(topics.predictions)) == {str(n).encode(): 1 for n in range(50)}
    assert len(read(topics.predictions, committed=False)) > 50
    logged = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    # Each attempt is in the spool under the same id, of which the database keeps the first.
    for message in read(topics.predictions):
        assert json.loads(message.value())["prediction_id"].encode() in logged
    ids = {json.loads(message.value())["prediction_id"] for message in read(topics.predictions, committed=False)}
    assert len(ids) == 50


def test_a_worker_on_one_partition_leaves_the_others_alone(kafka, topics, score, read, row, eventually):
    _send(kafka, topics.requests, [_request(row) for _ in range(20)])
    worker = score(topics, partition=1, slot="partition-1")
    eventually(_dealt_with(worker, 10))
    worker.end()
    assert {message.partition() for message in read(topics.predictions)} == {1}
    # The next one goes on where the first ended.
    again = score(topics, partition=1, slot="partition-1")
    _send(kafka, topics.requests, [_request(row) for _ in range(20)])
    eventually(_dealt_with(again, 10))
    again.end()
    assert len(read(topics.predictions)) == 20


def test_a_new_champion_answers_from_the_next_batch_on(kafka, topics, score, read, row, eventually, shelf):
    before = shelf.lineup
    model = before.champions()[0]
    newer = replace(model, version="1.1.0")
    after = replace(
        before,
        loaded={("california", "1.1.0"): newer},
        aliases={("california", "champion"): "1.1.0"},
    )
    shown = [before]
    worker = score(topics, lineup=lambda: shown[0])
    _send(kafka, topics.requests, [_request(row) for _ in range(10)])
    eventually(_dealt_with(worker, 10))
    shown[0] = after
    _send(kafka, topics.requests, [_request(row) for _ in range(10)])
    eventually(_dealt_with(worker, 20))
    worker.end()
    versions = Counter(json.loads(message.value())["model_version"] for message in read(topics.predictions))
    assert versions == {"1.0.0": 10, "1.1.0": 10}


def test_topics_that_do_not_fit_are_an_error_at_once(kafka, make_topics, score):
    topics = make_topics(2)
    delete_topics(kafka, [topics.predictions])
    missing = score(topics)
    assert missing.join(60)
    assert isinstance(missing.error, UnknownTopicError)
    create_topics(kafka, [topics.predictions], partitions=1)
    few = score(topics)
    assert few.join(60)
    assert isinstance(few.error, StreamError)
    assert "has 1 partition and" in str(few.error)
    absent = score(topics, partition=7)
    assert absent.join(60)
    assert isinstance(absent.error, StreamError)


def test_a_topic_that_is_deleted_ends_the_worker_with_an_error(kafka, topics, score, row, eventually, monkeypatch):
    monkeypatch.setattr(supervising, "_GONE_SECONDS", 1.0)
    # A producer that knew the topic waits for it until its deadline.
    worker = score(topics, limits=replace(LIMITS, transaction_seconds=2.0))
    _send(kafka, topics.requests, [_request(row)])
    eventually(_dealt_with(worker, 1))
    delete_topics(kafka, [topics.predictions])
    _send(kafka, topics.requests, [_request(row)])
    assert worker.join(60)
    assert isinstance(worker.error, UnknownTopicError)


def test_a_worker_that_was_thrown_out_of_its_group_commits_nothing(kafka, topics, row, eventually):
    """Brokers take offsets without a member id; a consumer that was thrown out has none."""
    _send(kafka, topics.requests, [_request(row) for _ in range(4)])
    options = {
        "enable.partition.eof": True,
        "session.timeout.ms": 3000,
        "heartbeat.interval.ms": 1000,
        "max.poll.interval.ms": 3000,
        "partition.assignment.strategy": "cooperative-sticky",
    }
    client = kafka.consumer("thrown-out", options)
    reader = Reader(client, topics.requests)
    batches = []
    eventually(lambda: batches.extend(filter(None, [reader.take(10, 0.2)])) or batches)
    assert reader.group_metadata(batches[0]) is not None
    # Long in coming back: the group goes on without it.
    eventually(lambda: not client.memberid(), seconds=30)
    with pytest.raises(StaleBatchError):
        reader.group_metadata(batches[0])
    reader.close()


def test_stalls_are_noticed_and_mended(kafka, topics, score, read, row, eventually, monkeypatch):
    """A consumer that delivers nothing, as of a bug: messages wait, and new clients find them."""
    deaf = threading.Event()
    take = Reader.take

    def taking(self, most, seconds):
        if deaf.is_set():
            return take(self, most, seconds)
        # Nothing is taken, not even between two messages: what came before would never be answered.
        self._consumer.poll(seconds)
        return None

    first = []
    rewind = Reader.__init__

    def init(self, *args, **kwargs):
        first.append(self)
        if len(first) > 1:
            deaf.set()
        rewind(self, *args, **kwargs)

    monkeypatch.setattr(Reader, "take", taking)
    monkeypatch.setattr(Reader, "__init__", init)
    _send(kafka, topics.requests, [_request(row) for _ in range(10)])
    worker = score(topics, stall_seconds=1.0)
    eventually(_dealt_with(worker, 10))
    worker.end()
    # On a slow machine the new clients may count as stalled as well, before their first batch.
    assert worker.tally.count_of("stalled") >= 1
    assert len(read(topics.predictions)) == 10


def test_the_committed_offset_is_that_after_the_last_answer(kafka, topics, score, row, eventually):
    _send(kafka, topics.requests, [_request(row) for _ in range(30)])
    worker = score(topics)
    eventually(_dealt_with(worker, 30))
    worker.end()
    consumer = kafka.consumer(topics.group("score"))
    places = consumer.committed([TopicPartition(topics.requests, number) for number in (0, 1)], timeout=10)
    assert [place.offset for place in places] == [15, 15]
    consumer.close()


def test_a_log_with_little_room_holds_nobody_up_for_good(kafka, topics, score, read, row, eventually, tmp_path):
    _send(kafka, topics.requests, [_request(row) for _ in range(60)])
    log = PredictionLog(LogPlan(tmp_path, mode="sync", queue=7))
    worker = score(topics, log=log)
    eventually(_dealt_with(worker, 60))
    worker.end()
    assert log.close() == 0
    assert log.state().durable == 60
    assert len(read(topics.predictions)) == 60
