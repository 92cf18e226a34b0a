"""`POST /topics/{topic}` as a client of the Kafka REST Proxy sees it, on a real broker."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, closing, contextmanager

import httpx
import pytest
import uvicorn

from appraise.errors import BrokerUnavailableError
from appraise.jobs.kafka.broker import LocalBroker
from appraise.serving.keys import KeyFile
from appraise.serving.models import Shelf
from appraise.serving.rest.app import build_app
from appraise.serving.rest.crew import Crew
from appraise.serving.rest.guard import Guard
from appraise.serving.rest.limits import Limits
from appraise.serving.rest.service import Service
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.proxy import TopicPublisher
from appraise.serving.streaming.topics import Topics, create_topics, list_topics
from appraise.serving.streaming.viewing import view

RECORDS = {"Content-Type": "application/vnd.kafka.json.v2+json"}
EVENT = {"user_id": "user2", "event_type": "MedInc", "value": 8.3, "timestamp": "2026-01-20T15:00:00Z"}


@asynccontextmanager
async def _client(folder, find, topics, **options):
    publisher = TopicPublisher(find, topics.inputs, **options)
    guard = Guard(KeyFile(folder / "keys.json"))
    service = Service(Shelf(None), Limits(), guard, Crew(), "sqlite:///none.db", folder, publisher=publisher)
    transport = httpx.ASGITransport(build_app(service))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield client
    finally:
        publisher.close(1)


@contextmanager
def _served(folder, find, topics):
    """The address of a service on a port of its own."""
    publisher = TopicPublisher(find, topics.inputs)
    guard = Guard(KeyFile(folder / "keys.json"))
    service = Service(Shelf(None), Limits(), guard, Crew(), "sqlite:///none.db", folder, publisher=publisher)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(build_app(service), lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            publisher.close(1)


@pytest.fixture
def exchange(tmp_path, kafka, topics):
    """Sends requests to a service of this test's own."""

    def send(*bodies, topic=None, headers=RECORDS, find=lambda: kafka, **options):
        async def talk():
            async with _client(tmp_path, find, topics, **options) as client:
                return [
                    await client.post(
                        f"/topics/{topic or topics.events}",
                        content=body if isinstance(body, bytes) else json.dumps(body),
                        headers=headers,
                    )
                    for body in bodies
                ]

        return asyncio.run(talk())

    return send


def _read(kafka, topic):
    with closing(view(kafka, topic, to_end=True)) as messages:
        return {(one.partition, one.offset): (one.key, one.value) for one in messages}


def test_records_are_where_the_answer_says(exchange, kafka, topics):
    records = [
        {"value": EVENT},
        {"key": "a", "value": 1, "partition": 1},
        {"value": None, "partition": 0},
        {"key": {"id": 7}, "value": "text"},
    ]
    (answer,) = exchange({"records": records})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.kafka.v2+json"
    document = answer.json()
    assert (document["key_schema_id"], document["value_schema_id"]) == (None, None)
    found = _read(kafka, topics.events)
    assert len(found) == 4
    places = [(one["partition"], one["offset"]) for one in document["offsets"]]
    assert json.loads(found[places[0]][1]) == EVENT
    assert places[1][0] == 1
    assert found[places[1]] == (b'"a"', b"1")
    assert places[2][0] == 0
    assert found[places[2]] == (None, None)
    assert found[places[3]] == (b'{"id": 7}', b'"text"')


def test_values_go_on_byte_for_byte(exchange, kafka, topics):
    (answer,) = exchange(b'{"records": [{"value": {"b" : 1.50, "a":[ 1e3,123456789012345678901234567890]}}]}')
    assert answer.status_code == 200
    ((_, value),) = _read(kafka, topics.events).values()
    assert value == b'{"b" : 1.50, "a":[ 1e3,123456789012345678901234567890]}'


