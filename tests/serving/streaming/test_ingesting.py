"""Events are in the table as if each had come once, however often they came and whatever died in between."""

import datetime as dt
import json
import random
import threading

import pytest

from appraise.datasets.presets import find_spec
from appraise.errors import StoreError, StoreUnavailableError, UnknownTopicError
from appraise.jobs.ingesting import event_check
from appraise.serving.streaming import supervising
from appraise.serving.streaming.ingesting import FeatureSink, check_event_time
from appraise.serving.streaming.lives import WorkerLimits, ingesting_session, topics_present
from appraise.serving.streaming.tally import Tally
from appraise.serving.streaming.topics import delete_topics
from appraise.store.features import pack_features

LIMITS = WorkerLimits(batch=200, session_seconds=6.0)


def _event(user, value, seconds, kind="MedInc"):
    moment = dt.datetime(2026, 1, 20, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    return {"user_id": user, "event_type": kind, "value": value, "timestamp": moment.isoformat()}


def _send(kafka, topic, events):
    producer = kafka.producer()
    for number, event in enumerate(events):
        value = event if isinstance(event, bytes | None) else json.dumps(event).encode()
        producer.produce(topic, value, str(number), number % 2)
    assert producer.flush(30) == 0


def _stored(database):
    with database.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT user_id, event_type, feature_value, ingestion_timestamp FROM user_features ORDER BY 1, 2, 4"
        )
        return [tuple(row) for row in rows]


def _written(database):
    with database.connect() as connection:
        return connection.exec_driver_sql("SELECT coalesce(sum(next_offset), 0) FROM stream_offsets").scalar_one()


@pytest.fixture
def ingest(kafka, work):
    """Starts a worker on topics and a database."""

    def start(topics, database, *, kind=FeatureSink, check=check_event_time, **stall):
        tally, group = Tally("ingest"), topics.group("ingest")
        sink = kind(database, group, topics.events)
        return work(ingesting_session(kafka, topics, group, None, sink, check, tally, LIMITS), tally, **stall)

    return start


def test_events_are_stored_and_what_is_none_goes_to_the_dead_letters(kafka, topics, database, ingest, read, eventually):
    good = [_event("user1", 3.5, 1), _event("user1", True, 2, "renovated"), _event("user2", "Bay", 3, "zone")]
    bad = [
        b"nonsense",
        b"",
        None,
        b'{"user_id": "\xff"}',
        {**good[0], "value": None},
        {**good[0], "timestamp": "yesterday"},
        {**good[0], "timestamp": "2026-01-20T15:00:00"},
        {**good[0], "timestamp": "1066-01-20T15:00:00Z"},
        {**good[0], "timestamp": "2999-01-20T15:00:00Z"},
        {**good[0], "user_id": ""},
        {**good[0], "more": 1},
        json.dumps({**good[0], "value": float("nan")}).encode(),
        b'{"user_id": "u", "user_id": "v", "event_type": "e", "value": 1, "timestamp": "2026-01-20T15:00:00Z"}',
    ]
    _send(kafka, topics.events, [*good, *bad, *good])
    worker = ingest(topics, database)
    eventually(lambda: _written(database) == len(good) * 2 + len(bad) or worker.error)
    worker.end()
    assert worker.error is None
    assert [(user, kind, value) for user, kind, value, _ in _stored(database)] == [
        ("user1", "MedInc", 3.5),
        ("user1", "renovated", True),
        ("user2", "zone", "Bay"),
    ]
    letters = {int(letter.key()): letter.value() for letter in read(topics.dead_letters(topics.events))}
    assert letters.keys() == set(range(len(good), len(good) + len(bad)))
    assert letters[3] == b"nonsense"
    assert worker.tally.count_of("dead_letter") == len(bad)


class _Dying(FeatureSink):
    """Dies before or after the commit, now and then: the session knows nothing of what became of it."""

    dice = random.Random(3)  # noqa: S311

    def write(self, rows, following, expected):
        fate = self.dice.random()
        if fate < 0.3:
            raise StoreError("killed before the commit")
        super().write(rows, following, expected)
        if fate < 0.6:
            raise StoreError("killed after the commit")


def test_repeated_shuffled_and_killed_in_between_is_the_same_as_once(
    kafka, make_topics, make_database, ingest, eventually
):
    from appraise.store.database import Database, DatabaseOptions

    dice = random.Random(5)  # noqa: S311
    events = [_event(f"user{number % 40}", number / 7, number) for number in range(400)]
    repeated = [event for event in events for _ in range(dice.randint(1, 5))]
    dice.shuffle(repeated)
    tables = []
    for sent, kind in ((events, FeatureSink), (repeated, _Dying)):
        topics = make_topics()
        with Database(DatabaseOptions(make_database(), None)) as database:
            _send(kafka, topics.events, sent)
            worker = ingest(topics, database, kind=kind)
            eventually(lambda: _written(database) == len(sent) or worker.error)  # noqa: B023
            worker.end()
            assert worker.error is None
            tables.append(_stored(database))
    assert len(tables[0]) == 400
    assert tables[1] == tables[0]


