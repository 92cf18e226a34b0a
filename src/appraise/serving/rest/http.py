"""One HTTP exchange over ASGI, with nothing between: headers, a bounded body, and the reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"

#: What every answer says to a browser: no guessing of types, no framing, no caching of estimates.
SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)


class Reply(NamedTuple):
    """An answer, whole.

    Attributes:
        body, status, media_type, headers, security: what is sent.
        after: what must have come about before it is sent; it raises where something else is to be answered.
    """

    body: bytes
    status: int = 200
    media_type: bytes = JSON
    headers: tuple[Header, ...] = ()
    security: tuple[Header, ...] = SECURITY_HEADERS
    after: Awaitable[None] | None = None


class ClientGoneError(Exception):
    """The client closed the connection before its request was whole."""


class TooLargeError(Exception):
    """The body is larger than allowed."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


async def read_body(receive: Receive, limit: int) -> bytes:
    """The body, read no further than `limit` bytes.

    Raises:
        TooLargeError: it is larger.
        ClientGoneError: the client went away.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise TooLargeError
        return body
    pieces, size = [body], len(body)
    while message.get("more_body", False):
        if size > limit:
            raise TooLargeError
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
    if size > limit:
        raise TooLargeError
    return b"".join(pieces)


async def send_reply(send: Send, reply: Reply, extra: Iterable[Header] = ()) -> None:
    """Send an answer."""
    headers = [
        (b"content-type", reply.media_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.security,
        *reply.headers,
        *extra,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
