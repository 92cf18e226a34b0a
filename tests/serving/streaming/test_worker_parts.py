"""The parts of a worker that need no broker: slots, the watchdog, calls that hang, models that change, counts."""

import subprocess
import sys
import threading
import time

import httpx
import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from appraise.errors import (
    BrokerUnavailableError,
    RegistryError,
    SettingsError,
    StoreUnavailableError,
    StreamError,
    UnknownTopicError,
)
from appraise.serving.models import Shelf
from appraise.serving.source import RegistrySource
from appraise.serving.streaming import calling, reading, supervising
from appraise.serving.streaming.calling import Calls, close_client
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.failures import AbortedError, ClientsLostError
from appraise.serving.streaming.health import HealthServer, Pulse
from appraise.serving.streaming.keeping import ModelKeeper
from appraise.serving.streaming.lag import committed_offsets
from appraise.serving.streaming.reading import Reader
from appraise.serving.streaming.slots import hold_slot
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.watchdog import Watchdog


def test_each_worker_of_a_machine_has_a_slot_and_gets_the_same_again(tmp_path):
    with hold_slot(tmp_path, "g", None) as first, hold_slot(tmp_path, "g", None) as second:
        assert first != second
        with hold_slot(tmp_path, "other", None) as elsewhere:
            assert elsewhere == first
    with hold_slot(tmp_path, "g", None) as again:
        assert again == first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a/b", "0"), ("a_b", "0")),
        (("a.b", "c"), ("a", "b.c")),
        (("a", "Pod"), ("a", "pod")),
        (("a" * 249, "x"), ("a" * 248 + "b", "x")),
        (("größe", "0"), ("gr__e", "0")),
    ],
)
def test_slots_of_other_names_do_not_keep_each_other_out(tmp_path, one, other):
    with hold_slot(tmp_path, *one), hold_slot(tmp_path, *other):
        assert len({path.name.casefold() for path in tmp_path.iterdir()}) == 2


def test_a_slot_that_another_has_is_refused(tmp_path):
    with hold_slot(tmp_path, "g", "pod-0"):
        with pytest.raises(StreamError, match="pod-0"), hold_slot(tmp_path, "g", "pod-0"):
            pytest.fail("two have it")
        with hold_slot(tmp_path, "g", "pod-1") as other:
            assert other == "pod-1"


def test_a_slot_is_free_when_its_process_was_killed(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from appraise.serving.streaming.slots import hold_slot\n"
        "with hold_slot(pathlib.Path(sys.argv[1]), 'g', 'a'):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(StreamError), hold_slot(tmp_path, "g", "a"):
        pytest.fail("two have it")
    process.kill()
    process.wait()
    process.stdout.close()
    with hold_slot(tmp_path, "g", "a") as name:
        assert name == "a"


def test_the_watchdog_speaks_only_of_messages_that_wait_all_the_time():
    now, waiting = [0.0], [0]
    dog = Watchdog(10.0, lambda: waiting[0], clock=lambda: now[0])
    now[0] = 11.0
    assert dog.stalled() == 0
    waiting[0] = 5  # They have just come.
    now[0] = 22.0
    assert dog.stalled() == 0
    dog.progress()
    now[0] = 33.0
    assert dog.stalled() == 0
    now[0] = 44.0
    assert dog.stalled() == 5


def test_a_call_that_never_comes_back_is_left_behind(monkeypatch):
    monkeypatch.setattr(calling, "_GRACE_SECONDS", 0.1)
    calls, gate = Calls(), threading.Event()
    assert calls.call("add", lambda: 2, 1.0) == 2
    with pytest.raises(ValueError, match="its own"):
        calls.call("fail", lambda: (_ for _ in ()).throw(ValueError("its own")), 1.0)
    started = time.monotonic()
    with pytest.raises(ClientsLostError, match="send offsets: the call did not come back"):
        calls.call("send offsets", gate.wait, 0.1)
    assert time.monotonic() - started < 2.0
    assert calls.lost
    with pytest.raises(ClientsLostError):
        calls.call("add", lambda: 2, 1.0)
    monkeypatch.setattr(calling, "_CLOSE_SECONDS", 0.1)
    close_client("close", gate.wait)
    gate.set()


class _Misled:
    """A consumer whose question for its offsets went to a broker that is the group's coordinator no more."""

    def assign(self, places):
        self.assigned = places

    def poll(self, _seconds):
        return self

    def consume(self, _most, _seconds):
        return []

    def error(self):
        return KafkaError(KafkaError.NOT_COORDINATOR, "Failed to fetch committed offsets for 0 partition(s)")


def test_a_consumer_that_does_not_know_where_to_begin_is_made_anew():
    reader = Reader(_Misled(), "requests", partition=0)
    with pytest.raises(ClientsLostError, match="committed offsets"):
        reader.take(10, 0.1)


class _Unsettled:
    """A consumer whose last offset belongs to a transaction that ends after `looks` questions, if ever."""

    def __init__(self, looks):
        self.looks = looks
        self.sought = []

    def assign(self, _places):
        pass

    def committed(self, places, timeout):
        assert timeout > 0
        self.looks -= 1
        place = TopicPartition("requests", places[0].partition, 17)
        return [_Refused(place) if self.looks >= 0 else place]

    def seek(self, place):
        self.sought.append(place.offset)


class _Refused:
    """What is said of a partition whose offset cannot be told now."""

    error = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT, "there are unstable offsets")
    offset = OFFSET_INVALID

    def __init__(self, place):
        self.partition = place.partition


