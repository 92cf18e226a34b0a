"""`Outcome`, and how the fields of a request or of a row become one, or everything that is wrong with them."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appraise.datasets.constraints import FINITE, NOT_IN_FUTURE, PRESENT, shown
from appraise.errors import Problem

FIELDS = ("prediction_id", "user_id", "model_name", "price", "sold_at")

_HIGHEST = 1e15
_LONGEST_TEXT = 200
#: Today may be tomorrow elsewhere.
_AHEAD = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sale.

    Attributes:
        price: what was paid, in the currency.
        sold_at: when; a date alone is its first moment, UTC.
        prediction_id: the estimate that it settles, or None.
        user_id: the user or home, or None.
        model_name: the model whose estimates of the user it settles; of every model where None.
    """

    price: float
    sold_at: dt.datetime
    prediction_id: uuid.UUID | None = None
    user_id: str | None = None
    model_name: str | None = None

    @property
    def subject(self) -> tuple[object, ...]:
        """What another outcome must agree in to be about the same sale."""
        if self.prediction_id is not None:
            return (self.prediction_id,)
        return (self.user_id, self.model_name, self.sold_at)


def read_outcome(fields: Mapping[str, Any], *, row: int = 0, now: dt.datetime | None = None) -> Outcome | list[Problem]:
    """Read one outcome.

    Args:
        fields: `price`, `sold_at`, and `prediction_id` or `user_id`, perhaps with `model_name`; what is missing is None
            or left out.
        row: its place in what was sent.
        now: the present.
    """
    problems: list[Problem] = []

    def refuse(name: str | None, constraint: str, received: object) -> None:
        problems.append(Problem(row, name, constraint, received if isinstance(received, str) else shown(received)))

    for name in fields:
        if name not in FIELDS:
            refuse(name, f"is not a field of an outcome, which has {', '.join(FIELDS)}", shown(fields[name]))
    try:
        prediction_id = _prediction_id(fields.get("prediction_id"))
    except ValueError:
        prediction_id = None
        refuse("prediction_id", "must be the id that an answer gave, a UUID", shown(fields["prediction_id"]))
    texts = {name: fields.get(name) for name in ("user_id", "model_name")}
    for name, value in texts.items():
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or "\0" in value):
            refuse(name, f"must be a text of 1 to {_LONGEST_TEXT} characters", shown(value))
    if (fields.get("prediction_id") is None) == (texts["user_id"] is None):
        both = fields.get("prediction_id") is not None
        refuse("prediction_id", "must be given, or else user_id, and not both", "both" if both else "neither")
    price = _price(fields.get("price"), refuse)
    sold_at = _moment(fields.get("sold_at"), refuse, now or dt.datetime.now(tz=dt.UTC))
    if problems or price is None or sold_at is None:
        return problems
    return Outcome(price, sold_at, prediction_id, texts["user_id"], texts["model_name"])


def _prediction_id(value: Any) -> uuid.UUID | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("not a text")
    return uuid.UUID(value)


def _price(value: Any, refuse: Any) -> float | None:
    if value is None:
        refuse("price", PRESENT, "nothing")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        refuse("price", "must be a number", value)
    elif value <= 0:
        refuse("price", "must be above 0", value)
    elif isinstance(value, float) and not math.isfinite(value):
        refuse("price", FINITE, value)
    elif value > _HIGHEST:
        refuse("price", f"must be at most {_HIGHEST:,.0f}", value)
    else:
        return float(value)
    return None


def _moment(value: Any, refuse: Any, now: dt.datetime) -> dt.datetime | None:
    """A date, or a moment with its offset from UTC."""
    moment = None
    if value is None:
        refuse("sold_at", PRESENT, "nothing")
        return None
    if isinstance(value, dt.datetime):
        moment = value
    elif isinstance(value, dt.date):
        moment = dt.datetime(value.year, value.month, value.day)
    elif isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if moment is None or (moment.tzinfo is None and isinstance(value, str) and len(value) > len("2026-11-01")):
        refuse("sold_at", "must be a date such as 2026-11-01, or a moment such as 2026-11-01T12:00:00Z", value)
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    if moment > now + _AHEAD:
        refuse("sold_at", NOT_IN_FUTURE, value)
        return None
    return moment
