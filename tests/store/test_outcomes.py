"""Outcomes: what is taken, what is refused, which counts, and what live accuracy makes of them."""

import datetime as dt
import uuid
from contextlib import closing

import pytest
from sqlalchemy import text

from appraise.errors import DataError, StoreUnavailableError, UnknownPredictionError
from appraise.monitoring.accuracy import live_accuracy
from appraise.store.audit import entries
from appraise.store.database import Database, DatabaseOptions
from appraise.store.loader import Loader
from appraise.store.outcome_fields import Outcome, read_outcome
from appraise.store.outcomes import Recorded, add_outcomes, outcomes_of
from appraise.store.records import CHECK, ServedInterval

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
ID = uuid.UUID(int=1)


def _day(day, month=11):
    return dt.datetime(2026, month, day, tzinfo=dt.UTC)


@pytest.fixture
def log(tmp_path, database, served, write_log):
    """Three estimates of 1 November: 4.5, of two homes; the third waits in the spool."""
    records = [served(1, user_id="home-1"), served(2, user_id="home-2", model_version="1.1.0", arm="challenger")]
    write_log(tmp_path / "log", records)
    with closing(Loader(tmp_path / "log", database)) as loader:
        loader.load()
    write_log(tmp_path / "log", [served(3)])
    return tmp_path / "log"


@pytest.fixture
def add(log, database):
    def adder(*outcomes, source="rest", caller="web"):
        return add_outcomes(database, log, outcomes, source=source, caller=caller)

    return adder


def test_an_outcome_of_a_prediction_is_kept_and_counts(add, database):
    (found,) = add(Outcome(450_000, _day(5), ID))
    assert isinstance(found, Recorded)
    assert (found.status, found.counted, found.reason) == ("recorded", True, None)
    assert (found.estimate, found.currency) == (450_000.0, "USD")
    assert [one.price for one in outcomes_of(database, ID)] == [450_000.0]


def test_the_same_again_changes_nothing(add, database):
    first, again = (add(Outcome(450_000, _day(5), ID))[0] for _ in range(2))
    assert (again.status, again.outcome_id) == ("known", first.outcome_id)
    assert len(outcomes_of(database, ID)) == 1


def test_another_price_is_a_correction_which_counts_from_then_on(add, database):
    first = add(Outcome(450_000, _day(5), ID))[0]
    second = add(Outcome(500_000, _day(5), ID))[0]
    assert second.status == "corrected"
    assert [one.outcome_id for one in outcomes_of(database, ID)] == [second.outcome_id, first.outcome_id]
    with database.connect() as connection:
        entry = entries(connection)[0]
    assert (entry.actor, entry.action, entry.subject) == ("web", "outcome.corrected", str(second.outcome_id))
    assert entry.detail["corrects"] == str(first.outcome_id)
    (model,) = live_accuracy(database, days=30, now=NOW).models
    assert model.metrics["mape"].value == pytest.approx(0.1)
    # The first price again is another correction, and not known.
    assert add(Outcome(450_000, _day(5), ID))[0].status == "corrected"


def test_contradictions_in_one_list_are_taken_in_their_order(add, database):
    results = add(Outcome(450_000, _day(5), ID), Outcome(460_000, _day(5), ID), Outcome(460_000, _day(5), ID))
    assert [one.status for one in results] == ["recorded", "corrected", "known"]
    assert outcomes_of(database, ID)[0].price == 460_000


def test_a_clock_that_goes_back_does_not_change_which_counts(add, database):
    add(Outcome(450_000, _day(5), ID))
    with database.connect() as connection:
        connection.execute(text("UPDATE outcomes SET recorded_at = now() + interval '1 hour'"))
    add(Outcome(500_000, _day(5), ID))
    assert outcomes_of(database, ID)[0].price == 500_000


def test_a_sale_before_the_estimate_is_kept_and_not_counted(add, database):
    (found,) = add(Outcome(450_000, _day(20, month=10), ID))
    assert (found.status, found.counted, found.reason) == (
        "recorded",
        False,
        "the estimate was not made before the sale",
    )
    accuracy = live_accuracy(database, days=60, now=NOW)
    assert (accuracy.models, accuracy.outcomes, accuracy.after_the_sale) == ((), 1, 1)


