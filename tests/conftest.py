"""One PostgreSQL for the test run, and a database of its own for each test that asks for one."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appraise.store.database import Database, DatabaseOptions

#: A test's database need not survive a power cut.
_HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    """A real server, and in it a database whose tables are made."""
    # Not in pytest's own folder: root's is closed to others, and so to the account that runs the server.
    folder = Path(tempfile.mkdtemp(prefix="appraise-test-"))
    with Database(DatabaseOptions(url=None, folder=folder / "postgres", embedded_settings=_HASTY)) as database:
        database.upgrade(actor="tests")
        yield database
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def make_database(postgres: Database) -> Callable[..., str]:
    """Makes a database, with the tables unless they are not wanted, and returns its address."""
    count = itertools.count()

    def make(*, tables: bool = True) -> str:
        name = f"test_{next(count)}"
        template = "appraise" if tables else "template1"
        place = postgres.options.folder / "socket"
        maintenance = f"postgresql://appraise@/template1?host={place}"
        # A database with connections to it cannot be copied.
        postgres._dispose()
        with Database(DatabaseOptions(maintenance, place)) as server, server.dedicated(autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql://appraise@/{name}?host={place}"

    return make


@pytest.fixture
def database_url(make_database: Callable[..., str]) -> str:
    """The address of an empty database of this test's own, its tables made."""
    return make_database()


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """An empty database of this test's own, its tables made."""
    with Database(DatabaseOptions(database_url, tmp_path)) as opened:
        yield opened