def test_equal_keys_go_to_one_partition(exchange, topics):
    answers = exchange(*[{"records": [{"key": f"user{n % 3}", "value": n}]} for n in range(12)])
    places = [answer.json()["offsets"][0]["partition"] for answer in answers]
    assert all(places[n] == places[n % 3] for n in range(12))


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({"recordz": []}, 422, 422, "Invalid request format"),
        ({"records": []}, 422, 422, "from 1 to"),
        ({"records": {}}, 422, 422, "must be an array"),
        ({"records": [1]}, 422, 422, r"records\[0\] must be an object"),
        ({"records": [{"value": 1}, {"key": 1}]}, 422, 422, r"records\[1\] must have a value"),
        ({"records": [{"value": 1, "offset": 3}]}, 422, 422, "no field 'offset'"),
        ({"records": [{"value": 1, "partition": -1}]}, 422, 422, "partition"),
        ({"records": [{"value": 1, "partition": True}]}, 422, 422, "partition"),
        ({"records": [{"value": 1, "partition": 2}]}, 404, 40402, "has no partition 2"),
        (b'{"records": [{"value": NaN}]}', 400, 400, "NaN is not a JSON number"),
        (b'{"records": [{"value": 1, "value": 2}]}', 422, 422, "more than once"),
        (b'{"records": [{"value": "\xff"}]}', 400, 400, "not UTF-8"),
        (b"", 400, 400, "empty"),
        (b"[" * 10_000, 400, 400, "nested too deeply"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_nothing_of_it_sent(exchange, kafka, topics, body, status, code, message):
    (answer,) = exchange(body)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert re.search(message, answer.json()["message"])
    assert _read(kafka, topics.events) == {}


def test_topics_are_told_apart(exchange, topics):
    (unknown,) = exchange({"records": [{"value": 1}]}, topic=f"{topics.prefix}price_request")
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, 40401)
    (forged,) = exchange({"records": [{"value": 1}]}, topic=topics.predictions)
    assert (forged.status_code, forged.json()["error_code"]) == (403, 40301)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("text/plain", 400), ("application/vnd.kafka.binary.v2+json", 415), ("application/json", 200)],
)
def test_only_json_records_are_taken(exchange, kind, status):
    (answer,) = exchange({"records": [{"value": 1}]}, headers={"Content-Type": kind})
    assert answer.status_code == status


def test_a_record_that_is_too_large_is_told_beside_the_others(exchange):
    (answer,) = exchange({"records": [{"value": "x" * 5_000_000}, {"value": "small"}]})
    assert answer.status_code == 200
    large, small = answer.json()["offsets"]
    assert large == {"partition": None, "offset": None, "error_code": 1, "error": large["error"]}
    assert "too large" in large["error"]
    assert small["offset"] == 0


def test_more_than_is_allowed_on_its_way_is_refused_at_once(exchange):
    (answer,) = exchange({"records": [{"value": "x" * 2000}]}, most_bytes=1000)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_without_a_cluster_the_answer_says_so(exchange):
    def find():
        raise BrokerUnavailableError("no Kafka is configured, and no broker runs on this machine")

    (answer,) = exchange({"records": [{"value": 1}]}, find=find)
    assert (answer.status_code, answer.json()["error_code"]) == (503, 50003)
    assert "no Kafka is configured" in answer.json()["message"]


def test_a_broker_that_is_away_costs_an_answer_and_comes_back(tmp_path, broker):
    local = LocalBroker(tmp_path / "kafka")
    local.start(port=0)
    topics = Topics("away-")
    try:
        config = KafkaConfig(local.running().bootstrap_servers, seconds=60)
        create_topics(config, topics.inputs, partitions=1)

        async def talk():
            async with _client(tmp_path, lambda: config, topics, seconds=2) as client:

                async def post():
                    body = json.dumps({"records": [{"value": 1}]})
                    return await client.post(f"/topics/{topics.events}", content=body, headers=RECORDS)

                before = await post()
                os.kill(local.running().pid, signal.SIGSTOP)
                started = time.monotonic()
                away = await post()
                waited = time.monotonic() - started
                os.kill(local.running().pid, signal.SIGCONT)
                after, given_up = await post(), time.monotonic() + 60
                while after.status_code != 200 and time.monotonic() < given_up:
                    after = await post()
                return before, away, waited, after

        before, away, waited, after = asyncio.run(talk())
    finally:
        local.stop()
    assert before.json()["offsets"] == [{"partition": 0, "offset": 0}]
    assert (away.status_code, away.json()["error_code"]) == (503, 50003)
    assert waited < 30
    assert after.status_code == 200


def test_many_requests_at_a_time_are_each_answered_with_their_own_places(tmp_path, kafka, topics):
    async def talk():
        async with _client(tmp_path, lambda: kafka, topics) as client:

            async def post(number):
                records = [{"value": [number, n]} for n in range(20)]
                answer = await client.post(
                    f"/topics/{topics.events}", content=json.dumps({"records": records}), headers=RECORDS
                )
                return number, answer.json()["offsets"]

            return await asyncio.gather(*map(post, range(50)))

    answers = asyncio.run(talk())
    found = _read(kafka, topics.events)
    assert len(found) == 1000
    for number, offsets in answers:
        values = [json.loads(found[one["partition"], one["offset"]][1]) for one in offsets]
        assert values == [[number, n] for n in range(20)]
    assert sum(one.offsets for one in list_topics(kafka, [topics.events])) == 1000


def test_schemathesis_finds_nothing(tmp_path, kafka):
    topics = Topics()
    create_topics(kafka, topics.inputs, partitions=2)
    with _served(tmp_path, lambda: kafka, topics) as url:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", "all"]
        bounds = ["--include-path", "/topics/{topic}", "--max-examples", "20", "--seed", "1", "--no-color"]
        done = subprocess.run(
            [*command, *bounds], capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Tested: +1\b", done.stdout), done.stdout
