"""What the prediction log keeps of one estimate.

A record is the answer that was given, with the names that the REST API has for its parts, and who asked for it. The
bytes that are logged are never written anew: what is read from them here may leave out what a reader does not need.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Literal

import msgspec

Transport = Literal["rest", "batch", "kafka"]

#: The arm of estimates that are checks of the service: the log has them, and live accuracy leaves them out.
CHECK = "check"


class ServedInterval(msgspec.Struct, frozen=True):
    """A prediction interval in the target's unit, and its nominal level."""

    lower: float
    upper: float
    level: float


class Served(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One estimate as it was served.

    Attributes:
        prediction_id: names this estimate and no other; a UUID. Whoever may serve the same estimate twice, such as a
            consumer that repeats a message, gives both the same, and the log keeps the first.
        timestamp: when, ISO 8601 with its offset from UTC.
        model_name, model_version: what made it.
        prediction: the estimate, in the target's unit.
        prediction_interval: its interval.
        confidence_score: 1 - FSD.
        confidence_grade: what the score comes to, None where it was not said.
        warnings: what the reader was told of it.
        input_features: the row as it was valued.
        processing_time_ms: how long it took.
        transport: how it was asked for.
        arm: what chose the model; `check` where it was asked to see whether it works.
        alias: the alias that was asked for, None where a version was.
        caller: the name of the API key.
        user_id: whose features, or which home, it was about.
        request_id: what the client or the topic calls the request.
        batch_id: the batch it was part of.
        feature_sources: of each input `request` or `store`, where stored features took part.
        currency: ISO 4217 code of the price.
        price_unit: units of the currency in one unit of the target.
    """

    prediction_id: str
    timestamp: str
    model_name: str
    model_version: str
    prediction: float
    prediction_interval: ServedInterval
    confidence_score: float
    confidence_grade: str | None = None
    warnings: tuple[str, ...] = ()
    input_features: dict[str, Any] = {}
    processing_time_ms: float | None = None
    transport: Transport = "rest"
    arm: str = "champion"
    alias: str | None = None
    caller: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    batch_id: str | None = None
    feature_sources: dict[str, Any] | None = None
    currency: str | None = None
    price_unit: float = 1.0

    @property
    def made_at(self) -> dt.datetime:
        """When, as a moment."""
        return dt.datetime.fromisoformat(self.timestamp)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Served)


def record_bytes(served: Served) -> bytes:
    """A record as the log keeps it."""
    return _encoder.encode(served)


def read_record(body: bytes) -> Served:
    """What a record says.

    Raises:
        ValueError: it is not a record (msgspec's errors among them).
    """
    served = _decoder.decode(body)
    uuid.UUID(served.prediction_id)
    if served.made_at.tzinfo is None:
        raise ValueError(f"the timestamp {served.timestamp} has no offset from UTC")
    return served
