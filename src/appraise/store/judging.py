"""Whether an outcome counts in live accuracy: which estimate it settles, and whether that can be."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from appraise.errors import AppraiseError, DataError, UnknownPredictionError
from appraise.store.outcome_fields import Outcome
from appraise.store.predictions import find_in_spool
from appraise.store.records import CHECK

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Times by which a price may differ from an estimate and still be of the same unit.
_FURTHEST = 100.0


class Estimate(NamedTuple):
    """What is known of an estimate that an outcome may settle; its price is in the currency."""

    made_at: dt.datetime
    price: float
    currency: str | None
    arm: str


class Judgement(NamedTuple):
    """Whether an outcome counts, why it does not, and the estimate that it settles, in the currency."""

    counted: bool
    reason: str | None
    estimate: float | None
    currency: str | None


def estimates_of(connection: Connection, spool: Path, wanted: Iterable[uuid.UUID]) -> dict[uuid.UUID, Estimate]:
    """Estimates by their ids, from the database or still from the spool; those that neither has are left out.

    Raises:
        LogError: the spool cannot be searched.
    """
    from sqlalchemy import select

    from appraise.store.schema import predictions as table

    ids = list(wanted)
    columns = (table.c.prediction_id, table.c.created_at, table.c.estimate, table.c.price_unit, table.c.currency)
    query = select(*columns, table.c.arm).where(table.c.prediction_id.in_(ids))
    found = {
        row[0]: Estimate(row[1], row[2] * row[3], row[4], row[5]) for row in (connection.execute(query) if ids else ())
    }
    for prediction_id in ids:
        if prediction_id not in found:
            waiting = find_in_spool(spool, prediction_id)
            if waiting is not None:
                served = waiting.served
                price = served.prediction * served.price_unit
                found[prediction_id] = Estimate(served.made_at, price, served.currency, served.arm)
    return found


def judge(
    connection: Connection, outcome: Outcome, estimates: Mapping[uuid.UUID, Estimate]
) -> Judgement | AppraiseError:
    """Whether an outcome counts, or why it is refused.

    Args:
        connection: where the estimates of users are looked for.
        outcome: the sale.
        estimates: those that outcomes name, by their ids.

    Returns:
        An UnknownPredictionError where the estimate that it names is not there, a DataError for a price that cannot be
        meant.
    """
    if outcome.prediction_id is not None:
        estimate = estimates.get(outcome.prediction_id)
        if estimate is None:
            return UnknownPredictionError(
                f"the log has no prediction {outcome.prediction_id}",
                hint="give the prediction_id of an answer, or the user_id that it named",
            )
    else:
        estimate = _latest_of_user(connection, outcome)
        if estimate is None:
            return Judgement(False, f"there is no estimate of {outcome.user_id} from before the sale", None, None)
    ratio = estimate.price / outcome.price
    if not 1 / _FURTHEST <= ratio <= _FURTHEST:
        return DataError(
            f"the price {outcome.price:,.10g} is far from the estimate of {_rounded(estimate.price)}"
            f" {estimate.currency or ''}".rstrip(),
            hint=f"give what was paid in {estimate.currency or 'the currency'}, not in thousands or another unit",
        )
    reason = None
    if estimate.arm == CHECK:
        reason = "the estimate was a check of the service"
    elif estimate.made_at >= outcome.sold_at:
        reason = "the estimate was not made before the sale"
    return Judgement(reason is None, reason, estimate.price, estimate.currency)


def _latest_of_user(connection: Connection, outcome: Outcome) -> Estimate | None:
    """The last estimate of a user before the sale."""
    from sqlalchemy import select

    from appraise.store.schema import predictions as table

    query = select(table.c.created_at, table.c.estimate, table.c.price_unit, table.c.currency, table.c.arm)
    query = query.where(table.c.user_id == outcome.user_id, table.c.created_at < outcome.sold_at, table.c.arm != CHECK)
    if outcome.model_name is not None:
        query = query.where(table.c.model_name == outcome.model_name)
    row = connection.execute(query.order_by(table.c.created_at.desc()).limit(1)).one_or_none()
    return None if row is None else Estimate(row[0], row[1] * row[2], row[3], row[4])


def _rounded(price: float) -> str:
    """An estimate as a person writes it."""
    return f"{price:,.0f}" if price >= 100.0 else f"{price:.4g}"
