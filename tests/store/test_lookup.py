"""Many requests, one query; and a database that is away is told soon, without waiting in vain."""

import datetime as dt
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from appraise.errors import StoreError, StoreUnavailableError
from appraise.store import lookup as lookups
from appraise.store.database import Database, DatabaseOptions
from appraise.store.features import FeatureEvent, write_features
from appraise.store.lookup import FeatureLookup

NOON = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def lookup(database):
    made = FeatureLookup(database, clock=lambda: NOON)
    yield made
    made.close()


@pytest.fixture
def users(database):
    with database.connect() as connection:
        write_features(connection, [FeatureEvent(f"user{n}", "MedInc", float(n), NOON) for n in range(600)])


def test_each_of_many_threads_gets_its_own_answer(lookup, users):
    def ask(number):
        (found,) = lookup.find([(f"user{number}", ["MedInc"])], seconds=30)
        return found.values["MedInc"].value

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(600))) == [float(n) for n in range(600)]


def test_a_batch_is_answered_in_its_order(lookup, users):
    found = lookup.find([(f"user{n}", ["MedInc"]) for n in reversed(range(600))], seconds=30)
    assert [one.values["MedInc"].value for one in found] == [float(n) for n in reversed(range(600))]


def test_the_clock_says_what_counts(database, users):
    lookup = FeatureLookup(database, clock=lambda: NOON - dt.timedelta(days=1))
    (found,) = lookup.find([("user1", ["MedInc"])], seconds=30)
    assert found.values == {}
    assert found.known
    lookup.close()


def test_a_connection_that_ended_meanwhile_is_made_again_unnoticed(lookup, users, database):
    assert lookup.find([("user1", ["MedInc"])], seconds=30)[0].known
    with database.dedicated(autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert lookup.find([("user1", ["MedInc"])], seconds=30)[0].known


def test_who_asks_in_vain_is_told_at_once_until_it_is_time_to_try_again(tmp_path, monkeypatch):
    monkeypatch.setattr(lookups, "_REST_SECONDS", 3600.0)
    nowhere = Database(DatabaseOptions("postgresql://u:secret@127.0.0.1:1/db", tmp_path))
    lookup = FeatureLookup(nowhere)
    with pytest.raises(
        StoreUnavailableError, match=r"db@127\.0\.0\.1:1 cannot be reached: Connection refused"
    ) as first:
        lookup.find([("user1", ["MedInc"])], seconds=30)
    assert "secret" not in str(first.value)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            lookup.ask([("user1", ["MedInc"])])
    monkeypatch.setattr(lookups, "_REST_SECONDS", 0.0)
    (asked,) = lookup.ask([("user1", ["MedInc"])])
    assert isinstance(asked.exception(30), StoreUnavailableError)
    lookup.close()


def test_a_database_that_does_not_answer_holds_nobody_longer_than_it_may(database, users, monkeypatch):
    monkeypatch.setattr(lookups, "ANSWER_SECONDS", 0.3)
    lookup = FeatureLookup(database, clock=lambda: NOON)
    with database.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE user_features IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"within 0.3 s|took too long"):
            lookup.find([("user1", ["MedInc"])], seconds=0.3)
        assert time.monotonic() - started < 2
    lookup.close()


def test_waiting_is_bounded(database, users, monkeypatch):
    monkeypatch.setattr(lookups, "_MOST_WAITING", 3)
    lookup = FeatureLookup(database, clock=lambda: NOON)
    with database.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE user_features IN ACCESS EXCLUSIVE MODE")
        futures = lookup.ask([("user1", ["MedInc"])])

        def ask_often():
            for _ in range(100):
                futures.extend(lookup.ask([("user1", ["MedInc"])]))

        with pytest.raises(StoreUnavailableError, match="3 requests wait for stored features already"):
            ask_often()
    assert len(futures) <= 5
    for future in futures:
        assert future.result(10)[0].known
    lookup.close()


def test_a_question_that_fails_as_nobody_foresaw_costs_no_other_one_its_answer(database, users):
    lookup = FeatureLookup(database, clock=lambda: NOON)
    with database.connect() as blocker:
        blocker.exec_driver_sql("LOCK TABLE user_features IN ACCESS EXCLUSIVE MODE")
        (held,) = lookup.ask([("user1", ["MedInc"])])
        # They wait behind it, and are asked together.
        answers = [lookup.ask([(user, ["MedInc"])])[0] for user in ("user2", "half a pair \ud800", "user3")]
    assert held.result(30)[0].known
    assert answers[0].result(30)[0].values["MedInc"].value == 2.0
    assert isinstance(answers[1].exception(30), UnicodeEncodeError)
    assert answers[2].result(30)[0].values["MedInc"].value == 3.0
    assert lookup.find([("user4", ["MedInc"])], seconds=30)[0].values["MedInc"].value == 4.0
    lookup.close()


def test_an_error_that_is_none_of_the_database_is_told_and_the_next_question_answered(database, users):
    moments = iter([ZeroDivisionError(), NOON])

    def clock():
        moment = next(moments)
        if isinstance(moment, Exception):
            raise moment
        return moment

    with closing(FeatureLookup(database, clock=clock)) as lookup:
        with pytest.raises(ZeroDivisionError):
            lookup.find([("user1", ["MedInc"])], seconds=30)
        assert lookup.find([("user1", ["MedInc"])], seconds=30)[0].known


def test_a_database_without_tables_is_named(make_database, tmp_path):
    with Database(DatabaseOptions(make_database(tables=False), tmp_path)) as bare:
        with closing(FeatureLookup(bare)) as lookup, pytest.raises(StoreError, match="has no tables yet") as caught:
            lookup.find([("user1", ["MedInc"])], seconds=30)
        assert "appraise db upgrade" in caught.value.hint


def test_closing_ends_the_thread(lookup, users, eventually):
    before = set(threading.enumerate())
    lookup.find([("user1", ["MedInc"])], seconds=30)
    (made,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "features")
    lookup.close()
    eventually(lambda: not made.is_alive())
