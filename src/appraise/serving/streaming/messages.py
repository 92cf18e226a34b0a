"""The messages: price requests, predictions and feature events as JSON, read as strictly as requests over HTTP."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from appraise.datasets.constraints import PRESENT, shown
from appraise.errors import DataError, MessageError, Problem
from appraise.serving.decoding import UndecodableError, decode_object
from appraise.serving.estimates import Grade
from appraise.serving.predictor import DEFAULT_LEVEL
from appraise.store.features import FeatureEvent, check_event

_LONGEST_NAME = 200
_REQUEST_FIELDS = ("request_id", "dataset", "features", "level")
_EVENT_FIELDS = ("user_id", "event_type", "value", "timestamp")
_WHAT = "the message"
#: Whole numbers above this are looked at more closely.
_LARGEST_WHOLE = 2**63

#: Requests that are read together; where one of them is not as most are, each of these is looked at by itself.
_TOGETHER = 256

_encoder = msgspec.json.Encoder()


class PriceRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A home to value.

    Attributes:
        features: its values by column name, as of the body of `POST /predict`.
        dataset: the model that is asked; None where the worker has one alone.
        request_id: what the client calls the request.
        level: nominal level of the interval.
    """

    features: dict[str, Any]
    dataset: str | None = None
    request_id: str | None = None
    level: float = DEFAULT_LEVEL


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_NAME)]


class PlainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A price request of which only the outside was read; the fields are those of `PriceRequest`."""

    features: msgspec.Raw
    dataset: _Name | None = None
    request_id: _Name | None = None
    level: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] | None = None


class Interval(msgspec.Struct, frozen=True, gc=False):
    """A prediction interval in the target's unit."""

    lower: float
    upper: float
    level: float


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """The estimate of one home, with the fields of the answer of `POST /predict`.

    Attributes:
        prediction: the estimate in the target's unit.
        prediction_id: names this estimate, and no other.
        request_id: what the client called the request, or else its place: `topic/partition/offset`.
        model_name, model_version: what estimated it.
        timestamp: when, ISO 8601 in UTC.
        prediction_interval: where the price lies.
        confidence_score: 1 - FSD.
        confidence_grade: what the score comes to; `none` where the estimate should not be used.
        warnings: such as a value outside all that was seen in training.
        input_features: what was valued.
        currency: ISO 4217 code of the price, None where unknown.
        price_unit: units of the currency in one unit of the target.
        transport: how it was asked for: the prediction log keeps the very bytes of the message.
    """

    prediction: float
    prediction_id: str
    request_id: str
    model_name: str
    model_version: str
    timestamp: str
    prediction_interval: Interval
    confidence_score: float
    confidence_grade: Grade
    warnings: tuple[str, ...]
    input_features: dict[str, Any] | msgspec.Raw
    currency: str | None = None
    price_unit: float = 1.0
    transport: str = "kafka"


_requests = msgspec.json.Decoder(PlainRequest)
_events = msgspec.json.Decoder(FeatureEvent)


def encode(message: PriceRequest | Prediction) -> bytes:
    """A message as the bytes of its value."""
    return _encoder.encode(message)


def encode_event(event: FeatureEvent) -> bytes:
    """A feature event as the bytes of its value."""
    return _encoder.encode(event)


def plain_requests(values: Sequence[bytes]) -> list[PlainRequest | None]:
    """Requests as nearly all are, in a third of the time; None for each that needs a closer look, for good or ill."""
    found: list[PlainRequest | None] = []
    for start in range(0, len(values), _TOGETHER):
        together = values[start : start + _TOGETHER]
        requests = _all_plain(together)
        if requests is None:
            alone = map(_all_plain, ([value] for value in together))
            found += [one[0] if one else None for one in alone]
        else:
            found += requests
    return found


def _all_plain(values: Sequence[bytes]) -> list[PlainRequest] | None:
    """The requests of all of the values; None where one of them needs a closer look."""
    try:
        requests = list(map(_requests.decode, values))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    text, features = b"".join(values), b"".join([one.features for one in requests])
    unnamed = [one.request_id for one in requests].count(None) + [one.dataset for one in requests].count(None)
    unset = [one.level for one in requests].count(None)
    # Two around each key, two around each name. No request can have fewer; one in which a key is there twice has more.
    least = (2 + 4 + 4 + 2) * len(requests) - 4 * unnamed - 2 * unset
    # A text with escapes has quotation marks that are not about a key or a text.
    if b"\\" in text or text.count(b'"') - features.count(b'"') != least:
        return None
    return requests


