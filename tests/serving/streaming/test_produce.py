"""What a person sees who sends messages, watches them, and asks what waits: the program on a real broker."""

import json
import logging
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice
from random import Random

import pytest

from appraise.bootstrap import build_registry
from appraise.cli.program import run
from appraise.datasets.presets import find_spec, preset_names
from appraise.errors import StreamError, UnknownTopicError
from appraise.jobs import produce
from appraise.jobs.produce import varied_rows
from appraise.registry.mlflow_registry import Registry
from appraise.serving.rows import RowChecker
from appraise.serving.streaming.lag import lag_of
from appraise.serving.streaming.messages import decode_request
from appraise.serving.streaming.producing import Outgoing, send
from appraise.serving.streaming.topics import delete_topics
from appraise.serving.streaming.viewing import view
from appraise.settings import Settings


@pytest.fixture
def appraise(kafka, topics, tmp_path, monkeypatch, capsys):
    """Runs the program in this process, on the broker."""
    for name in list(os.environ):
        if name.startswith("APPRAISE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("APPRAISE_KAFKA__TOPIC_PREFIX", topics.prefix)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def call(*args):
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("appraise").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def test_one_message_goes_out_and_is_seen(appraise, topics):
    code, out, _ = appraise("stream", "produce")
    assert code == 0
    assert re.search(rf"Sent 1 message to {topics.requests}: 1 to partition [01]\.", out)
    code, out, err = appraise("stream", "view", "requests", "--count", "1", "--json")
    assert code == 0
    (message,) = map(json.loads, out.splitlines())
    assert message["value"]["dataset"] == "california"
    assert message["key"] == message["value"]["request_id"]
    assert f"1 message of {topics.requests}" in err


def test_places_are_told_as_they_are(appraise, kafka, topics):
    code, out, _ = appraise("stream", "produce", "30", "--seed", "1", "--json")
    assert code == 0
    told = {(one["partition"], one["offset"]): one["key"] for one in json.loads(out)["messages"]}
    with closing(view(kafka, topics.requests, to_end=True)) as messages:
        found = {(one.partition, one.offset): (one.key.decode(), one.value) for one in messages}
    assert {place: key for place, (key, _) in found.items()} == told
    assert {partition for partition, _ in told} == {0, 1}
    checker = RowChecker(find_spec("california"))
    assert not checker.problems([decode_request(value).features for _, value in found.values()])


def test_lines_of_a_file_are_sent_as_they_are(appraise, kafka, topics, tmp_path):
    (tmp_path / "lines").write_bytes(b"not json\n\n\xff\x1b[31m\n")
    assert appraise("stream", "produce", "--file", "lines", "--partition", "1")[0] == 0
    with closing(view(kafka, topics.requests, to_end=True)) as messages:
        assert [(one.partition, one.value) for one in messages] == [(1, b"not json"), (1, b"\xff\x1b[31m")]
    code, out, _ = appraise("stream", "view", "requests", "--count", "2")
    assert code == 0
    # What somebody sends does nothing to the terminal of who looks at it.
    assert "\\xff\\x1b[31m" in out
    assert "\x1b[31m" not in out


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("produce", "--partition", "7"), 10, "has no partition 7"),
        (("produce", "--to", "nowhere"), 10, "there is no topic 'nowhere'"),
        (("produce", "--to", "events"), 2, "events are not made up"),
        (("produce", "--dataset", "nowhere"), 4, "no preset 'nowhere'"),
        (("produce", "--file", "none.jsonl"), 5, "there is no file none.jsonl"),
        (("view", "request"), 10, "there is no topic 'request'"),
        (("view", "requests", "--from", "5"), 10, "has no offset 5"),
        (("view", "requests", "--from", "middle"), 2, "'middle' is not beginning, end or an offset"),
        (("view", "requests", "--partition", "2"), 10, "has no partition 2"),
        (("topics", "create", "--partitions", "3"), 10, "has 2 partitions, and 3 were asked for"),
        (("topics", "delete"), 2, "--yes"),
        (("dead-letters", "list", "predictions"), 2, "is not requests or events"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_code(appraise, args, code, message):
    ended, out, err = appraise("stream", *args)
    assert (ended, out) == (code, "")
    assert message in err


def test_without_a_broker_there_is_a_sentence_within_a_deadline(appraise, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    # Where nothing listens at all it is not waited for as long as a broker may take to answer.
    monkeypatch.setenv("APPRAISE_KAFKA__SECONDS", "60")
    started = time.monotonic()
    code, _, err = appraise("stream", "produce")
    assert code == 10
    assert "error: no Kafka broker answers at 127.0.0.1:9" in err
    assert "hint: " in err
    assert time.monotonic() - started < 30
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS")
    code, _, err = appraise("stream", "lag")
    assert code == 10
    assert "appraise kafka start" in err


def test_a_topic_that_goes_while_it_is_viewed_ends_the_view(kafka, topics):
    send(kafka, topics.events, [Outgoing(b"{}", partition=0)])
    with closing(view(kafka, topics.events)) as messages:
        assert next(messages).value == b"{}"
        delete_topics(kafka, [topics.events])
        with pytest.raises(UnknownTopicError, match="was deleted"):
            next(messages)


def test_lag_counts_messages_and_not_markers(kafka, topics):
    producer = kafka.producer({"transactional.id": topics.group("test")})
    producer.init_transactions(10)
    for count in (2, 1):
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(topics.requests, b"x", partition=0)
        producer.commit_transaction(10)
    pairs = [(topics.group("score"), topics.requests)]
    # Three messages, and two markers.
    assert [(one.end, one.lag) for one in lag_of(kafka, pairs)] == [(5, 3), (0, 0)]
    consumer = kafka.consumer(topics.group("score"))
    consumer.subscribe([topics.requests])
    assert len(consumer.consume(3, timeout=20)) == 3
    consumer.commit(asynchronous=False)
    consumer.close()
    assert [(one.committed, one.lag) for one in lag_of(kafka, pairs)] == [(4, 0), (None, 0)]


def test_homes_are_those_of_the_one_model_even_before_it_was_ever_served(scoring_home, tmp_path, monkeypatch):
    monkeypatch.setattr(produce, "DEFAULT_DATASET", "homes")
    used = build_registry(Settings(home=scoring_home))
    registry = Registry(used.tracking_uri, used.artifact_root, tmp_path / "cache")
    assert produce.find_dataset(registry, None).name == "california"
    empty = Registry(f"sqlite:///{tmp_path / 'none.db'}", None, tmp_path / "other")
    assert produce.find_dataset(empty, None).name == "homes"


@pytest.mark.parametrize("name", preset_names())
def test_made_up_homes_are_such_as_the_dataset_takes(name):
    rows = list(islice(varied_rows(find_spec(name), Random(0)), 200))  # noqa: S311
    assert not RowChecker(find_spec(name)).problems(rows)
    assert len({json.dumps(row, default=str) for row in rows}) > 100


def test_a_view_that_is_stopped_ends_well(kafka, topics, tmp_path):
    send(kafka, topics.requests, [Outgoing(b"{}", partition=0)])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
    environment |= {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    command = [sys.executable, "-m", "appraise", "stream", "view", topics.requests]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        assert "offset 0" in process.stdout.readline()
        process.send_signal(2)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "1 message of" in err
    assert "Traceback" not in err


def test_an_offset_beyond_the_end_is_refused(kafka, topics):
    with pytest.raises(StreamError, match="has no offset 1") as caught:
        list(view(kafka, topics.requests, partition=0, start=1, to_end=True))
    assert "0 to 0" in caught.value.hint
