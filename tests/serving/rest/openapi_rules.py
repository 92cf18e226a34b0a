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


@schemathesis.hook
def after_load_schema(_context, schema):
    """Find the rules of every dataset."""
    for part in schema.raw_schema["components"]["schemas"].values():
        _rules.extend(part.get("x-rules", ()))


@schemathesis.hook
def filter_body(_context, body):
    """Whether a row keeps the rules; what is no row, or has operands that cannot be compared, goes to the service."""
    return not isinstance(body, dict) or not (_not_yet(body) or any(_broken(body, rule) for rule in _rules))


def _not_yet(body: dict[str, Any]) -> bool:
    """Whether a sale lies in the future, which JSON Schema cannot say and `x-not-in-future` does."""
    sold_at = body.get("sold_at")
    return isinstance(sold_at, str) and sold_at > dt.datetime.now(tz=dt.UTC).date().isoformat()


def _broken(row: dict[str, Any], rule: dict[str, Any]) -> bool:
    left = row.get(rule["left"])
    right = row.get(rule["right"]) if isinstance(rule["right"], str) else rule["right"]
    comparable = all(type(value) in (int, float) for value in (left, right)) or (type(left) is type(right) is str)
    return comparable and not _OPERATORS[rule["operator"]](left, right)