def decode_request(value: bytes | None) -> PriceRequest:
    """The price request of a message's value. Its features are not checked yet: that takes the dataset's spec.

    Raises:
        MessageError: it is none.
    """
    fields = _fields(value, _REQUEST_FIELDS, ("features",))
    features = fields["features"]
    request_id, dataset, level = fields.get("request_id"), fields.get("dataset"), fields.get("level", DEFAULT_LEVEL)
    if (
        type(features) is dict
        and (request_id is None or _is_name(request_id))
        and (dataset is None or _is_name(dataset))
        and type(level) is float
        and 0.0 < level < 1.0
    ):
        return PriceRequest(features, dataset, request_id, level)
    wrong = []
    if type(features) is not dict:
        wrong.append(Problem(0, "features", "must be an object of values by field", shown(features)))
    for name in ("request_id", "dataset"):
        text = fields.get(name)
        if text is not None and not _is_name(text):
            wrong.append(Problem(0, name, f"must be a text of 1 to {_LONGEST_NAME} characters", shown(text)))
    if type(level) is not float or not 0.0 < level < 1.0:
        wrong.append(Problem(0, "level", "must be a number above 0 and below 1", shown(level)))
    raise refused(wrong)


def decode_event(value: bytes | None) -> FeatureEvent:
    """The feature event of a message's value.

    Raises:
        MessageError: it is none, or none that can be stored.
    """
    plain = _plain_event(value) if value else None
    if plain is not None:
        return plain
    fields = _fields(value, _EVENT_FIELDS, _EVENT_FIELDS)
    event = FeatureEvent(fields["user_id"], fields["event_type"], fields["value"], _moment(fields["timestamp"]))
    try:
        return check_event(event)
    except (DataError, OverflowError) as error:
        raise MessageError(str(error)) from error


def _plain_event(value: bytes) -> FeatureEvent | None:
    """An event as nearly all are; None where a closer look is needed."""
    try:
        event = _events.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    quotes = 16 if isinstance(event.value, str) else 14
    # Without an escape there is neither NUL nor half of a surrogate pair in a text.
    if event.timestamp.tzinfo is not dt.UTC or b"\\" in value or value.count(b'"') != quotes:
        return None
    # A whole number may be of any size, a float is finite.
    if isinstance(event.value, int) and abs(event.value) > _LARGEST_WHOLE:
        return None
    return event


def refused(problems: list[Problem]) -> MessageError:
    """The error of a message whose fields are refused."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    named = _WHAT if first.field is None else first.field
    return MessageError(f"{named} {first.constraint}, received {first.received}{more}", problems=tuple(problems))


def _fields(value: bytes | None, known: tuple[str, ...], required: tuple[str, ...]) -> Mapping[str, Any]:
    """The fields of a message: all that it must have, and none that it cannot have."""
    if value is None:
        raise MessageError("the message has no value: a tombstone, which asks for nothing")
    try:
        fields = decode_object(value, _WHAT)
    except UndecodableError as error:
        raise MessageError(error.detail, problems=error.problems) from error
    if fields.keys() - known or not fields.keys() >= set(required):
        unknown = f"is not a field of this message; its fields are {', '.join(known)}"
        raise refused(
            [Problem(0, name, unknown, shown(one)) for name, one in fields.items() if name not in known]
            + [Problem(0, name, PRESENT, "nothing") for name in required if name not in fields]
        )
    return fields


def _moment(text: object) -> dt.datetime:
    """A time that was given with its zone, in UTC."""
    try:
        moment = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        moment = None
    raise refused([Problem(0, "timestamp", "must be a time with its zone such as 2026-01-20T15:00:00Z", shown(text))])


def _is_name(text: object) -> bool:
    return isinstance(text, str) and 1 <= len(text) <= _LONGEST_NAME and "\0" not in text
