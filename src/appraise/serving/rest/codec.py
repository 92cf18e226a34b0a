"""From the bytes of a body to plain values, or a refusal that says what is wrong with them.

A compiled decoder does the work. It keeps the last of two equal keys without a word, so quotes are counted: a body
without escapes whose every quote belongs to a key or a text that came out has no key twice. Where the count differs,
Python's own parser looks again, with a hook for keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from appraise.datasets.constraints import FINITE, shown
from appraise.serving.rest.messages import FieldError
from appraise.serving.rest.problems import Refusal

_decoder = msgspec.json.Decoder()


def check_media_type(content_type: bytes | None, content_encoding: bytes | None) -> None:
    """Refuse bodies that are not plain JSON; compressed ones may be bombs.

    Raises:
        Refusal: 415.
    """
    if content_encoding is not None and content_encoding.strip().lower() != b"identity":
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"a body with the content encoding {_text(content_encoding)} is not accepted",
            hint="send it uncompressed",
            headers=((b"accept-encoding", b"identity"),),
        )
    if content_type == b"application/json":
        return
    kind, _, parameters = (content_type or b"").partition(b";")
    charset = parameters.strip().lower().replace(b'"', b"")
    if kind.strip().lower() != b"application/json" or charset not in (b"", b"charset=utf-8"):
        received = "none" if content_type is None else _text(content_type)
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the content type must be application/json, received {received}",
            hint="send the header Content-Type: application/json",
        )


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds.

    Raises:
        Refusal: 400 for what is not JSON, 422 for what is not an object or has a key twice.
    """
    value = decode(body)
    if type(value) is not dict:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the body must be a JSON object, received {_kind(value)}",
            errors=[FieldError(None, "must be a JSON object", _kind(value))],
        )
    return value


def decode(body: bytes) -> Any:
    """The JSON value that a body holds, without a key twice in any object; raises as `decode_object` does."""
    if not body:
        raise _malformed("the body is empty")
    try:
        value = _decoder.decode(body)
    except UnicodeDecodeError as error:
        raise _malformed("the body is not UTF-8") from error
    except RecursionError as error:
        raise _malformed("the body is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise _out_of_range(body) from error
    except msgspec.DecodeError as error:
        raise _malformed(f"the body is not JSON: {_reason(body, error)}") from error
    # The count says nothing of bodies with escapes.
    if b"\\" in body or body.count(b'"') != _quotes(value):
        _refuse_repeated_keys(body)
    return value


def _quotes(value: Any) -> int:
    """Quotes that a value is written with where nothing is escaped."""
    kind = type(value)
    if kind is dict:
        count = 2 * len(value)
        for inner in value.values():
            inner_kind = type(inner)
            if inner_kind is str:
                count += 2
            elif inner_kind is dict or inner_kind is list:
                count += _quotes(inner)
        return count
    if kind is list:
        return sum(map(_quotes, value))
    return 2 if kind is str else 0


def _refuse_repeated_keys(body: bytes) -> None:
    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            for key, value in pairs:
                if key in seen:
                    raise Refusal(
                        HTTPStatus.UNPROCESSABLE_ENTITY,
                        f"the field {shown(key)} is there more than once",
                        errors=[FieldError(key, "must be there once", shown(value))],
                    )
                seen.add(key)
        return found

    try:
        json.loads(body, object_pairs_hook=hook)
    except RecursionError as error:
        raise _malformed("the body is nested too deeply") from error


def too_large_numbers(row: Mapping[str, Any]) -> list[FieldError]:
    """The whole numbers of a row that no float can hold."""
    found = []
    for name, value in row.items():
        if type(value) is int:
            try:
                float(value)
            except OverflowError:
                found.append(FieldError(name, FINITE, shown(value)))
    return found


def _out_of_range(body: bytes) -> Refusal:
    """1e400 and its like: JSON's grammar has them, no float does. Python's parser reads them as infinity."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    infinite = (float("inf"), float("-inf"))
    fields = [name for name, one in value.items() if one in infinite] if isinstance(value, dict) else []
    named = f"the field {fields[0]}" if fields else "a number in the body"
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{named} is too large: {FINITE}",
        errors=[FieldError(name, FINITE, "a number beyond 1.8e308") for name in fields]
        or [FieldError(None, FINITE, "a number beyond 1.8e308")],
    )


def _malformed(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail, hint="send one JSON object, such as the example in /docs")


def _reason(body: bytes, error: msgspec.DecodeError) -> str:
    text = str(error).removeprefix("JSON is malformed: ")
    for constant in (b"NaN", b"Infinity"):
        if constant in body:
            return f"{constant.decode()} is not a JSON number ({text})"
    return text[:1].lower() + text[1:]


def _kind(value: Any) -> str:
    match value:
        case list():
            return "an array"
        case str():
            return "a string"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict():
            return "an object"
        case _:
            return f"the number {shown(value)}"


def _text(value: bytes) -> str:
    return shown(value.decode("latin-1"))
