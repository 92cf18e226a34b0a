"""API keys: in the database where one is given, so that services on several machines share them, else in the home."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appraise.errors import OutputError, SettingsError, StoreError
from appraise.jobs.beside import working
from appraise.logs import get_logger
from appraise.serving.keys import ApiKey, KeyFile
from appraise.serving.sharedkeys import SharedKeys, copied_file
from appraise.store.audit import Action, record
from appraise.store.database import Database

_log = get_logger(__name__)

#: Seconds between looks at the database's keys.
_LOOK_SECONDS = 0.7
_END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where keys are kept.

    Attributes:
        home: the folder that holds all state; its file has keys of this machine.
        database: the database; one that was given has keys that machines share.
    """

    home: Path
    database: Database

    @property
    def file(self) -> KeyFile:
        """What opens the services of this home, those of the database as they were when they were last seen."""
        return KeyFile(self.home / "keys.json", *([] if self.copy is None else [self.copy.path]))

    @property
    def copy(self) -> KeyFile | None:
        """The copy of the database's keys; None where no database was given."""
        return None if self.database.embedded else copied_file(self.home, self.database.address)


def create_key(
    place: KeyPlace, name: str, scopes: Iterable[str], *, rate_per_second: float | None, actor: str
) -> tuple[ApiKey, str]:
    """Make a key; returns what is kept of it, and the key itself, which nothing keeps.

    Raises:
        SettingsError: an unknown scope, or none.
        OutputError, StoreError: it cannot be kept.
    """
    with place.database as database:
        if not database.embedded:
            return SharedKeys(database).create(name, scopes, rate_per_second=rate_per_second, actor=actor)
        key, secret = place.file.create(name, scopes, rate_per_second=rate_per_second)
        _record(database, actor, "key.created", key, {"name": key.name, "scopes": list(key.scopes)})
        return key, secret


def list_keys(place: KeyPlace) -> tuple[ApiKey, ...]:
    """Every key, revoked ones too: those of this machine, then those of the database.

    Raises:
        SettingsError, StoreError: they cannot be read.
    """
    own = KeyFile(place.home / "keys.json").read()
    with place.database as database:
        return own if database.embedded else (*own, *SharedKeys(database).read())


def revoke_key(place: KeyPlace, key: str, *, actor: str) -> ApiKey:
    """Revoke a key, given its id, or its name where only one has it.

    Raises:
        UnknownKeyError: there is no such key, or several have the name.
        OutputError, StoreError: it cannot be written.
    """
    own = KeyFile(place.home / "keys.json")
    with place.database as database:
        if not database.embedded and not any(key in (one.id, one.name) for one in own.read() if not one.revoked_at):
            return SharedKeys(database).revoke(key, actor=actor)
        revoked = own.revoke(key)
        _record(database, actor, "key.revoked", revoked, {"name": revoked.name})
        return revoked


@contextmanager
def followed(place: KeyPlace | None) -> Iterator[None]:
    """Follow the keys of a database that was given, while a service runs.

    They are read once before the block begins, so that whoever starts knows whether there are any.
    """
    if place is None or place.copy is None:
        yield
        return
    follower = _Follower(place)
    follower.look()
    with working(follower.run, name="keys", seconds=_END_SECONDS):
        yield


class _Follower:
    """Keeps the copy of a database's keys."""

    def __init__(self, place: KeyPlace) -> None:
        self._keys = SharedKeys(place.database)
        self._copy = place.copy
        self._told: str | None = None

    def run(self, ended: threading.Event) -> None:
        """Look again and again until the end."""
        while not ended.wait(_LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Look once; where that fails the keys are those that were known."""
        if self._copy is None:
            return
        try:
            self._keys.copy_to(self._copy)
            self._told = None
        except (StoreError, OutputError, SettingsError) as error:
            if error.message != self._told:
                self._told = error.message
                _log.warning("the keys of the database cannot be read, those known are used", reason=error.message)


def _record(database: Database, actor: str, action: Action, key: ApiKey, detail: dict[str, object]) -> None:
    """Note a change of this machine's keys, where there is an embedded database to note it in."""
    if not database.exists():
        return
    try:
        with database.connect() as connection:
            record(connection, actor, action, key.id, detail)
    except StoreError as error:
        _log.warning("the change is not in the audit trail", reason=error.message)
