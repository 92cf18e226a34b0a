"""Hooks for Schemathesis: what JSON Schema cannot say, and `x-rules`, `x-stored`, `x-tensors` in the document do.

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
#: Tensors that are accepted, by the path that takes them.
_tensors: dict[str, list[dict[str, Any]]] = {}


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
    for path, operations in schema.raw_schema["paths"].items():
        if path.startswith("/v2/") and "post" in operations:
            body = operations["post"]["requestBody"]["content"]["application/json"]
            _tensors[path] = body["example"]["inputs"]


@schemathesis.hook
def filter_body(_context, body):
    """Whether a row keeps the rules; what is no row, or has operands that cannot be compared, goes to the service."""
    if not isinstance(body, dict):
        return True
    rows = [body, *_by_name(body.get("features_for_prediction"))]
    return not (_not_yet(body) or _needs_a_user(body) or any(_broken(row, rule) for row in rows for rule in _rules))


@schemathesis.hook
def map_case(_context, case):
    """Make tensors one home: each of them there once, and of one value; what is to be refused stays as it is."""
    known = _tensors.get(case.operation.path)
    if known is None or not case.meta.generation.mode.is_positive or not isinstance(case.body, dict):
        return case
    given = {tensor["name"]: tensor for tensor in case.body["inputs"]}
    made = [_of_one_home({**tensor, **given.get(tensor["name"], {})}) for tensor in known]
    row = {tensor["name"]: tensor["data"][0] for tensor in made}
    case.body["inputs"] = known if any(_broken(row, rule) for rule in _rules) else made
    return case


def _of_one_home(tensor: dict[str, Any]) -> dict[str, Any]:
    value = tensor["data"][0]
    return {**tensor, "shape": [1] * len(tensor["shape"]), "data": value if isinstance(value, list) else [value]}


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
