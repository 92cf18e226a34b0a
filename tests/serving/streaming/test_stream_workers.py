"""`appraise stream score` and `ingest` as processes: they begin, tell how they are, and end well."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import httpx
import pytest

from appraise.errors import StreamError
from appraise.serving.streaming.sharing import keep_to_one_way
from appraise.serving.streaming.topics import create_topics, delete_topics


@pytest.fixture
def start(kafka, tmp_path):
    """Starts `appraise stream ...` and waits until it has begun."""
    processes = []

    def starter(topics, home, *words, **settings):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
        environment |= {
            "APPRAISE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "APPRAISE_KAFKA__TOPIC_PREFIX": topics.prefix,
            **settings,
        }
        command = [sys.executable, "-m", "appraise", "--home", str(home), "stream", *words, "--json"]
        log = (tmp_path / f"{words[0]}-{len(processes)}.log").open("w")
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=tmp_path
        )
        log.close()
        processes.append(process)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.rstrip() == "}":
                return process, json.loads("".join(lines))
        raise AssertionError(f"it did not begin, exit code {process.wait()}")

    yield starter
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def test_a_scoring_worker_answers_tells_how_it_is_and_ends_well(
    kafka, topics, scoring_home, start, read, row, eventually
):
    process, said = start(topics, scoring_home, "score")
    assert said["models"] == {"california": "1.0.0"}
    assert said["partition"] is None
    producer = kafka.producer()
    producer.produce(topics.requests, json.dumps({"features": row}), "k", 1)
    producer.produce(topics.requests, b"poison", "p", 0)
    producer.flush(10)
    with httpx.Client(base_url=said["health"], trust_env=False) as client:
        assert client.get("/health/live").status_code == 200
        eventually(lambda: client.get("/health/ready").status_code == 200)
        eventually(lambda: client.get("/health/ready").json()["registry"] == "answered")
        eventually(lambda: 'messages_total{outcome="predicted",role="score"} 1.0' in client.get("/metrics").text)
        eventually(lambda: 'messages_total{outcome="dead_letter",role="score"} 1.0' in client.get("/metrics").text)
        text = client.get("/metrics").text
        assert 'appraise_stream_model{model="california",version="1.0.0"} 1.0' in text
        assert "appraise_stream_lag" in text
        assert client.get("/nothing").status_code == 404
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    (answer,) = read(topics.predictions)
    assert answer.partition() == 1
    assert json.loads(answer.value())["model_version"] == "1.0.0"


def test_missing_topics_and_models_are_an_error_with_a_code(kafka, topics, scoring_home, appraise_error, tmp_path):
    code, error = appraise_error(kafka, topics, tmp_path / "empty", "score")
    assert code == 7
    assert error["type"] == "UnknownModelError"
    create_topics(kafka, [topics.predictions], partitions=2)
    delete_topics(kafka, [topics.predictions])
    code, error = appraise_error(kafka, topics, scoring_home, "score")
    assert code == 10
    assert "price_predictions" in error["message"]
    code, error = appraise_error(kafka, topics, scoring_home, "score", "--partition", "5")
    assert code == 10
    code, error = appraise_error(
        kafka, topics, scoring_home, "ingest", APPRAISE_DATABASE_URL="postgresql://127.0.0.1:1/x"
    )
    assert code == 9
    delete_topics(kafka, [topics.events])
    code, error = appraise_error(kafka, topics, scoring_home, "ingest")
    assert code == 10
    assert f"there is no topic '{topics.events}'" in error["message"]


@pytest.fixture
def appraise_error(tmp_path):
    """The exit code and the error of a worker that cannot begin."""

    def run(kafka, topics, home, *words, **settings):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
        environment |= {
            "APPRAISE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "APPRAISE_KAFKA__TOPIC_PREFIX": topics.prefix,
            **settings,
        }
        command = [sys.executable, "-m", "appraise", "--home", str(home), "stream", *words, "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=90, check=False
        )
        return done.returncode, json.loads(done.stdout)["error"]

    return run


def _ended(process):
    """End a worker as an operator would."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_workers_that_name_partitions_and_that_share_them_do_not_meet_in_a_group(
    kafka, topics, scoring_home, start, appraise_error, tmp_path, eventually
):
    def refused(*words):
        code, error = appraise_error(kafka, topics, scoring_home, "score", *words)
        assert code == 10
        assert "answered twice" in error["message"]
        assert "--partition" in error["hint"]

    named, _ = start(topics, scoring_home, "score", "--partition", "0")
    refused()
    _ended(named)
    shared, said = start(topics, scoring_home, "score")
    with httpx.Client(base_url=said["health"], trust_env=False) as client:
        eventually(lambda: client.get("/health/ready").json()["partitions"] == [0, 1])
    refused("--partition", "0")
    elsewhere = tmp_path / "another machine"
    with pytest.raises(StreamError, match="answered twice"), _working(kafka, elsewhere, topics, 0):
        pass
    _ended(shared)
    with _working(kafka, elsewhere, topics, 0):
        pass


def test_workers_of_one_kind_meet_in_a_group_and_those_of_both_in_two(kafka, topics, tmp_path):
    with ExitStack() as named:
        first = named.enter_context(ExitStack())
        for stack, partition in ((first, 0), (named, 1)):
            stack.enter_context(_working(kafka, tmp_path, topics, partition))
        with _working(kafka, tmp_path, topics, None, group="another"):
            pass
        first.close()
        with pytest.raises(StreamError, match="answered twice"), _working(kafka, tmp_path, topics, None):
            pass
    with ExitStack() as shared:
        shared.enter_context(_working(kafka, tmp_path, topics, None))
        shared.enter_context(_working(kafka, tmp_path, topics, None))
        with pytest.raises(StreamError, match="answered twice"), _working(kafka, tmp_path, topics, 0):
            pass


def _working(kafka, folder, topics, partition, *, group="score"):
    """As long as a worker of a group works that names a partition, or none."""
    return keep_to_one_way(kafka, folder, topics.group(group), partition)
