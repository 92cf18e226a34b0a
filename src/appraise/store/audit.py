"""The audit trail: who changed what, and when. Rows are added, never changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: What is recorded.
Action = Literal["database.upgraded", "key.created", "key.revoked", "model.reloaded", "outcome.corrected"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change.

    Attributes:
        at: when, by the database's clock.
        actor: who: an API key's name, or a user of the machine.
        action: what was done.
        subject: to what: a key's id, a revision, a model whose champion is another one now.
        detail: what else is worth knowing, such as what it was `from` and what it is `to`.
    """

    at: dt.datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] | None


def record(
    connection: Connection, actor: str, action: Action, subject: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Add an entry in the connection's transaction, so that it is there when the change is, and only then."""
    from appraise.store.schema import audit

    row = {"actor": actor, "action": action, "subject": subject, "detail": detail}
    connection.execute(audit.insert().values(row))


def entries(connection: Connection, *, limit: int = 50) -> tuple[AuditEntry, ...]:
    """The newest entries, newest first."""
    from sqlalchemy import select

    from appraise.store.schema import audit

    columns = (audit.c.at, audit.c.actor, audit.c.action, audit.c.subject, audit.c.detail)
    found = connection.execute(select(*columns).order_by(audit.c.audit_id.desc()).limit(limit))
    return tuple(AuditEntry(*row) for row in found)