def test_an_offset_that_cannot_be_told_now_is_asked_for_again_and_never_taken_for_none(monkeypatch):
    consumer = _Unsettled(looks=3)
    Reader(consumer, "requests", partition=0).rewind()
    assert consumer.sought == [17]

    monkeypatch.setattr(reading, "_ASK_SECONDS", 0.2)
    never = _Unsettled(looks=1000)
    with pytest.raises(ClientsLostError, match="unstable offsets"):
        Reader(never, "requests", partition=0).rewind()
    assert never.sought == []


class _Moved:
    """A consumer whose group's coordinator is known again after `looks` questions."""

    def __init__(self, looks, code):
        self.looks = looks
        self.code = code
        self.closed = False

    def committed(self, places, timeout):
        assert timeout > 0
        self.looks -= 1
        if self.looks >= 0:
            raise KafkaException(KafkaError(self.code))
        return [TopicPartition("requests", 0, 17), TopicPartition("requests", 1, OFFSET_INVALID)]

    def close(self):
        self.closed = True


def test_offsets_of_a_group_whose_coordinator_has_moved_are_asked_for_again(monkeypatch):
    def ask(consumer, seconds):
        monkeypatch.setattr(KafkaConfig, "consumer", lambda *_: consumer)
        try:
            return committed_offsets(KafkaConfig("127.0.0.1:9", seconds=seconds), "score", "requests", [0, 1])
        finally:
            assert consumer.closed

    assert ask(_Moved(2, KafkaError.NOT_COORDINATOR), 5.0) == {0: 17}
    with pytest.raises(StreamError, match="the offsets of score cannot be read"):
        ask(_Moved(1000, KafkaError.COORDINATOR_LOAD_IN_PROGRESS), 0.3)
    with pytest.raises(StreamError, match="cannot be read") as caught:
        ask(_Moved(1000, KafkaError.GROUP_AUTHORIZATION_FAILED), 5.0)
    assert caught.value.hint == "give this user rights on the consumer group"


