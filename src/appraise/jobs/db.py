"""The database as a person or a service sees to it: brought up to date, looked at, stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from appraise.errors import StoreError, StoreRevisionError
from appraise.logs import get_logger
from appraise.store.database import Database, DatabaseStatus

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


@contextmanager
def prepared(database: Database | None) -> Iterator[None]:
    """Make a database ready in the background while a service runs, and let go of it at the end.

    The embedded one is started and brought up to date. One that was given is only looked at: to change its tables is
    for whoever runs it. A service predicts on meanwhile, and where that fails.
    """
    if database is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_prepare, args=(database, ended), name="database", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_END_SECONDS)
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
