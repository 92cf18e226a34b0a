"""Revisions of the tables: which a database has, which this version knows, and the way from one to the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from appraise.errors import StoreRevisionError
from appraise.store.migrations import NEWEST, VERSION_TABLE

if TYPE_CHECKING:
    import psycopg
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

_FOLDER = Path(__file__).parent / "migrations"
#: Names the lock that one upgrade holds, so that services which start together do not both make the tables.
_LOCK = 0x61707072_61697365


def newest_revision() -> str:
    """The revision that this version of Appraise knows."""
    return NEWEST


def current_revision(connection: psycopg.Connection[Any]) -> str | None:
    """The revision of a database; None where it has no tables of ours."""
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (VERSION_TABLE,)).fetchone()
    if found is None or not found[0]:
        return None
    row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608
    return None if row is None else str(row[0])


def check_revision(revision: str | None, address: str) -> None:
    """Refuse a database whose tables are not those that this version knows.

    Raises:
        StoreRevisionError: they are older, newer or missing.
    """
    newest = newest_revision()
    if revision == newest:
        return
    if revision is not None and revision not in _known():
        raise unknown_revision(revision, address)
    what = "has no tables yet" if revision is None else f"has revision {revision}, this version needs {newest}"
    raise StoreRevisionError(f"the database {address} {what}", hint="bring it up to date: appraise db upgrade")


def upgrade(connection: Connection, address: str) -> tuple[str | None, str]:
    """Bring the tables up to date, in the connection's transaction.

    Returns:
        The revision before and after.

    Raises:
        StoreRevisionError: the database has a revision that this version does not know; nothing was changed.
    """
    from sqlalchemy import text

    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    driver: Any = connection.connection.driver_connection
    before, after = current_revision(driver), newest_revision()
    if before == after:
        return before, after
    if before is not None and before not in _known():
        raise unknown_revision(before, address)
    from alembic import command
    from alembic.config import Config

    # Making an index of a large table takes what it takes.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, after)
    return before, after


def unknown_revision(revision: str, address: str) -> StoreRevisionError:
    """The error for a database that a newer version made."""
    return StoreRevisionError(
        f"the database {address} has revision {revision}, which this version of Appraise does not know",
        hint="a newer version made it: install that version, or give another database in APPRAISE_DATABASE_URL",
    )


def _known() -> tuple[str, ...]:
    """Every revision, the newest first."""
    return tuple(script.revision for script in _script().walk_revisions())


def _script() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(_FOLDER))