def test_a_champion_that_somebody_else_learnt_of_is_taken_up(scoring_home, eventually, tmp_path, monkeypatch):
    from appraise.bootstrap import build_registry
    from appraise.settings import Settings

    class Source(RegistrySource):
        asked = 0

        def ask(self, names):
            Source.asked += 1
            return super().remembered(names)

    def away(*_):
        raise RegistryError("the registry is away")

    source = Source(build_registry(Settings(home=scoring_home)))
    shelf = Shelf(source)
    shelf.open()
    changes, heard, cache = [], [], tmp_path / "models"
    (cache / "california").mkdir(parents=True)
    keeper = ModelKeeper(
        shelf,
        source,
        (),
        cache=cache,
        ask_seconds=1000.0,
        changed=lambda: changes.append(1),
        heard=heard.append,
        ask_now=False,
    )
    first = shelf.lineup
    (cache / "california" / "index.json").write_text("{}")
    eventually(lambda: shelf.lineup is not first)
    assert shelf.lineup.champions() == first.champions()
    assert not changes
    assert Source.asked == 0
    assert not heard
    keeper.ask()
    eventually(lambda: heard == ["answered"])
    assert Source.asked == 1
    monkeypatch.setattr(Source, "ask", away)
    keeper.ask()
    eventually(lambda: heard == ["answered", "failed"])
    keeper.close()


def test_health_and_metrics_are_told_over_http():
    pulse, tally = Pulse(), Tally("score")
    server = HealthServer("127.0.0.1", 0, pulse, tally)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        pulse.say("ready")
        assert client.get("/health/ready").status_code == 200
        pulse.say("waiting", "the broker is away")
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["reason"] == "the broker is away"
        now = time.time() * 1000
        tally.committed((("predicted", 2), ("dead_letter", 1)), [round(now - 40), round(now - 40), -1])
        tally.rebuilt("stalled")
        text = client.get("/metrics").text
    assert 'appraise_stream_messages_total{outcome="predicted",role="score"} 2.0' in text
    assert 'appraise_stream_rebuilds_total{reason="stalled",role="score"} 1.0' in text
    assert 'appraise_stream_seconds_count{role="score"} 2.0' in text
    assert 'appraise_stream_batch_messages_sum{role="score"} 3.0' in text
    with pytest.raises(SettingsError, match="cannot be listened on"):
        HealthServer("127.0.0.1", int(server.url.rpartition(":")[2]), pulse, tally)
    server.close()


class _Idle:
    """A session that has nothing to do, until its topics are gone."""

    trouble = None

    def turn(self):
        threading.Event().wait(0.01)
        return False

    def lag(self, *, ask=False):
        return 0

    def partitions(self):
        return (0,)

    def finish(self):
        pass

    def close(self):
        pass


@pytest.mark.parametrize(
    "error",
    [
        ClientsLostError("the clients are of no more use"),
        AbortedError(KafkaError(KafkaError.INVALID_TXN_STATE)),
        BrokerUnavailableError("nobody answers"),
        StoreUnavailableError("the database is away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_fails_again_and_again_is_tried_less_and_less_often(error):
    pauses = []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            if len(pauses) == 12:
                self.set()
            return self.is_set()

    class Failing(_Idle):
        def turn(self):
            raise error

    supervising.Supervisor(Failing, Stop(), Tally("score"), Pulse(), 30.0).run()
    longest = [min(15.0, 0.1 * 2.0**number) for number in range(12)]
    assert all(most / 2 <= pause <= most for most, pause in zip(longest, pauses, strict=True))


def test_a_worker_without_work_gets_new_clients_after_an_outage_and_ends_when_a_topic_is_gone(monkeypatch, eventually):
    monkeypatch.setattr(supervising, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(supervising, "_LAG_SECONDS", 0.05)
    monkeypatch.setattr(supervising, "_GONE_SECONDS", 0.2)
    state = {"trouble": None}

    def look():
        if state["trouble"] is not None:
            raise state["trouble"]

    pulse = Pulse()
    ended, made = [], []

    def open_session():
        made.append(_Idle())
        return made[-1]

    supervisor = supervising.Supervisor(open_session, threading.Event(), Tally("score"), pulse, 30.0, look)

    def run():
        try:
            supervisor.run()
        except UnknownTopicError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: pulse.ready)
    state["trouble"] = BrokerUnavailableError("nobody answers")
    eventually(lambda: not pulse.ready)
    assert pulse.to_dict()["reason"] == "nobody answers"
    assert len(made) == 1
    state["trouble"] = None
    eventually(lambda: pulse.ready)
    assert len(made) == 2
    state["trouble"] = UnknownTopicError("there is no topic")
    thread.join(20)
    assert not thread.is_alive()
    assert ended == [state["trouble"]]
