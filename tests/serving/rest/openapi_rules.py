"""A hook for Schemathesis: rules across fields, which JSON Schema cannot say and `x-rules` in the document does.

SCHEMATHESIS_HOOKS=tests/serving/rest/openapi_rules.py schemathesis run http://127.0.0.1:8000/openapi.json --checks all
"""

import datetime as dt
import operator
from typing import Any

import schemathesis

_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_rules: list[dict[str, Any]] = []
_stored: list[set[str]] = []
_positions: list[list[str]] = []


@schemathesis.hook
def after_load_schema(_context, schema):
    """Find the rules of every dataset."""
    for part in schema.raw_schema["components"]["schemas"].values():
        _rules.extend(part.get("x-rules", ()))
        if "x-stored" in part:
            _stored.append(set(part["x-stored"]))
        by_position = part.get("properties", {}).get("features_for_prediction")
        if by_position:
            _positions.append(by_position["x-fields"])


@schemathesis.hook
def filter_body(_context, body):
    """Whether a row keeps the rules; what is no row, or has operands that cannot be compared, goes to the service."""
    if not isinstance(body, dict):
        return True
    rows = [body, *_by_name(body.get("features_for_prediction"))]
    return not (_not_yet(body) or _needs_a_user(body) or any(_broken(row, rule) for row in rows for rule in _rules))


def _needs_a_user(body: dict[str, Any]) -> bool:
    """Whether stored features are needed, of which `x-stored` says and JSON Schema cannot; nobody has any here."""
    return "user_id" in body and "features_for_prediction" not in body and all(names - set(body) for names in _stored)


def _by_name(values: Any) -> list[dict[str, Any]]:
    """Values by position as rows."""
    if not isinstance(values, list):
        return []
    return [dict(zip(names, values, strict=True)) for names in _positions if len(names) == len(values)]


def _not_yet(body: dict[str, Any]) -> bool:
    """Whether a sale lies in the future, which JSON Schema cannot say and `x-not-in-future` does."""
    sold_at = body.get("sold_at")
    return isinstance(sold_at, str) and sold_at > dt.datetime.now(tz=dt.UTC).date().isoformat()


def _broken(row: dict[str, Any], rule: dict[str, Any]) -> bool:
    left = row.get(rule["left"])
    right = row.get(rule["right"]) if isinstance(rule["right"], str) else rule["right"]
    comparable = all(type(value) in (int, float) for value in (left, right)) or (type(left) is type(right) is str)
    return comparable and not _OPERATORS[rule["operator"]](left, right)
