"""Records of the prediction log as rows of `predictions`."""

from __future__ import annotations

from typing import Any

import msgspec

from appraise.store.records import read_record

#: What is read from a record, in the order of `row_of`.
COLUMNS = (
    "prediction_id",
    "created_at",
    "model_name",
    "model_version",
    "arm",
    "alias",
    "transport",
    "caller",
    "user_id",
    "request_id",
    "batch_id",
    "level",
    "estimate",
    "lower",
    "upper",
    "confidence",
    "warnings",
    "input",
    "feature_sources",
    "latency_ms",
    "currency",
    "price_unit",
    "record",
)


def row_of(body: bytes) -> tuple[Any, ...]:
    """A record's row: texts, numbers, a list of texts, and JSON as text.

    PostgreSQL keeps no NUL in a text: in every column but `record`, where it is escaped, U+FFFD stands for it.

    Raises:
        ValueError: it is not a record.
    """
    served = read_record(body)
    interval = served.prediction_interval
    return (
        served.prediction_id,
        served.timestamp,
        _text(served.model_name),
        _text(served.model_version),
        _text(served.arm),
        _text(served.alias),
        served.transport,
        _text(served.caller),
        _text(served.user_id),
        _text(served.request_id),
        served.batch_id,
        interval.level,
        served.prediction,
        interval.lower,
        interval.upper,
        served.confidence_score,
        [_text(warning) for warning in served.warnings],
        _json(served.input_features),
        None if served.feature_sources is None else _json(served.feature_sources),
        served.processing_time_ms,
        _text(served.currency),
        served.price_unit,
        body.decode(),
    )


def _text(value: str | None) -> str | None:
    return value.replace("\0", "\ufffd") if value else value


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode().replace("\\u0000", "\\ufffd")
