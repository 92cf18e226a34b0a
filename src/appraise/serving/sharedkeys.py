"""API keys in a database that several machines share.

A service reads them into a file of its home about once a second, and admits requests by that file: the database is not
asked on the way of a request, and a service that starts while it is away knows the keys that it knew.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appraise.errors import SettingsError
from appraise.serving.keys import ApiKey, KeyFile, make_key, valid_key
from appraise.store.audit import record
from appraise.store.database import Database
from appraise.store.keys import insert_key, key_rows, revoke_key


class SharedKeys:
    """The keys of a database.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> tuple[ApiKey, ...]:
        """Every key, revoked ones too, in the order they were made.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.connect() as connection:
            return tuple(_key_of(row) for row in key_rows(connection))

    def create(
        self, name: str, scopes: Iterable[str], *, rate_per_second: float | None, actor: str
    ) -> tuple[ApiKey, str]:
        """Make a key; returns what is kept of it, and the key itself, which nothing keeps.

        Raises:
            SettingsError: an unknown scope, or none.
            StoreError: the database cannot be written.
        """
        key, secret = make_key(name, scopes, rate_per_second=rate_per_second)
        with self._database.connect() as connection:
            insert_key(connection, _row_of(key))
            record(connection, actor, "key.created", key.id, {"name": key.name, "scopes": list(key.scopes)})
        return key, secret

    def revoke(self, key: str, *, actor: str) -> ApiKey:
        """Revoke a key, given its id, or its name where only one has it.

        Raises:
            UnknownKeyError: there is no such key, or several have the name.
            StoreError: the database cannot be written.
        """
        found = valid_key(self.read(), key)
        with self._database.connect() as connection:
            if revoke_key(connection, found.id, at=dt.datetime.now(tz=dt.UTC)):
                record(connection, actor, "key.revoked", found.id, {"name": found.name})
            return next(_key_of(row) for row in key_rows(connection) if row["id"] == found.id)

    def copy_to(self, file: KeyFile) -> None:
        """Have a file say what the database says; one that does so already is left alone.

        Raises:
            StoreError: the database cannot be read; the file is as it was.
            OutputError: the file cannot be written.
        """
        keys = self.read()
        try:
            known = file.read() if file.exists() else None
        except SettingsError:
            # A copy that is damaged is made anew.
            known = None
        if keys != known:
            file.write(keys)


def copied_file(home: Path, address: str) -> KeyFile:
    """The file in which a home keeps the keys of a database.

    Args:
        home: the folder that holds all state.
        address: the database's, without a password: keys of another database open nothing.
    """
    return KeyFile(home / f"keys-{hashlib.sha256(address.encode()).hexdigest()[:12]}.json")


def _key_of(row: dict[str, Any]) -> ApiKey:
    revoked = row["revoked_at"]
    return ApiKey(
        **row
        | {
            "scopes": tuple(row["scopes"]),
            "created_at": row["created_at"].isoformat(timespec="seconds"),
            "revoked_at": None if revoked is None else revoked.isoformat(timespec="seconds"),
        }
    )


def _row_of(key: ApiKey) -> dict[str, Any]:
    return asdict(key) | {"scopes": list(key.scopes), "created_at": dt.datetime.fromisoformat(key.created_at)}