def test_an_estimate_that_was_a_check_of_the_service_settles_nothing(add, database, log, served, write_log):
    write_log(log, [served(30, arm=CHECK), served(31, user_id="home-2", arm=CHECK, prediction=9.0)])
    waiting, *_ = add(Outcome(450_000, _day(5), uuid.UUID(int=30)))
    with closing(Loader(log, database)) as loader:
        loader.load()
    loaded, of_user = add(Outcome(460_000, _day(5), uuid.UUID(int=30)), Outcome(450_000, _day(5), user_id="home-2"))
    for found in (waiting, loaded):
        assert (found.counted, found.reason) == (False, "the estimate was a check of the service")
    assert (of_user.counted, of_user.estimate) == (True, 450_000.0), "not that of the check, which was made later"
    (model,) = live_accuracy(database, days=30, now=NOW).models
    assert (model.arm, model.rows) == ("challenger", 1)


def test_an_unknown_prediction_is_refused_and_the_others_are_taken(add):
    results = add(Outcome(1.0, _day(5), uuid.UUID(int=99)), Outcome(450_000, _day(5), ID))
    assert isinstance(results[0], UnknownPredictionError)
    assert "00000063" in results[0].message
    assert results[1].status == "recorded"


def test_a_prediction_that_still_waits_in_the_spool_is_known(add):
    (found,) = add(Outcome(450_000, _day(5), uuid.UUID(int=3)))
    assert (found.status, found.counted) == ("recorded", True)


@pytest.mark.parametrize("price", [4.5, 45_000_000_000])
def test_a_price_in_another_unit_is_refused(add, price):
    (found,) = add(Outcome(price, _day(5), ID))
    assert isinstance(found, DataError)
    assert found.message.endswith("is far from the estimate of 450,000 USD")
    assert "USD" in found.hint


def test_an_outcome_of_a_user_settles_the_last_estimate_before_the_sale(add, database, log, served, write_log):
    moments = ["2026-11-03T00:00:00+00:00", "2026-11-10T00:00:00+00:00"]
    later = [
        served(10 + number, user_id="home-1", timestamp=moment, prediction=5.0 + number)
        for number, moment in enumerate(moments)
    ]
    write_log(log, later)
    with closing(Loader(log, database)) as loader:
        loader.load()
    (found,) = add(Outcome(500_000, _day(5), user_id="home-1"))
    assert (found.status, found.counted, found.estimate) == ("recorded", True, 500_000.0)
    (model,) = live_accuracy(database, days=30, now=NOW).models
    assert (model.rows, model.metrics["mape"].value) == (1, 0.0)


def test_an_outcome_of_a_user_settles_each_model_version_and_arm(add, database, log, served, write_log):
    write_log(log, [served(20, user_id="home-1", model_version="1.1.0", arm="shadow", prediction=5.0)])
    with closing(Loader(log, database)) as loader:
        loader.load()
    add(Outcome(500_000, _day(5), user_id="home-1"))
    models = live_accuracy(database, days=30, now=NOW).models
    assert [(model.model_version, model.arm, model.rows) for model in models] == [
        ("1.0.0", "champion", 1),
        ("1.1.0", "shadow", 1),
    ]


def test_two_sales_of_one_home_are_two_sales_and_two_prices_of_one_are_a_correction(add):
    results = add(
        Outcome(450_000, _day(5), user_id="home-1"),
        Outcome(470_000, _day(15), user_id="home-1"),
        Outcome(440_000, _day(5), user_id="home-1"),
    )
    assert [one.status for one in results] == ["recorded", "recorded", "corrected"]


def test_an_outcome_of_a_user_without_an_estimate_is_kept_and_said_to_settle_nothing(add):
    (found,) = add(Outcome(450_000, _day(5), user_id="nobody"))
    assert (found.status, found.counted) == ("recorded", False)
    assert found.reason == "there is no estimate of nobody from before the sale"


