"""Batch runs in the database: what was valued by which model, and the hash of what was made."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class BatchRun:
    """A row of `batches`.

    Attributes:
        batch_id: its name.
        model_name, model_version: what values the rows.
        source, target: what is read, and where it goes.
        state: where it stands.
        rows, valued: how many there are, and how many of them have an estimate.
        caller: the name of the API key.
        started_at, finished_at: when.
        detail: what else is worth knowing: the manifest's hash, or why it failed.
    """

    batch_id: uuid.UUID
    model_name: str
    model_version: str
    source: str
    target: str
    state: Literal["running", "done", "failed"]
    rows: int
    valued: int
    caller: str | None
    started_at: dt.datetime
    finished_at: dt.datetime | None = None
    detail: Mapping[str, Any] | None = None


def keep_batch(connection: Connection, run: BatchRun) -> None:
    """Write a run as it stands now; what was there of it is written over."""
    from sqlalchemy.dialects.postgresql import insert

    from appraise.store.schema import batches

    row = {
        "batch_id": run.batch_id,
        "model_name": run.model_name,
        "model_version": run.model_version,
        "source": run.source,
        "target": run.target,
        "state": run.state,
        "rows": run.rows,
        "valued": run.valued,
        "refused": run.rows - run.valued if run.state == "done" else 0,
        "caller": run.caller,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "detail": None if run.detail is None else dict(run.detail),
    }
    statement = insert(batches).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["batch_id"], set_=row))
