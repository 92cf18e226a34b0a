"""`Database`: one PostgreSQL, embedded or given by its address, with a pool of connections to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from appraise.errors import StoreError, StoreUnavailableError
from appraise.store import embedded, wheel
from appraise.store.conninfo import address_of, check_encoding, connection_arguments
from appraise.store.faults import driver_errors, explained, store_errors
from appraise.store.standing import DatabaseStatus, PsqlCall

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """Where the database is, and how long to wait for it.

    Attributes:
        url: its address; None is the embedded one.
        folder: where the embedded one is.
        pool_size: most connections of one process.
        connect_timeout: seconds in which a connection, or one of the pool, must be had.
        statement_timeout: seconds that one statement may take.
        embedded_settings: settings of PostgreSQL for an embedded one that is about to be made.
    """

    url: str | None
    folder: Path
    pool_size: int = 5
    connect_timeout: float = 5.0
    statement_timeout: float = 30.0
    embedded_settings: dict[str, str] = field(default_factory=dict)


class Database:
    """A PostgreSQL database.

    Nothing is opened, nor an embedded server started, before the first question. It may be handed to another process,
    which opens connections of its own, and is safe to share between threads.

    Args:
        options: where it is, and how long to wait for it.
    """

    def __init__(self, options: DatabaseOptions) -> None:
        self.options = options
        self._opening = threading.Lock()
        self._engine: Engine | None = None
        self._server = (
            embedded.EmbeddedServer(options.folder, options=options.embedded_settings) if options.url is None else None
        )
        self._place: Path | None = None

    def __reduce__(self) -> tuple[type[Self], tuple[DatabaseOptions]]:
        return type(self), (self.options,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def embedded(self) -> bool:
        """Whether it is the embedded one."""
        return self.options.url is None

    def exists(self) -> bool:
        """Whether there is one: an embedded one is made when it is first opened."""
        return self._server is None or self._server.exists()

    def runs(self) -> bool:
        """Whether an embedded server is there; of one that was given nothing is known before it is asked."""
        return self._server is None or self._server.socket_folder() is not None

    @property
    def address(self) -> str:
        """Where it is, without a password."""
        return address_of(self.options)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection of the pool, in a transaction that is committed at the end, or rolled back after an error.

        Raises:
            StoreUnavailableError: the database is away, or every connection is in use.
            StoreError: it refuses.
        """
        with store_errors(self.address), self.engine.begin() as connection:
            yield connection

    def dedicated(self, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        """A connection of psycopg's own beside the pool, for COPY and for statements that must be quick.

        The caller closes it, and wraps its use in `store_errors(database.address)`.

        Raises:
            StoreUnavailableError, StoreError: as `connect`.
        """
        with driver_errors(self.address):
            connection = self._connected()
            connection.autocommit = autocommit
            return connection

    @contextmanager
    def _beside(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of psycopg's own for as long as the block runs."""
        with driver_errors(self.address), closing(self.dedicated()) as connection:
            yield connection

    @property
    def engine(self) -> Engine:
        """The pool.

        Raises:
            StoreError: the embedded server cannot be started.
        """
        with self._opening:
            if self._engine is None:
                from sqlalchemy import create_engine

                if self._server is not None:
                    self._place = self._server.open()
                options = self.options
                self._engine = create_engine(
                    "postgresql+psycopg://",
                    creator=self._connected,
                    pool_size=options.pool_size,
                    max_overflow=0,
                    pool_timeout=options.connect_timeout,
                    # The server may have been started anew since a connection was last used.
                    pool_pre_ping=True,
                )
            return self._engine

    def ping(self) -> float:
        """How long the database takes to answer a question, in seconds.

        Raises:
            StoreUnavailableError, StoreError: it does not answer.
        """
        with self.connect() as connection:
            started = time.perf_counter()
            connection.exec_driver_sql("SELECT 1")
            return time.perf_counter() - started

    def sign_of_life(self) -> str:
        """Ask the database something, and say in words what it answered.

        Raises:
            StoreRevisionError: its tables are not those that this version knows.
            StoreUnavailableError, StoreError: it does not answer.
        """
        latency = self.ping()
        self.check()
        return f"it answers in {latency * 1e3:.2f} ms, its tables are up to date"

    def status(self) -> DatabaseStatus:
        """What is known of the database; an embedded one is not started for it.

        Raises:
            StoreUnavailableError, StoreError: a database that was given cannot be reached.
        """
        from appraise.store.revisions import current_revision, newest_revision

        if self._server is not None and self._server.socket_folder() is None:
            return DatabaseStatus(self.address, True, False, newest_revision())
        latency = self.ping()
        with self._beside() as connection:
            revision = current_revision(connection)
            query = "SELECT current_setting('server_version'), pg_database_size(current_database())"
            ((version, size),) = connection.execute(query).fetchall()
        return DatabaseStatus(
            self.address, self.embedded, True, newest_revision(), version, revision, round(latency * 1e3, 3), size
        )

    def check(self) -> None:
        """Refuse a database whose tables are not those that this version knows, or that cannot hold every text.

        Raises:
            StoreRevisionError: its tables are older, newer or missing.
            StoreUnavailableError, StoreError: it does not answer, or its encoding is not UTF-8.
        """
        from appraise.store.revisions import check_revision, current_revision

        with self._beside() as connection:
            check_encoding(connection, self.address)
            check_revision(current_revision(connection), self.address)

    def upgrade(self, *, actor: str) -> tuple[str | None, str]:
        """Bring the tables up to date; all of it happens, or nothing.

        Args:
            actor: who asked for it, for the audit.

        Returns:
            The revision before and after.

        Raises:
            StoreRevisionError: the database has a revision that this version does not know; nothing was changed.
            StoreUnavailableError, StoreError: it cannot be written.
        """
        from appraise.store.audit import record
        from appraise.store.revisions import current_revision, newest_revision, upgrade

        if self._server is not None:
            self._place = self._server.open(wake=True)
        with self._beside() as connection:
            check_encoding(connection, self.address)
            known = current_revision(connection)
        if known == newest_revision():
            return known, known
        with self.connect() as connection:
            before, after = upgrade(connection, self.address)
            if before != after:
                record(connection, actor, "database.upgraded", after, {"from": before, "to": after})
        return before, after

    def psql(self) -> PsqlCall:
        """How PostgreSQL's own terminal is called for this database; an embedded server is started for it.

        Raises:
            StoreError: there is no psql on this machine, or the embedded server cannot be started.
        """
        import psycopg

        if self._server is not None and self._place is None:
            self._place = self._server.open()
        told = connection_arguments(self.options, self._place)
        password = told.get("password")
        arguments = {
            name: value for name, value in told.items() if name not in ("client_encoding", "options", "password")
        }
        conninfo = psycopg.conninfo.make_conninfo("", **arguments)
        return PsqlCall((str(wheel.psql()), conninfo), {} if password is None else {"PGPASSWORD": password})

    def stop(self) -> bool:
        """Stop the embedded server, whoever uses it; says whether it ran.

        Raises:
            StoreError: it does not stop, or the database is not the embedded one.
        """
        if self._server is None:
            raise StoreError(
                f"the database {self.address} is not the embedded one, and is not stopped from here",
                hint="stop it where it runs",
            )
        self._dispose()
        return self._server.stop()

    def close(self) -> None:
        """Close every connection; the embedded server ends with its last user."""
        self._dispose()
        if self._server is not None:
            self._server.close()

    def _dispose(self) -> None:
        with self._opening:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _connected(self) -> psycopg.Connection[Any]:
        import psycopg

        if self._server is None:
            return psycopg.connect(**connection_arguments(self.options, self._place), autocommit=False)
        if self._place is None:
            self._place = self._server.open()
        try:
            return psycopg.connect(**connection_arguments(self.options, self._place))
        except psycopg.OperationalError as error:
            if not isinstance(explained(error, self.address), StoreUnavailableError):
                raise
            # It was killed: start it again.
            self._place = self._server.open()
            return psycopg.connect(**connection_arguments(self.options, self._place))