def test_an_estimate_that_two_outcomes_settle_counts_once(add, database):
    add(Outcome(450_000, _day(5), ID), Outcome(500_000, _day(6), user_id="home-1"))
    (model,) = live_accuracy(database, days=30, now=NOW).models
    assert (model.rows, model.metrics["mape"].value) == (1, 0.0)


def test_live_accuracy_has_errors_and_coverage_by_level(add, database, log, served, write_log):
    wide, narrow = ServedInterval(4.0, 5.0, 0.9), ServedInterval(4.4, 4.6, 0.5)
    records = [served(100 + n, prediction_interval=wide if n % 2 else narrow) for n in range(10)]
    write_log(log, records)
    with closing(Loader(log, database)) as loader:
        loader.load()
    add(*(Outcome(450_000 + 10_000 * n, _day(5), uuid.UUID(int=100 + n)) for n in range(10)))
    (model,) = live_accuracy(database, days=30, now=NOW).models
    assert model.rows == 10
    assert model.metrics["mae"].value == pytest.approx(0.45)
    assert [(one.level, one.rows, one.observed) for one in model.coverage] == [(0.5, 5, 0.2), (0.9, 5, 0.6)]
    assert live_accuracy(database, days=5, now=NOW).outcomes == 0
    assert live_accuracy(database, days=30, model="another", now=NOW).models == ()


def test_a_database_that_is_away_takes_nothing_and_says_so(log, database_url, tmp_path):
    away = database_url.replace("host=", "host=/nowhere")
    with (
        Database(DatabaseOptions(away, tmp_path, connect_timeout=2)) as lost,
        pytest.raises(StoreUnavailableError),
    ):
        add_outcomes(lost, log, [Outcome(450_000, _day(5), ID)], source="rest")


GOOD = {"prediction_id": str(ID), "price": 451000, "sold_at": "2026-11-01"}


@pytest.mark.parametrize(
    "sold_at", ["2026-11-01", "2026-11-01T12:00:00Z", "2026-11-01T12:00:00.5+02:00", dt.date(2026, 11, 1), NOW]
)
def test_a_day_or_a_moment_is_read(sold_at):
    found = read_outcome({**GOOD, "sold_at": sold_at}, now=NOW)
    assert isinstance(found, Outcome)
    assert found.sold_at.tzinfo is not None


@pytest.mark.parametrize(
    ("change", "field", "constraint"),
    [
        ({"price": -1}, "price", "must be above 0"),
        ({"price": 0}, "price", "must be above 0"),
        ({"price": None}, "price", "must not be missing"),
        ({"price": "451000"}, "price", "must be a number"),
        ({"price": True}, "price", "must be a number"),
        ({"price": float("nan")}, "price", "must be a finite number"),
        ({"price": 10**400}, "price", "must be at most"),
        ({"sold_at": None}, "sold_at", "must not be missing"),
        ({"sold_at": "yesterday"}, "sold_at", "must be a date such as 2026-11-01"),
        ({"sold_at": "2026-11-01T12:00:00"}, "sold_at", "must be a date such as 2026-11-01"),
        ({"sold_at": "2026-11-23"}, "sold_at", "must not be in the future"),
        ({"sold_at": 20261101}, "sold_at", "must be a date such as"),
        ({"prediction_id": "abc"}, "prediction_id", "must be the id that an answer gave"),
        ({"prediction_id": None}, "prediction_id", "must be given, or else user_id"),
        ({"user_id": "home-1"}, "prediction_id", "and not both"),
        ({"prediction_id": None, "user_id": ""}, "user_id", "must be a text of 1 to 200"),
        ({"prediction_id": None, "user_id": "a\0b"}, "user_id", "must be a text of 1 to 200"),
        ({"model_name": 5}, "model_name", "must be a text of 1 to 200"),
        ({"prices": 5}, "prices", "is not a field of an outcome"),
    ],
)
def test_what_is_wrong_is_named(change, field, constraint):
    problems = read_outcome({**GOOD, **change}, now=NOW)
    assert not isinstance(problems, Outcome)
    assert any(problem.field == field and constraint in problem.constraint for problem in problems), problems
