"""The audit trail of a service: which champion was replaced by which, and who asked for it."""

import pytest
from tests.waiting import until

from appraise.store.audit import AuditEntry, entries
from appraise.store.database import Database, DatabaseOptions


@pytest.fixture
def trail(database_url, tmp_path):
    """Asks for what was noted of models, by who asked and of which."""
    with Database(DatabaseOptions(database_url, tmp_path / "none")) as database:

        def noted() -> list[tuple[str, str, object]]:
            with database.connect() as connection:
                found: list[AuditEntry] = [one for one in entries(connection) if one.action == "model.reloaded"]
            return sorted(((one.actor, one.subject, one.detail) for one in found), key=lambda one: one[:2])

        yield noted


def test_a_new_champion_is_named_with_its_versions_and_a_reload_without_one_is_not(
    serve, asking_home, register, trail, database_url
):
    server = serve(asking_home, "--workers", "2", APPRAISE_DATABASE_URL=database_url)
    assert server.post("/model/reload", timeout=60).json()["changed"] == []
    register(asking_home, "1.1.0", promote=True)
    register(asking_home, "3.0.0", name="again", promote=True)
    assert server.post("/model/reload", timeout=60).json()["changed"] == ["again", "california"]
    assert server.post("/model/reload", timeout=60).json()["changed"] == []
    # A challenger answers nobody who does not ask for it.
    register(asking_home, "1.2.0", promote=False)
    assert server.post("/model/reload", timeout=60).json()["changed"] == []
    assert server.end() == 0
    assert trail() == [
        ("anybody on this machine", "again", {"from": None, "to": "3.0.0"}),
        ("anybody on this machine", "california", {"from": "1.0.0", "to": "1.1.0"}),
    ]


def test_a_champion_that_was_promoted_while_nobody_served_is_noted_at_the_next_start(
    serve, own_home, register, trail, database_url
):
    serve(own_home, APPRAISE_DATABASE_URL=database_url).end()
    (index,) = own_home.glob("cache/**/california/index.json")
    cached = index.read_bytes()
    register(own_home, "1.1.0", promote=True)
    # As where another machine promoted it: the cache of this one still has the old champion.
    index.write_bytes(cached)
    server = serve(own_home, APPRAISE_DATABASE_URL=database_url)
    until(lambda: server.get("/").json()["models"] == {"california": "1.1.0"})
    until(trail)
    assert trail() == [("appraise serve", "california", {"from": "1.0.0", "to": "1.1.0"})]
