"""The latest value as of a moment, whatever the order in which events came and whatever the clock says."""

import datetime as dt
import math
import uuid

import pytest

from appraise.errors import DataError, StoreError
from appraise.store.database import Database
from appraise.store.features import FeatureEvent, all_features, latest_features, pack_features, write_features
from appraise.store.ingestion import ingest_features, next_offsets

NOON = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def _event(value=1.0, hours=0, user="user1", name="MedInc"):
    return FeatureEvent(user, name, value, NOON + hours * HOUR)


def _write(database: Database, *events: FeatureEvent) -> int:
    with database.connect() as connection:
        return write_features(connection, events)


def _latest(database: Database, *, user="user1", names=("MedInc",), hours=0.0):
    with database.dedicated() as connection:
        (found,) = latest_features(connection, [(user, names)], as_of=NOON + hours * HOUR)
    return found


def _values(database: Database, **asked):
    return {name: stored.value for name, stored in _latest(database, **asked).values.items()}


def test_the_latest_value_as_of_the_moment_counts(database):
    # Not in the order of their times: what comes late is history.
    _write(database, _event(3.0, hours=2), _event(1.0, hours=0), _event(2.0, hours=1))
    assert [_values(database, hours=hours).get("MedInc") for hours in (-1, 0, 0.5, 1, 1.5, 2, 100)] == [
        *(None, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0)
    ]


def test_a_clock_that_goes_backwards_sees_what_was_known_then(database):
    _write(database, _event(1.0, hours=0), _event(2.0, hours=5))
    assert _values(database, hours=6) == {"MedInc": 2.0}
    assert _values(database, hours=4) == {"MedInc": 1.0}
    before = _latest(database, hours=-1)
    assert before.values == {}
    assert before.known, "the user is known, though nothing is as of that moment"


def test_values_come_back_as_they_went_in(database):
    values = {
        "number": 8.3252,
        "whole": 41,
        "tiny": 5e-324,
        "huge": 1.7e308,
        "truth": True,
        "text": "Zürich 'q' \U0001f3e0",
    }
    _write(database, *(_event(value, name=name) for name, value in values.items()))
    found = _values(database, names=tuple(values))
    assert found == values
    assert {name: type(value) for name, value in found.items()} == {name: type(one) for name, one in values.items()}


def test_times_and_texts_are_kept_to_the_last_digit(database):
    zone = dt.timezone(dt.timedelta(hours=5, minutes=45))
    moments = [
        dt.datetime(1900, 1, 1, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
        dt.datetime(2000, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
        dt.datetime(2026, 2, 28, 23, 59, 59, 123_456, tzinfo=zone),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    ]
    users = ["user\t1", "back\\slash", '"{quoted, NULL}"', "\\N", "\U0001f3e0" * 200]
    _write(database, *(FeatureEvent(user, "a\nb", user, when) for user, when in zip(users, moments, strict=True)))
    with database.dedicated() as connection:
        found = [all_features(connection, user, as_of=moments[-1]).values["a\nb"] for user in users]
    assert [one.value for one in found] == users
    assert [one.timestamp for one in found] == moments


def test_each_user_of_one_question_gets_its_own(database):
    _write(database, _event(1.0), _event(2.0, user="user2"), _event(7, user="user2", name="HouseAge"))
    wanted = [("user2", ["HouseAge", "MedInc"]), ("user1", ["MedInc", "HouseAge"]), ("user3", ["MedInc"])]
    with database.dedicated() as connection:
        found = latest_features(connection, [*wanted, wanted[1]], as_of=NOON)
    assert [{name: one.value for name, one in user.values.items()} for user in found] == [
        {"HouseAge": 7, "MedInc": 2.0},
        {"MedInc": 1.0},
        {},
        {"MedInc": 1.0},
    ]
    assert [user.known for user in found] == [True, True, False, True]


def test_storing_again_changes_nothing_and_the_last_of_equal_times_wins(database):
    assert _write(database, _event(1.0), _event(2.0)) == 1
    assert _values(database) == {"MedInc": 2.0}
    assert _write(database, _event(2.0)) == 0
    assert _write(database, _event(3.0)) == 1
    assert _values(database) == {"MedInc": 3.0}


def test_ids_are_of_version_7_and_grow(database):
    for turn in range(2):
        _write(database, *(_event(number, hours=number) for number in range(100 * turn, 100 * turn + 100)))
    with database.connect() as connection:
        query = "SELECT feature_id FROM user_features ORDER BY ingestion_timestamp"
        ids = [uuid.UUID(str(identity)) for (identity,) in connection.exec_driver_sql(query)]
    assert len(set(ids)) == 200
    assert {identity.version for identity in ids} == {7}
    assert {identity.variant for identity in ids} == {uuid.RFC_4122}
    assert ids[:100] == sorted(ids[:100])


def test_everything_of_a_user_is_listed(database):
    _write(database, *(_event(float(number), name=f"feature{number}") for number in range(20)), _event(1.0, user="u"))
    with database.dedicated() as connection:
        found = all_features(connection, "user1", as_of=NOON)
        assert sorted(found.values) == sorted(f"feature{number}" for number in range(20))
        assert not all_features(connection, "nobody", as_of=NOON).known


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (_event(user=""), "user_id must be a text of 1 to 200 characters, received ''"),
        (_event(user="x" * 201), "user_id must be a text of 1 to 200 characters"),
        (_event(user="a\0b"), "user_id must be a text"),
        (_event(name="\ud800"), "event_type must be a text"),
        (_event(math.nan), "value must be a finite number, true, false or a text, received nan"),
        (_event(-math.inf), "value must be a finite number"),
        (_event(None), "value must be a finite number"),
        (_event("a\0b"), "value must be a text of at most"),
        (FeatureEvent("u", "n", 1.0, dt.datetime(2026, 11, 1)), "timestamp must have a time zone"),
    ],
)
def test_what_cannot_be_stored_is_refused_whole(database, wrong, sentence):
    with pytest.raises(DataError, match=sentence):
        _write(database, _event(1.0), wrong)
    assert _values(database) == {}


def test_offsets_move_with_what_was_written(database):
    def step(expected, following, *events):
        with database.connect() as connection:
            ingest_features(connection, pack_features(events), "ingest", "raw", expected=expected, following=following)

    step({0: None, 1: None}, {0: 10, 1: 5}, _event(1.0))
    step({0: 10, 1: 5}, {0: 20}, _event(2.0, hours=1))
    for ghost in (None, 10):
        with pytest.raises(StoreError, match="another worker of ingest has moved on in partition 0 of raw"):
            step({0: ghost, 1: 5}, {0: 30, 1: 6}, _event(9.0, hours=2))
    assert _values(database, hours=9) == {"MedInc": 2.0}, "what the ghost wrote is not there"
    step({1: 5}, {1: 6})
    with database.connect() as connection:
        assert next_offsets(connection, "ingest", "raw") == {0: 20, 1: 6}
        assert next_offsets(connection, "other", "raw") == {}
