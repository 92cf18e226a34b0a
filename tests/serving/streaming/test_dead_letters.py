"""Dead letters go back byte for byte, each once, and only those that are meant."""

import uuid
from contextlib import closing

import pytest
from confluent_kafka import TopicPartition

from appraise.errors import MessageError
from appraise.serving.streaming.deadletters import REPLAYS, dead_letter_headers
from appraise.serving.streaming.producing import Outgoing, send
from appraise.serving.streaming.replaying import dead_letters, replay
from appraise.serving.streaming.viewing import view

REFUSED = [
    (0, b"k0", b"not json \xff", "the message is not JSON"),
    (1, None, b'{"features": 1}', "features must be an object"),
    (1, b"k2", b"{", "the message is not JSON"),
]


@pytest.fixture
def letters(kafka, topics):
    """Three requests, each refused."""
    send(kafka, topics.requests, [Outgoing(value, key, partition) for partition, key, value, _ in REFUSED])
    _refuse(kafka, topics)
    return topics


def _refuse(kafka, topics, start="beginning"):
    """Put every request into the dead letters, as a worker does."""
    producer = kafka.producer()
    # Connected before its first message, a producer need not wait for its id.
    producer.list_topics(timeout=60)
    consumer = kafka.consumer(f"refusing-{uuid.uuid4()}", {"enable.partition.eof": True})
    consumer.assign(_beginnings(topics.requests))
    ended = set()
    while len(ended) < 2:
        message = consumer.poll(60)
        assert message is not None
        if message.error():
            ended.add(message.partition())
            continue
        if start != "beginning" and not message.headers():
            continue
        why = next((text for _, _, value, text in REFUSED if value == message.value()), "again")
        producer.produce(
            topics.dead_letters(topics.requests),
            message.value(),
            message.key(),
            message.partition(),
            headers=dead_letter_headers(message, MessageError(why), stage="decode"),
        )
    consumer.close()
    assert producer.flush(60) == 0


def _beginnings(topic):
    return [TopicPartition(topic, number, 0) for number in (0, 1)]


def _read(kafka, topic):
    with closing(view(kafka, topic, to_end=True)) as messages:
        return list(messages)


def test_letters_say_where_they_came_from_and_why(kafka, letters):
    found = list(dead_letters(kafka, letters, letters.inputs))
    assert [(one.origin.partition, one.seen.key, one.seen.value, one.origin.message) for one in found] == REFUSED
    assert {one.origin.stage for one in found} == {"decode"}
    assert {one.origin.reason for one in found} == {"MessageError"}


def test_a_replay_sends_each_back_once_to_its_partition_byte_for_byte(kafka, letters):
    before = len(_read(kafka, letters.requests))
    result = replay(kafka, letters, letters.inputs)
    assert result.sent == {letters.requests: 3}
    assert result.kept == 0
    again = [one for one in _read(kafka, letters.requests) if one.headers]
    assert len(_read(kafka, letters.requests)) == before + 3
    assert sorted((one.partition, one.value) for one in again) == sorted((p, value) for p, _, value, _ in REFUSED)
    assert {one.key for one in again} == {b"k0", None, b"k2"}
    assert all(one.headers == ((REPLAYS, b"1"),) for one in again)
    assert replay(kafka, letters, letters.inputs).sent == {}
    assert list(dead_letters(kafka, letters, letters.inputs)) == []


def test_a_filter_leaves_the_others_for_later(kafka, letters):
    result = replay(kafka, letters, letters.inputs, reason="must be an OBJECT")
    assert result.sent == {letters.requests: 1}
    assert result.kept == 2
    assert replay(kafka, letters, letters.inputs, most=1).sent == {letters.requests: 1}
    assert [one.origin.message for one in dead_letters(kafka, letters, letters.inputs)] == ["the message is not JSON"]


def test_replays_are_counted_over_and_over(kafka, letters):
    replay(kafka, letters, letters.inputs, reason="object")
    _refuse(kafka, letters, start="replayed")
    (found,) = [one for one in dead_letters(kafka, letters, letters.inputs) if one.origin.replays]
    assert found.origin.replays == 1
    replay(kafka, letters, letters.inputs, reason="object")
    counts = sorted(one.headers for one in _read(kafka, letters.requests) if one.headers)
    assert counts == [((REPLAYS, b"1"),), ((REPLAYS, b"2"),)]


def test_a_replay_that_dies_before_its_commit_sends_nothing(kafka, letters):
    producer = kafka.producer({"transactional.id": letters.group("replay")})
    producer.list_topics(timeout=60)
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(letters.requests, b"half a replay", partition=0)
    producer.flush(60)
    # The next replay takes its transactions over, which aborts what it left open.
    assert replay(kafka, letters, letters.inputs).sent == {letters.requests: 3}
    assert b"half a replay" not in [one.value for one in _read(kafka, letters.requests)]
    (uncommitted,) = [one for one in _uncommitted(kafka, letters.requests) if one == b"half a replay"]
    assert uncommitted


def _uncommitted(kafka, topic):
    """Every value, those of aborted transactions too."""
    consumer = kafka.consumer(
        f"all-{uuid.uuid4()}", {"isolation.level": "read_uncommitted", "enable.partition.eof": True}
    )
    consumer.assign(_beginnings(topic))
    ended, values = set(), []
    while len(ended) < 2:
        message = consumer.poll(60)
        assert message is not None
        if message.error():
            ended.add(message.partition())
        else:
            values.append(message.value())
    consumer.close()
    return values
