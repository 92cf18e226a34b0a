"""What is wrong with a database is said in a sentence, with what to do, and without its password."""

import copy
import socket
import threading
import time

import psycopg
import pytest
from sqlalchemy import text

from appraise.errors import SettingsError, StoreError, StoreRevisionError, StoreUnavailableError
from appraise.store.database import Database, DatabaseOptions
from appraise.store.faults import explained

SECRET = "s3cr3t-p@ss"
QUOTED = "s3cr3t-p%40ss"


def _name(database):
    return database.options.url.partition("@/")[2].partition("?")[0]


@pytest.fixture
def opened(tmp_path):
    """Opens databases by address."""
    made = []

    def make(url, **options):
        made.append(Database(DatabaseOptions(url, tmp_path, **options)))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def place(postgres):
    """The folder of the server's socket."""
    return postgres.options.folder / "socket"


@pytest.fixture
def locked(postgres, database, place):
    """The address of a database that asks a user for a password, without one."""
    rules = postgres.options.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all locked scram-sha-256\n" + before)
    name = _name(database)
    with database.connect() as connection:
        connection.execute(text("DROP ROLE IF EXISTS locked"))
        connection.execute(text(f"CREATE ROLE locked LOGIN PASSWORD '{SECRET}'"))
        connection.execute(text("SELECT pg_reload_conf()"))
    yield f"postgresql://locked{{}}@/{name}?host={place}"
    rules.write_text(before)


def test_the_right_password_opens(opened, locked):
    assert opened(locked.format(f":{QUOTED}")).ping() < 5
    call = opened(locked.format(f":{QUOTED}")).psql()
    assert call.environment == {"PGPASSWORD": SECRET}
    assert SECRET not in " ".join(call.arguments)
    assert SECRET not in str(call.to_dict())


@pytest.mark.parametrize("given", ["", ":wrong-" + QUOTED])
def test_a_wrong_password_is_named_and_not_told(opened, locked, given):
    with pytest.raises(StoreError, match="does not accept the user or the password") as caught:
        opened(locked.format(given)).ping()
    assert not isinstance(caught.value, StoreUnavailableError), "trying again does not help"
    assert "APPRAISE_DATABASE_URL" in caught.value.hint
    told = f"{caught.value} {caught.value.hint} {opened(locked.format(given)).address}"
    assert SECRET not in told
    assert QUOTED not in told


def test_one_that_cannot_be_reached_is_said_to_be_away(opened):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(
        StoreUnavailableError, match=rf"homes@127\.0\.0\.1:{port} cannot be reached: Connection ref"
    ) as e:
        opened(f"postgresql://ann:{QUOTED}@127.0.0.1:{port}/homes").ping()
    assert SECRET not in str(e.value)
    with pytest.raises(StoreUnavailableError, match=r"the host of the database homes@nowhere\.invalid is not known"):
        opened("postgresql://ann@nowhere.invalid/homes").ping()


def test_one_that_takes_the_call_and_says_nothing_is_given_up(opened):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="does not answer in time"):
            opened(f"postgresql://ann@127.0.0.1:{deaf.getsockname()[1]}/homes", connect_timeout=2.0).ping()
        assert time.monotonic() - started < 8


def test_a_database_or_user_that_is_not_there_is_named(opened, place):
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        opened(f"postgresql://appraise@/nowhere?host={place}").ping()
    with pytest.raises(StoreError, match='role "nobody" does not exist'):
        opened(f"postgresql://nobody@/appraise?host={place}").ping()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(opened, database, place, encoding):
    with database.dedicated(autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE old_{encoding} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        )
    old = opened(f"postgresql://appraise@/old_{encoding.lower()}?host={place}")
    for asked in (old.check, lambda: old.upgrade(actor="tests")):
        with pytest.raises(StoreError, match=f"keeps its texts in {encoding}") as caught:
            asked()
        assert "UTF8" in caught.value.hint


@pytest.mark.parametrize("wrong", ["postgresql://u@h:port/db", "postgresql//u", "postgresql://u@h:1:2/db"])
def test_an_address_that_is_none_is_a_wrong_setting(opened, wrong):
    with pytest.raises(SettingsError, match="APPRAISE_DATABASE_URL is not an address"):
        opened(wrong).ping()


