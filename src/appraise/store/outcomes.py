"""Outcomes: what homes really fetched, kept beside the estimates that were made of them. Rows are added, never changed.

An outcome names a prediction, or a user or home (`user_id`) and a sale. The rules:

- The same values again change nothing. For a prediction that has an outcome, or a sale of a user of the same moment,
  other values are added as a correction: the one that was recorded last counts. Another date is another sale.
- An outcome is taken however late it comes. One that is dated later than tomorrow is refused.
- It is kept even where it settles nothing, because the estimate was made at or after the sale, was a check of the
  service, or there is none.
- Prices are in the currency. One that is more than a hundred times an estimate, or less than a hundredth, is in another
  unit, or no sale at a market price, and is refused.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from appraise.errors import AppraiseError
from appraise.store import audit
from appraise.store.database import Database
from appraise.store.judging import estimates_of, judge
from appraise.store.outcome_fields import Outcome

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Writers of outcomes take turns, so that of two that disagree one is the later.
_LOCK = 0x6F757463_6F6D6573

Status = Literal["recorded", "known", "corrected"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an outcome.

    Attributes:
        outcome_id: its id; of one that was known already, that one's.
        outcome: it.
        status: `recorded`, `known` (the same was there already) or `corrected` (another was, which counts no more).
        counted: whether it counts in live accuracy.
        reason: why it does not.
        estimate: the estimate that it settles, in the currency; None where there is none, or several do.
        currency: ISO 4217 code of price and estimate.
    """

    outcome_id: uuid.UUID
    outcome: Outcome
    status: Status
    counted: bool
    reason: str | None
    estimate: float | None
    currency: str | None

    def to_dict(self) -> dict[str, object]:
        """The same as JSON."""
        outcome = self.outcome
        return {
            "outcome_id": str(self.outcome_id),
            "prediction_id": None if outcome.prediction_id is None else str(outcome.prediction_id),
            "user_id": outcome.user_id,
            "model_name": outcome.model_name,
            "price": outcome.price,
            "currency": self.currency,
            "sold_at": outcome.sold_at.isoformat(),
            "status": self.status,
            "counted": self.counted,
            "reason": self.reason,
            "estimate": self.estimate,
            "relative_error": None if self.estimate is None else self.estimate / outcome.price - 1.0,
        }


class Known(NamedTuple):
    """An outcome that was recorded."""

    outcome_id: uuid.UUID
    price: float
    sold_at: dt.datetime
    recorded_at: dt.datetime


def add_outcomes(
    database: Database, spool: Path, outcomes: Sequence[Outcome], *, source: str, caller: str | None = None
) -> list[Recorded | AppraiseError]:
    """Record outcomes, each on its own.

    Args:
        database: where to.
        spool: where estimates are looked for that are not in the database yet.
        outcomes: the sales.
        source: how they came (`rest`, or the name of a file).
        caller: the name of the API key, or of the user of the machine.

    Returns:
        For each what became of it, or why it was refused: UnknownPredictionError, or DataError for a price that cannot
        be meant.

    Raises:
        StoreError: the database is away or refuses; nothing was recorded.
        LogError: the spool cannot be searched.
    """
    with database.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        wanted = {one.prediction_id for one in outcomes if one.prediction_id is not None}
        estimates = estimates_of(connection, spool, wanted)
        known = _known(connection, outcomes)
        moment = _moment(connection)
        results: list[Recorded | AppraiseError] = []
        rows: list[dict[str, object]] = []
        for outcome in outcomes:
            judged = judge(connection, outcome, estimates)
            if isinstance(judged, AppraiseError):
                results.append(judged)
                continue
            before = known.get(outcome.subject)
            if before is not None and (before.price, before.sold_at) == (outcome.price, outcome.sold_at):
                results.append(Recorded(before.outcome_id, outcome, "known", *judged))
                continue
            outcome_id = uuid.uuid4()
            moment += dt.timedelta(microseconds=1)
            rows.append(_row(outcome_id, outcome, moment, source, caller))
            known[outcome.subject] = Known(outcome_id, outcome.price, outcome.sold_at, moment)
            results.append(Recorded(outcome_id, outcome, "recorded" if before is None else "corrected", *judged))
            if before is not None:
                _note_correction(connection, before, outcome_id, outcome, caller or source)
        _insert(connection, rows)
    return results


def outcomes_of(database: Database, prediction_id: uuid.UUID) -> list[Known]:
    """The outcomes of a prediction, the one that counts first.

    Raises:
        StoreError: the database cannot be asked.
    """
    from sqlalchemy import select

    from appraise.store.schema import outcomes as table

    columns = (table.c.outcome_id, table.c.price, table.c.sold_at, table.c.recorded_at)
    query = select(*columns).where(table.c.prediction_id == prediction_id).order_by(table.c.recorded_at.desc())
    with database.connect() as connection:
        return [Known(*row) for row in connection.execute(query)]


def _known(connection: Connection, outcomes: Sequence[Outcome]) -> dict[tuple[object, ...], Known]:
    """The outcomes that count now of the sales that these are about."""
    from sqlalchemy import or_, select

    from appraise.store.schema import outcomes as table

    ids = [one.prediction_id for one in outcomes if one.prediction_id is not None]
    users = [one.user_id for one in outcomes if one.user_id is not None]
    query = select(
        table.c.outcome_id,
        table.c.price,
        table.c.sold_at,
        table.c.recorded_at,
        table.c.prediction_id,
        table.c.user_id,
        table.c.model_name,
    )
    query = query.where(or_(table.c.prediction_id.in_(ids), table.c.user_id.in_(users))).order_by(table.c.recorded_at)
    found: dict[tuple[object, ...], Known] = {}
    for row in connection.execute(query):
        outcome = Outcome(row[1], row[2], row[4], row[5], row[6])
        found[outcome.subject] = Known(*row[:4])
    return found


def _moment(connection: Connection) -> dt.datetime:
    """Now, and in any case later than everything that was recorded, even by a clock that went back."""
    from sqlalchemy import text

    query = "SELECT greatest(clock_timestamp(), (SELECT max(recorded_at) FROM outcomes))"
    moment: dt.datetime = connection.execute(text(query)).scalar_one()
    return moment


def _row(
    outcome_id: uuid.UUID, outcome: Outcome, moment: dt.datetime, source: str, caller: str | None
) -> dict[str, object]:
    return {
        "outcome_id": outcome_id,
        "prediction_id": outcome.prediction_id,
        "user_id": outcome.user_id,
        "model_name": outcome.model_name,
        "price": outcome.price,
        "sold_at": outcome.sold_at,
        "recorded_at": moment,
        "source": source,
        "caller": caller,
    }


def _insert(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    from appraise.store.schema import outcomes as table

    if rows:
        connection.execute(table.insert(), rows)


def _note_correction(
    connection: Connection, before: Known, outcome_id: uuid.UUID, outcome: Outcome, actor: str
) -> None:
    detail: dict[str, Any] = {
        "corrects": str(before.outcome_id),
        "from": {"price": before.price, "sold_at": before.sold_at.isoformat()},
        "to": {"price": outcome.price, "sold_at": outcome.sold_at.isoformat()},
    }
    audit.record(connection, actor, "outcome.corrected", str(outcome_id), detail)
