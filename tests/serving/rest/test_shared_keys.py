"""Keys in a database open every service that uses it, and go on doing so while it is away."""

import json
import subprocess
import sys

import pytest
from sqlalchemy import text
from tests.waiting import until

from appraise.errors import UnknownKeyError
from appraise.jobs.keys import KeyPlace, create_key, followed, list_keys, revoke_key
from appraise.store.audit import entries
from appraise.store.database import Database, DatabaseOptions


@pytest.fixture
def place(database_url, tmp_path):
    with Database(DatabaseOptions(database_url, tmp_path / "none")) as database:
        yield KeyPlace(tmp_path / "machine1", database)


def _create(place, name="web"):
    return create_key(place, name, ["predict", "read", "admin"], rate_per_second=None, actor="ann")


def _audit(place):
    with place.database.connect() as connection:
        return [(one.actor, one.action, one.subject) for one in entries(connection)][:-1]


def test_keys_are_made_and_revoked_and_both_are_noted(place):
    key, secret = _create(place)
    assert secret.startswith("appraise_")
    assert list_keys(place) == (key,)
    revoked = revoke_key(place, "web", actor="bob")
    assert revoked.id == key.id
    assert list_keys(place)[0].revoked_at
    assert _audit(place) == [("bob", "key.revoked", key.id), ("ann", "key.created", key.id)]
    with pytest.raises(UnknownKeyError, match="no valid key 'web'"):
        revoke_key(place, "web", actor="bob")


def test_keys_of_another_database_open_nothing(place, make_database, tmp_path):
    key, _ = _create(place)
    with followed(place):
        assert place.file.read() == (key,)
    with Database(DatabaseOptions(make_database(), tmp_path / "none")) as database:
        other = KeyPlace(place.home, database)
        with followed(other):
            assert other.file.read() == ()


def test_a_damaged_copy_is_made_anew(place):
    key, _ = _create(place)
    with followed(place):
        assert place.copy is not None
        place.copy.path.write_text("garbage")
    with followed(place):
        assert place.file.read() == (key,)


def test_services_of_two_machines_share_keys(place, asking_home, home, start, row, register):
    first, second = (start(one, APPRAISE_DATABASE_URL=place.database.options.url) for one in (asking_home, home))
    try:
        assert first.post("/predict", json=row).status_code == 200, "nobody made a key yet"
        _, secret = _create(place)
        headers = {"X-API-Key": secret}
        for server in (first, second):
            until(lambda server=server: server.post("/predict", json=row).status_code == 401)
            assert server.post("/predict", json=row, headers=headers).status_code == 200
        register(asking_home, "1.1.0", promote=True)
        assert first.post("/model/reload", headers=headers).status_code == 200
        until(lambda: ("web", "model.reloaded", "california") in _audit(place))
        # The database goes away: what was known goes on, for a service that starts anew too.
        with place.database.dedicated(autocommit=True) as connection:
            name = connection.execute("SELECT current_database()").fetchone()[0]
        _allow(place, name, allowed=False)
        assert first.end() == 0
        first = start(asking_home, APPRAISE_DATABASE_URL=place.database.options.url)
        assert first.post("/predict", json=row).status_code == 401
        assert first.post("/predict", json=row, headers=headers).status_code == 200
        _allow(place, name, allowed=True)
        revoke_key(place, "web", actor="ann")
        for server in (first, second):
            until(lambda server=server: server.post("/predict", json=row, headers=headers).status_code == 401)
    finally:
        first.end()
        second.end()


def _allow(place, name, *, allowed):
    """Let connections to a database be made, or end them all."""
    url = place.database.options.url.replace(f"/{name}", "/template1")
    place.database.close()
    with Database(DatabaseOptions(url, place.home)) as server, server.dedicated(autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {str(allowed).lower()}")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def test_other_machines_are_not_served_without_a_key(database_url, own_home):
    command = [sys.executable, "-m", "appraise", "--home", str(own_home), "serve", "--host", "0.0.0.0", "--json"]  # noqa: S104
    done = subprocess.run(
        [*command, "--port", "0"],
        env={"PATH": "", "APPRAISE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert "there is no API key" in json.loads(done.stdout)["error"]["message"]


def test_a_key_of_this_machine_is_noted_where_there_is_an_embedded_database(tmp_path):
    place = KeyPlace(tmp_path / "home", Database(DatabaseOptions(None, tmp_path / "home" / "postgres")))
    _create(place)
    assert not place.database.exists(), "a key is no reason to make one"
    place.database.upgrade(actor="tests")
    key, _ = _create(place, "other")
    with place.database as database, database.connect() as connection:
        assert connection.execute(text("SELECT subject FROM audit WHERE action = 'key.created'")).scalar_one() == key.id
