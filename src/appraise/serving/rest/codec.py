"""From the bytes of a body to plain values, or a refusal that says what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from appraise.datasets.constraints import FINITE, shown
from appraise.serving import decoding
from appraise.serving.rest.messages import FieldError
from appraise.serving.rest.problems import Refusal, field_error

#: What curl says of a body unless it is told otherwise.
_FORM = b"application/x-www-form-urlencoded"


def check_media_type(content_type: bytes | None, content_encoding: bytes | None, *, of_a_page: bool = True) -> None:
    """Refuse bodies that are not plain JSON; compressed ones may be bombs.

    Args:
        content_type, content_encoding: the headers.
        of_a_page: whether the request may come from a page in a browser. A page of any origin may send a form without
            asking, so a form is taken for JSON only where none has sent it.

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
    if content_type == b"application/json" or (content_type == _FORM and not of_a_page):
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
    try:
        return decoding.decode_object(body, "the body")
    except decoding.UndecodableError as error:
        raise _refusal(error) from error


def decode(body: bytes) -> Any:
    """The JSON value that a body holds, without a key twice in any object; raises as `decode_object` does."""
    try:
        return decoding.decode(body, "the body")
    except decoding.UndecodableError as error:
        raise _refusal(error) from error


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


def _refusal(error: decoding.UndecodableError) -> Refusal:
    if error.malformed:
        hint = "send one JSON object, such as the example in /docs"
        return Refusal(HTTPStatus.BAD_REQUEST, error.detail, hint=hint)
    errors = [field_error(problem) for problem in error.problems]
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, error.detail, errors=errors)


def _text(value: bytes) -> str:
    return shown(value.decode("latin-1"))
