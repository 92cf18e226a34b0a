"""API keys in the database, as rows: what a key is, `appraise.serving.keys` says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection


def key_rows(connection: Connection) -> list[dict[str, Any]]:
    """Every key, revoked ones too, in the order they were made."""
    from sqlalchemy import select

    from appraise.store.schema import api_keys

    query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def insert_key(connection: Connection, row: Mapping[str, Any]) -> None:
    """Keep a key."""
    from appraise.store.schema import api_keys

    connection.execute(api_keys.insert().values(dict(row)))


def revoke_key(connection: Connection, key_id: str, *, at: dt.datetime) -> bool:
    """Revoke a key; says whether it was valid until now."""
    from sqlalchemy import update

    from appraise.store.schema import api_keys

    where = (api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    return connection.execute(update(api_keys).where(*where).values(revoked_at=at)).rowcount == 1
