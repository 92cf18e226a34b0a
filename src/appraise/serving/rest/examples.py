"""The examples of the OpenAPI document: homes of the datasets, what their models say of them, and errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from appraise.serving.batching import answers_of
from appraise.serving.models import LoadedModel
from appraise.serving.predictor import DEFAULT_LEVEL
from appraise.serving.rest import messages
from appraise.serving.rest.problems import Refusal
from appraise.serving.stored import POSITIONAL, USER

Json = dict[str, Any]

_ID = "2b4c20fb-f851-4620-8e9c-04ebbc2a66f8"
_BATCH_ID = "3bb84b58-2d6c-4924-9787-b7b57c67a99e"
_TIMESTAMP = "2026-11-21T19:28:16.898+00:00"
_MILLISECONDS = 0.8

#: What is said with each status, and what to do about it.
_SAID: dict[str, tuple[str, str | None]] = {
    "400": ("the body is not JSON: unexpected end of data", "send one JSON object, such as the example in /docs"),
    "401": ("this needs an API key, and none came", "send it as Authorization: Bearer KEY, or as X-API-Key"),
    "403": (
        "the key 1f0c9a2e has the scope predict, and this needs admin",
        "make one that may: appraise keys create --name NAME --scopes admin",
    ),
    "404": ("no model named 'californai' is served", "did you mean 'california'?"),
    "408": ("the request was not whole within 10 seconds", None),
    "409": ("the price 4.51 is far from the estimate of 463,370 USD", "give what was paid in USD, not in thousands"),
    "413": ("the body has 20,000,000 bytes, 16,777,216 are accepted", "send fewer rows at a time"),
    "415": (
        "the content type must be application/json, received 'text/plain'",
        "send the header Content-Type: application/json",
    ),
    "422": ("2 fields were refused; HouseAge: must be at least 0 years, received -3", None),
    "429": (
        "the key 1f0c9a2e may ask 20 times a second, and asks more often",
        "wait as long as Retry-After says",
    ),
    "503": ("more requests are waiting than this server takes at a time", "try again in a second"),
}
_FIELDS = (
    messages.FieldError("HouseAge", "must be at least 0 years", "-3"),
    messages.FieldError("Latitud", "is not a field of this dataset; did you mean Latitude?", "37.88"),
)


def problem(status: str) -> Json:
    """What an error of a status looks like."""
    detail, hint = _SAID[status]
    errors = _FIELDS if status == "422" else ()
    found: Json = msgspec.json.decode(Refusal(HTTPStatus(int(status)), detail, hint=hint, errors=errors).reply().body)
    return found


def bodies(model: LoadedModel, *, users: bool) -> Json:
    """Requests for one estimate, each of another form.

    Args:
        model: whose home is shown.
        users: whether a request may name a user.
    """
    row = dict(model.example)
    found = {"home": {"summary": "A home by its columns", "value": row}}
    if users:
        found["user"] = {
            "summary": "The same home of a user, whose stored features fill what is left out",
            "value": {USER: "user2", **row},
        }
    values = [row.get(column.name) for column in model.spec.inputs]
    found["by_position"] = {"summary": "The same home by position", "value": {POSITIONAL: values}}
    return found


def prediction(model: LoadedModel) -> Json:
    """What the model answers of its example."""
    (answer,) = answers_of(model.predictor.value(model.predictor.vocabulary.encode_rows([model.example])))
    message = messages.Prediction(
        prediction=answer.estimate,
        currency=model.spec.currency,
        price_unit=model.spec.price_unit,
        prediction_id=_ID,
        model_name=model.name,
        model_version=model.version,
        timestamp=_TIMESTAMP,
        prediction_interval=messages.Interval(answer.lower, answer.upper, DEFAULT_LEVEL),
        confidence_score=answer.confidence,
        confidence_grade=answer.grade,
        warnings=answer.warnings,
        input_features=dict(model.example),
        processing_time_ms=_MILLISECONDS,
    )
    found: Json = msgspec.json.decode(msgspec.json.encode(message))
    return found


def batch(model: LoadedModel) -> Json:
    """What the model answers of a batch of its example."""
    one = prediction(model)
    shared = {name: one[name] for name in ("model_name", "model_version", "currency", "price_unit", "timestamp")}
    own = ("prediction", "prediction_id", "prediction_interval", "confidence_score", "confidence_grade", "warnings")
    return {
        "batch_id": _BATCH_ID,
        "batch_name": "example",
        **shared,
        "rows": 1,
        "valued": 1,
        "refused": 0,
        "results": [{"status": "valued", "row": 0, **{name: one[name] for name in own}}],
        "processing_time_ms": _MILLISECONDS,
    }
