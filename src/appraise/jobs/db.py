"""The database as a person or a service sees to it: brought up to date, looked at, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from appraise.errors import StoreError, StoreRevisionError
from appraise.jobs.beside import working
from appraise.logs import get_logger
from appraise.store.audit import AuditEntry, entries
from appraise.store.database import Database
from appraise.store.standing import DatabaseStatus, PsqlCall

_log = get_logger(__name__)

#: Seconds between attempts to make a database ready for a service.
_AGAIN_SECONDS = 5.0
_END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did.

    Attributes:
        address: the database, without a password.
        before: the revision that its tables had, None where there were none.
        after: the revision that they have.
    """

    address: str
    before: str | None
    after: str

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {"address": self.address, "from": self.before, "to": self.after, "changed": self.before != self.after}


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """Who changed what, newest first."""

    entries: tuple[AuditEntry, ...]

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "entries": [
                {"at": one.at.isoformat(), "actor": one.actor, "action": one.action, "subject": one.subject}
                | {"detail": one.detail}
                for one in self.entries
            ]
        }


@dataclass(frozen=True, slots=True)
class Stopped:
    """Whether an embedded server ran that was stopped."""

    address: str
    ran: bool

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        return {"address": self.address, "stopped": self.ran}


def upgrade(database: Database, *, actor: str) -> Upgraded:
    """Bring the tables up to date; an embedded server is made and started for it.

    Raises:
        StoreRevisionError: a newer version of Appraise made them; nothing was changed.
        StoreError: the database cannot be reached or written.
    """
    with database:
        before, after = database.upgrade(actor=actor)
        return Upgraded(database.address, before, after)


def status(database: Database) -> DatabaseStatus:
    """What is known of the database; an embedded server is not started for it.

    Raises:
        StoreError: a database that was given cannot be reached.
    """
    with database:
        return database.status()


def stop(database: Database) -> Stopped:
    """Stop the embedded server, whoever uses it.

    Raises:
        StoreError: it does not stop, or the database is not the embedded one.
    """
    return Stopped(database.address, database.stop())


def psql(database: Database, arguments: Sequence[str]) -> int:
    """Run PostgreSQL's terminal until it ends; returns its exit code.

    An embedded server runs as long, which is why psql is waited for and does not take this process's place.

    Raises:
        StoreError: there is no psql on this machine, or the embedded server cannot be started.
    """
    with database:
        call = database.psql()
        # Ctrl-C cancels psql's query and is no affair of this process.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process = subprocess.Popen(  # noqa: S603  the wheel's program
                [*call.arguments, *arguments],
                env={**os.environ, **call.environment},
                preexec_fn=_heed_interrupts,  # noqa: PLW1509  nothing but a signal's handler is set there
            )
            return process.wait()
        finally:
            signal.signal(signal.SIGINT, before)


def psql_call(database: Database) -> PsqlCall:
    """How PostgreSQL's terminal is called; raises as `psql` does."""
    with database:
        return database.psql()


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def audit(database: Database, *, limit: int) -> AuditTrail:
    """The newest entries of the audit trail.

    Raises:
        StoreError: the database cannot be read.
    """
    with database:
        database.check()
        with database.connect() as connection:
            return AuditTrail(entries(connection, limit=limit))


@contextmanager
def prepared(database: Database | None) -> Iterator[None]:
    """Make a database ready in the background while a service runs, and let go of it at the end.

    The embedded one is started and brought up to date. One that was given is only looked at: to change its tables is
    for whoever runs it. A service predicts on meanwhile, and where that fails.
    """
    if database is None:
        yield
        return
    try:
        with working(partial(_prepare, database), name="database", seconds=_END_SECONDS):
            yield
    finally:
        close(database)


def close(database: Database) -> None:
    """Let go of the database at the end of a service, which has ended well even where its database has not."""
    try:
        database.close()
    except StoreError as error:
        _log.warning("the database was not closed as it should be", reason=error.message, hint=error.hint)


def _prepare(database: Database, ended: threading.Event) -> None:
    told = None
    while True:
        try:
            if database.embedded:
                database.upgrade(actor="appraise serve")
            else:
                database.check()
        except StoreError as error:
            if error.message != told:
                told = error.message
                say = _log.error if isinstance(error, StoreRevisionError) else _log.warning
                say("the database cannot be used, estimates go on without it", reason=error.message, hint=error.hint)
        else:
            if told is not None:
                _log.info("the database can be used", database=database.address)
            return
        if ended.wait(_AGAIN_SECONDS):
            return
