"""The steps make the tables that the schema says, all of them or none, and leave newer databases alone."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from appraise.errors import StoreError, StoreRevisionError
from appraise.store.audit import entries
from appraise.store.database import Database, DatabaseOptions
from appraise.store.migrations import VERSION_TABLE
from appraise.store.revisions import newest_revision
from appraise.store.schema import metadata


@pytest.fixture
def bare(make_database, tmp_path):
    """A database without tables."""
    with Database(DatabaseOptions(make_database(tables=False), tmp_path)) as opened:
        yield opened


def _mark(database: Database, revision: str) -> None:
    with database.connect() as connection:
        connection.execute(text("UPDATE appraise_revision SET version_num = :revision"), {"revision": revision})


def test_the_steps_make_what_the_schema_says(database):
    with database.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "version_table": VERSION_TABLE}
        )
        assert compare_metadata(context, metadata) == []


def test_an_upgrade_says_where_it_came_from_and_is_done_once(bare):
    assert bare.status().revision is None
    assert bare.upgrade(actor="ann") == (None, newest_revision())
    assert bare.upgrade(actor="ann") == (newest_revision(), newest_revision())
    assert bare.status().up_to_date
    bare.check()
    with bare.connect() as connection:
        (entry,) = entries(connection)
    assert (entry.actor, entry.action, entry.subject) == ("ann", "database.upgraded", newest_revision())


def test_a_step_that_fails_leaves_nothing_behind(bare):
    with bare.connect() as connection:
        connection.execute(text("CREATE TABLE stream_offsets (theirs int)"))
    with pytest.raises(StoreError, match="already exists"):
        bare.upgrade(actor="ann")
    with bare.connect() as connection:
        tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
        assert list(tables) == ["stream_offsets"]


def test_a_database_without_tables_is_named_with_what_to_do(bare):
    with pytest.raises(StoreRevisionError, match="has no tables yet") as caught:
        bare.check()
    assert "appraise db upgrade" in caught.value.hint


def test_a_newer_database_is_refused_and_left_as_it_is(database):
    _mark(database, "9999")
    for refused in (database.check, lambda: database.upgrade(actor="ann")):
        with pytest.raises(StoreRevisionError, match="revision 9999, which this version of Appraise does not know"):
            refused()
    assert database.status().revision == "9999"
    assert not database.status().up_to_date


def test_the_newest_step_is_the_one_that_is_named():
    from appraise.store.revisions import _known

    assert _known()[0] == newest_revision()


def test_every_step_can_be_undone(database):
    from alembic import command
    from alembic.config import Config

    from appraise.store import revisions

    config = Config()
    config.set_main_option("script_location", str(revisions._FOLDER))
    config.set_main_option("path_separator", "os")
    with database.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert database.status().revision is None
    database.upgrade(actor="ann")
    database.check()