def test_a_read_only_database_can_be_read_and_says_why_it_cannot_be_written(database):
    name = _name(database)
    with database.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    database.close()
    database.check()
    assert database.status().up_to_date
    with pytest.raises(StoreError, match="is read-only") as caught, database.connect() as connection:
        connection.execute(text("INSERT INTO audit (actor, action, subject) VALUES ('a', 'b', 'c')"))
    assert "primary" in caught.value.hint


def test_a_user_who_may_not_is_told_so(database, opened, place):
    with database.connect() as connection:
        connection.execute(text("DROP ROLE IF EXISTS guest"))
        connection.execute(text("CREATE ROLE guest LOGIN"))
    name = _name(database)
    guest = opened(f"postgresql://guest@/{name}?host={place}")
    with pytest.raises(StoreError, match="does not allow it: permission denied for table audit"), guest.connect() as c:
        c.execute(text("SELECT * FROM audit"))


def test_a_statement_that_takes_too_long_is_ended(database, opened):
    hasty = opened(database.options.url, statement_timeout=0.2)
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="took too long") as caught, hasty.connect() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    assert time.monotonic() - started < 5
    assert "database.statement_timeout" in caught.value.hint
    assert hasty.ping() < 5, "the connection is as good as before"


def test_a_lock_is_not_waited_for_without_end(database, opened):
    hasty = opened(database.options.url, statement_timeout=0.3)
    with database.connect() as holder:
        holder.execute(text("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(StoreUnavailableError), hasty.connect() as connection:
            connection.execute(text("SELECT * FROM audit"))


def test_more_connections_than_there_are_is_said(database, opened):
    small = opened(database.options.url, pool_size=1, connect_timeout=0.2)
    with small.connect(), pytest.raises(StoreUnavailableError, match=r"every connection .* is in use") as caught:
        small.ping()
    assert "database.pool_size" in caught.value.hint
    assert small.ping() < 5


def test_connections_that_the_server_ended_are_made_again(database):
    assert database.ping() < 5
    with database.dedicated(autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert database.ping() < 5


def test_an_error_rolls_back_what_was_begun(database):
    def fail():
        with database.connect() as connection:
            connection.execute(text("DELETE FROM audit"))
            connection.execute(text("SELECT 1 / 0"))

    with pytest.raises(StoreError, match="division by zero"):
        fail()
    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit")).scalar_one() > 0


def test_it_is_used_by_many_threads_at_a_time(database):
    failures = []

    def work():
        try:
            for _ in range(20):
                database.ping()
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_copy_has_connections_of_its_own(database):
    # Handing it to another process copies it in the same way.
    assert database.ping() < 5
    again = copy.copy(database)
    database.close()
    assert again.options == database.options
    assert again.ping() < 5
    again.close()


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (
            psycopg.errors.DiskFull("could not extend file: No space left"),
            StoreError,
            "the disk of the database d is full",
        ),
        (psycopg.errors.AdminShutdown("terminating connection"), StoreUnavailableError, "the database d is away"),
        (psycopg.errors.CannotConnectNow("the database system is starting up"), StoreUnavailableError, "is away"),
        (psycopg.errors.TooManyConnections("sorry, too many clients"), StoreUnavailableError, "is away"),
        (psycopg.errors.DeadlockDetected("deadlock detected"), StoreUnavailableError, "is away"),
        (psycopg.errors.UndefinedTable('relation "audit" does not exist'), StoreRevisionError, "lacks a table"),
        (psycopg.errors.UniqueViolation("duplicate key\nDETAIL: secret"), StoreError, "refuses: duplicate key$"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_of_the_server_are_told_in_words(error, kind, sentence):
    told = explained(error, "d")
    assert type(told) is kind
    with pytest.raises(kind, match=sentence):
        raise told


def test_an_installation_without_a_driver_says_what_to_install(opened, monkeypatch):
    monkeypatch.setattr("appraise.store.faults.find_spec", lambda name: None)
    for database in (opened(None), opened("postgresql://ann@db/homes")):
        with pytest.raises(StoreError, match="no driver for PostgreSQL") as caught:
            database.ping()
        assert "appraise[store]" in caught.value.hint
