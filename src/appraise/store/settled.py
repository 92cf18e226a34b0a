"""Estimates that an outcome has settled: what live accuracy is measured on.

Of the outcomes of one sale the one that was recorded last counts. An outcome that names a prediction settles it; one
that names a user settles the last estimate of that user before the sale, of each model, version and arm. In either case
the estimate must have been made before the sale. An estimate that two outcomes settle counts once, by the one that
names it. Estimates that were checks of the service are settled by nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appraise.store.database import Database
from appraise.store.records import CHECK

#: Estimates that are read at a time; the newest sales where there are more.
MOST = 200_000

_QUERY = """
WITH current AS (
    SELECT DISTINCT ON (coalesce(prediction_id::text, ''), CASE WHEN prediction_id IS NULL THEN user_id END,
                        CASE WHEN prediction_id IS NULL THEN model_name END,
                        CASE WHEN prediction_id IS NULL THEN sold_at END)
           prediction_id, user_id, model_name, price, sold_at, recorded_at
    FROM outcomes
    ORDER BY coalesce(prediction_id::text, ''), CASE WHEN prediction_id IS NULL THEN user_id END,
             CASE WHEN prediction_id IS NULL THEN model_name END,
             CASE WHEN prediction_id IS NULL THEN sold_at END, recorded_at DESC
), recent AS (
    SELECT * FROM current WHERE sold_at >= :since AND sold_at < :until
), named AS (
    SELECT p.*, r.price, r.sold_at, 0 AS rank FROM recent r JOIN predictions p ON p.prediction_id = r.prediction_id
    WHERE p.arm <> :check
), by_user AS (
    SELECT p.*, r.price, r.sold_at, 1 AS rank FROM recent r CROSS JOIN LATERAL (
        SELECT DISTINCT ON (model_name, model_version, arm) * FROM predictions
        WHERE user_id = r.user_id AND created_at < r.sold_at AND arm <> :check
          AND (r.model_name IS NULL OR model_name = r.model_name)
        ORDER BY model_name, model_version, arm, created_at DESC
    ) p WHERE r.prediction_id IS NULL
), settled AS (
    SELECT DISTINCT ON (prediction_id) * FROM (SELECT * FROM named UNION ALL SELECT * FROM by_user) both_kinds
    ORDER BY prediction_id, rank, sold_at
)
SELECT model_name, model_version, arm, currency, estimate, lower, upper, level, price / price_unit,
       created_at < sold_at
FROM settled WHERE CAST(:model AS text) IS NULL OR model_name = :model
ORDER BY sold_at DESC LIMIT :most
"""


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Estimates of one model, version and arm, and what the homes fetched.

    Attributes:
        model_name, model_version, arm: what made them.
        currency: ISO 4217 code, or None.
        actual: (n,) prices, in the target's unit.
        estimate, lower, upper: (n,) likewise.
        level: (n,) nominal levels of the intervals.
    """

    model_name: str
    model_version: str
    arm: str
    currency: str | None
    actual: NDArray[np.float64]
    estimate: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    level: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Settlement:
    """The outcomes of a span of sales.

    Attributes:
        groups: settled estimates by model, version and arm.
        outcomes: sales, each once.
        after_the_sale: estimates that an outcome names and that were not made before the sale.
    """

    groups: tuple[Settled, ...]
    outcomes: int
    after_the_sale: int


def settlement(database: Database, *, since: dt.datetime, until: dt.datetime, model: str | None = None) -> Settlement:
    """The estimates that the sales of a span of time settled.

    Args:
        database: where they are.
        since, until: of the sales, from and before.
        model: of that model alone.

    Raises:
        StoreError: the database cannot be asked.
    """
    from sqlalchemy import text

    span = {"since": since, "until": until}
    with database.connect() as connection:
        rows = connection.execute(text(_QUERY), {**span, "model": model, "most": MOST, "check": CHECK}).all()
        outcomes = connection.execute(text(_SALES), span).scalar_one()
    groups: dict[tuple[str, str, str, str | None], list[tuple[float, ...]]] = {}
    late = 0
    for row in rows:
        if row[9]:
            groups.setdefault(tuple(row[:4]), []).append(tuple(row[4:9]))
        else:
            late += 1
    return Settlement(tuple(_settled(key, found) for key, found in sorted(groups.items(), key=str)), outcomes, late)


_SALES = """
SELECT count(DISTINCT (prediction_id, CASE WHEN prediction_id IS NULL THEN (user_id, model_name, sold_at)::text END))
FROM outcomes WHERE sold_at >= :since AND sold_at < :until
"""


def _settled(key: tuple[str, str, str, str | None], rows: list[tuple[float, ...]]) -> Settled:
    estimate, lower, upper, level, actual = np.asarray(rows, np.float64).T
    return Settled(*key, actual=actual, estimate=estimate, lower=lower, upper=upper, level=level)
