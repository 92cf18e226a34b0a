"""What the routes of the log and of outcomes answer, as types, and their part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from appraise.serving.rest.messages import FieldError

Json = dict[str, Any]

#: Of one list.
MOST_OUTCOMES = 1000
MOST_LATEST = 500
MOST_DAYS = 3650


class LatestPredictions(msgspec.Struct):
    """The latest predictions, newest first, each as it was recorded."""

    predictions: tuple[msgspec.Raw, ...]
    next: Annotated[str | None, Meta(description="The `cursor` of the page that follows; null on the last.")]


class OutcomeAnswer(msgspec.Struct, kw_only=True):
    """What became of an outcome."""

    outcome_id: str
    prediction_id: str | None
    user_id: str | None
    model_name: str | None
    price: Annotated[float, Meta(description="In the currency, whatever the target's unit.")]
    currency: str | None
    sold_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    status: Annotated[
        Literal["recorded", "known", "corrected"],
        Meta(description="`known`: the same was there already; `corrected`: what was there counts no more."),
    ]
    counted: Annotated[bool, Meta(description="Whether it counts in live accuracy.")]
    reason: Annotated[str | None, Meta(description="Why it does not.")]
    estimate: Annotated[float | None, Meta(description="What it settles, in the currency.")]
    relative_error: Annotated[float | None, Meta(description="estimate / price - 1.")]


class TakenOutcome(OutcomeAnswer, kw_only=True, tag="taken", tag_field="outcome"):
    """An outcome of a list that was taken."""

    row: int


class RefusedOutcome(msgspec.Struct, tag="refused", tag_field="outcome"):
    """An outcome of a list that was refused."""

    row: int
    errors: tuple[FieldError, ...]


class OutcomesAnswer(msgspec.Struct):
    """The outcomes of a list, each taken or refused, in their order."""

    outcomes: int
    taken: int
    refused: int
    results: tuple[TakenOutcome | RefusedOutcome, ...]


class LiveCoverage(msgspec.Struct):
    """Observed coverage beside nominal."""

    level: float
    rows: int
    observed: float
    chance_low: Annotated[float, Meta(description="Were the true coverage `level`, 95 of 100 samples lie from here,")]
    chance_high: Annotated[float, Meta(description="to here.")]
    within_chance: bool


class LiveModel(msgspec.Struct):
    """How right one model, version and arm has been."""

    model_name: str
    model_version: str
    arm: str
    currency: str | None
    rows: Annotated[int, Meta(description="Settled estimates.")]
    metrics: Annotated[dict[str, float | None], Meta(description="As of `appraise evaluate`; null where undefined.")]
    coverage: tuple[LiveCoverage, ...]


class LogSummary(msgspec.Struct):
    """How the prediction log stands."""

    unloaded_bytes: int
    oldest_unloaded_seconds: float
    loader_trouble: str | None


class Summary(msgspec.Struct):
    """How right estimates have been, by the sales of the last days."""

    days: int
    since: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    until: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    outcomes: Annotated[int, Meta(description="Sales that were reported.")]
    estimates_after_their_sale: Annotated[int, Meta(description="Not counted: they were not made before it.")]
    models: tuple[LiveModel, ...]
    log: LogSummary


#: Types whose schemas the document holds.
ANSWERS = (OutcomeAnswer, OutcomesAnswer, Summary)


def taken(row: int, fields: dict[str, Any]) -> TakenOutcome:
    """An outcome that was taken, in the answer to a list."""
    return TakenOutcome(row=row, **fields)


def refused(row: int, errors: Sequence[FieldError]) -> RefusedOutcome:
    """An outcome that was refused, in the answer to a list."""
    return RefusedOutcome(row, tuple(errors))


def schemas() -> Json:
    """Schemas that no type says: what is recorded goes out byte for byte."""
    text, number = {"type": "string"}, {"type": "number"}
    interval = {
        "type": "object",
        "required": ["lower", "upper", "level"],
        "properties": {"lower": number, "upper": number, "level": number},
    }
    record = {
        "type": "object",
        "description": "An estimate as it was answered, and by whom and how it was asked for.",
        "required": ["prediction_id", "timestamp", "model_name", "model_version", "prediction", "prediction_interval"],
        "properties": {
            "prediction_id": {**text, "format": "uuid"},
            "timestamp": {**text, "format": "date-time"},
            "model_name": text,
            "model_version": text,
            "prediction": number,
            "prediction_interval": interval,
            "confidence_score": number,
            "confidence_grade": {"enum": ["high", "medium", "low", "none"]},
            "warnings": {"type": "array", "items": text},
            "input_features": {"type": "object"},
            "transport": {"enum": ["rest", "batch", "kafka"]},
            "arm": text,
            "alias": text,
            "caller": text,
            "user_id": text,
            "request_id": text,
            "batch_id": text,
            "currency": text,
            "price_unit": number,
        },
    }
    outcome = {
        "type": "object",
        "additionalProperties": False,
        "description": "What a home fetched: of one prediction, or of a user or home.",
        "properties": {
            "prediction_id": {"type": ["string", "null"], "format": "uuid", "description": "Of an answer."},
            "user_id": {**_TEXT, "description": "Or else whose earlier estimates it settles."},
            "model_name": {**_TEXT, "description": "Of that model alone."},
            "price": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1e15,
                "description": "What was paid, in the currency (451000, and not 4.51 for a model in 100,000 USD).",
            },
            "sold_at": {
                "type": "string",
                "format": "date",
                "description": "The day, or a moment with its offset from UTC. Not in the future.",
                "x-not-in-future": True,
            },
        },
        "required": ["price", "sold_at"],
        "oneOf": [
            {
                "required": ["prediction_id"],
                "properties": {"prediction_id": {"type": "string"}, "user_id": {"type": "null"}},
            },
            {"required": ["user_id"], "properties": {"user_id": {"type": "string"}, "prediction_id": {"type": "null"}}},
        ],
    }
    logged = {
        "allOf": [_ref("Record")],
        "type": "object",
        "required": ["log", "outcomes"],
        "properties": {
            "log": {"type": "object", "description": "Its place in the hash chain."},
            "outcomes": {"type": "array", "items": {"type": "object"}, "description": "The one that counts first."},
        },
    }
    page = {
        "type": "object",
        "required": ["predictions", "next"],
        "properties": {
            "predictions": {"type": "array", "items": _ref("Record")},
            "next": {"type": ["string", "null"], "description": "The `cursor` of the page that follows."},
        },
    }
    return {"Record": record, "LoggedPrediction": logged, "LatestPredictions": page, "Outcome": outcome}


def paths(answers: Any) -> Json:
    """The paths.

    Args:
        answers: writes the responses of an operation, given schema, description and statuses.
    """
    keyed = ("401", "403", "429", "503")
    example = {"prediction_id": "2b4c20fb-f851-4620-8e9c-04ebbc2a66f8", "price": 451000, "sold_at": "2026-11-01"}
    body = {"anyOf": [_ref("Outcome"), {"type": "array", "items": {}, "minItems": 1, "maxItems": MOST_OUTCOMES}]}
    posted = answers("OutcomeAnswer", "It was there already, or the answer to a list.", (*_POSTED, *keyed))
    posted["200"]["content"]["application/json"]["schema"] = {"anyOf": [_ref("OutcomeAnswer"), _ref("OutcomesAnswer")]}
    posted["201"] = {
        "description": "It was recorded.",
        "content": {"application/json": {"schema": _ref("OutcomeAnswer")}},
    }
    return {
        "/predictions/{id}": {
            "get": {
                "tags": ["log"],
                "summary": "One estimate as it was recorded, with its outcomes",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
                ],
                "responses": answers("LoggedPrediction", "The estimate.", ("404", "422", *keyed)),
            }
        },
        "/latest_predictions": {
            "get": {
                "tags": ["log"],
                "summary": "The latest predictions, newest first",
                "parameters": [
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST_LATEST, "default": 50}),
                    _query("cursor", {"type": "string", "pattern": _NO_NUL}, "`next` of the page before."),
                    _query("model", {"type": "string", "pattern": _NO_NUL}),
                    _query("user_id", {"type": "string", "pattern": _NO_NUL}),
                ],
                "responses": answers("LatestPredictions", "A page.", ("404", "422", *keyed)),
            }
        },
        "/outcomes": {
            "post": {
                "tags": ["log"],
                "summary": "Report what a home was sold for, or many",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": body, "example": example}},
                },
                "responses": posted,
            }
        },
        "/monitoring/metrics/summary": {
            "get": {
                "tags": ["log"],
                "summary": "How right estimates have been, by the sales of the last days",
                "parameters": [
                    _query("days", {"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": 30}),
                    _query("model", {"type": "string", "pattern": _NO_NUL}),
                ],
                "responses": answers("Summary", "Errors and coverage.", ("422", *keyed)),
            }
        },
    }


_NO_NUL = "^[^\\u0000]*$"
_TEXT = {"type": ["string", "null"], "minLength": 1, "maxLength": 200, "pattern": _NO_NUL}
_POSTED = ("400", "404", "408", "409", "413", "415", "422")


def _query(name: str, schema: Json, description: str | None = None) -> Json:
    found = {"name": name, "in": "query", "required": False, "schema": schema}
    return found if description is None else {**found, "description": description}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