def test_a_worker_that_is_behind_the_database_writes_nothing(kafka, topics, database, ingest, eventually):
    _send(kafka, topics.events, [_event(f"user{number}", number, number) for number in range(20)])
    first = ingest(topics, database)
    eventually(lambda: _written(database) == 20 or first.error)
    first.end()
    ghost = FeatureSink(database, topics.group("ingest"), topics.events)
    assert ghost.positions([0, 1]) == {0: 10, 1: 10}
    before = ghost.expected([0])
    ghost.write(pack_features([]), {0: 12}, before)
    # As one that went away with a batch, and finds its partitions elsewhere while the batch is being written.
    stale = FeatureSink(database, topics.group("ingest"), topics.events)
    assert stale.positions([0]) == {0: 12}
    with pytest.raises(StoreError, match="another worker"):
        stale.write(pack_features([]), {0: 11}, before)
    assert FeatureSink(database, topics.group("ingest"), topics.events).positions([0]) == {0: 12}


class _Away(FeatureSink):
    """The database is away until it is let back."""

    back = threading.Event()

    def positions(self, partitions):
        self._ask()
        return super().positions(partitions)

    def write(self, rows, following, expected):
        self._ask()
        super().write(rows, following, expected)

    def _ask(self):
        if not self.back.is_set():
            raise StoreUnavailableError("the database is away", hint="wait")


def test_while_the_database_is_away_the_worker_waits_in_its_group(
    kafka, topics, database, ingest, eventually, monkeypatch
):
    monkeypatch.setattr(_Away, "back", threading.Event())
    _send(kafka, topics.events, [_event(f"user{number}", number, number) for number in range(50)])
    worker = ingest(topics, database, kind=_Away, stall_seconds=1.0)
    eventually(lambda: worker.pulse.to_dict()["status"] == "waiting")
    assert worker.pulse.to_dict()["reason"] == "the database is away"
    assert not worker.pulse.ready
    _Away.back.set()
    eventually(lambda: _written(database) == 50 or worker.error)
    eventually(lambda: worker.pulse.ready)
    # And once more, in the middle of its work.
    _Away.back.clear()
    _send(kafka, topics.events, [_event(f"user{number}", -number, 100 + number) for number in range(50)])
    eventually(lambda: worker.pulse.to_dict()["status"] == "waiting")
    _Away.back.set()
    eventually(lambda: _written(database) == 100 or worker.error)
    worker.end()
    assert worker.error is None
    assert len(_stored(database)) == 100
    assert worker.tally.count_of("lost") == worker.tally.count_of("stalled") == 0


def test_a_topic_of_events_that_is_deleted_ends_the_worker_with_an_error(
    kafka, topics, database, ingest, eventually, monkeypatch
):
    monkeypatch.setattr(supervising, "_GONE_SECONDS", 1.0)
    monkeypatch.setattr(supervising, "_LOOK_SECONDS", 0.5)
    _send(kafka, topics.events, [_event("user1", 1.0, 1)])
    worker = ingest(topics, database)
    # As `jobs.ingesting` does: a consumer is not told that there is no topic any more.
    worker._supervisor.look = topics_present(kafka, (topics.events,))
    eventually(lambda: _stored(database))
    delete_topics(kafka, [topics.events])
    assert worker.join(60)
    assert isinstance(worker.error, UnknownTopicError)


def test_events_of_a_dataset_must_be_about_its_columns(kafka, topics, database, ingest, read, eventually):
    events = [_event("u", 3.5, 1), _event("u", -1.0, 2), _event("u", "high", 3), _event("u", 3, 4, "Rooms")]
    _send(kafka, topics.events, events)
    worker = ingest(topics, database, check=event_check(find_spec("california")))
    eventually(lambda: _written(database) == 4 or worker.error)
    worker.end()
    assert [row[2] for row in _stored(database)] == [3.5]
    reasons = [
        dict(letter.headers())["__connect.errors.exception.message"].decode()
        for letter in sorted(read(topics.dead_letters(topics.events)), key=lambda one: int(one.key()))
    ]
    assert "MedInc must be at least" in reasons[0]
    assert "MedInc must be a number" in reasons[1]
    assert "Rooms is not a field of this dataset" in reasons[2]
