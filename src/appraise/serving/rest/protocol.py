"""HTTP/1.1 with deadlines: uvicorn's own protocol waits for ever for a request to become whole."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from appraise.serving.rest.problems import Refusal

#: Bytes of request line and headers.
_MOST_HEAD = 64 * 1024


class DeadlineProtocol(HttpToolsProtocol):
    """Notes since when a request is on its way; `close_late` ends those that take too long."""

    since: float | None = None
    _head: int | None = None

    def __init__(self, *args: Any, most_connections: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most_connections = most_connections

    def connection_made(self, transport: Any) -> None:
        """A client came: its first request is on its way."""
        super().connection_made(transport)
        self.since = self.loop.time()
        if len(self.connections) > self._most_connections:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "more clients are connected than this server takes")

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.since is None:
            self.since = self.loop.time()
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > _MOST_HEAD:
                self.refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"the request line and headers have more than {_MOST_HEAD:,} bytes",
                )

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are whole."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.since = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  what uvicorn says of it is not a sentence of ours
        """Answer bytes that are not HTTP."""
        self.refuse(HTTPStatus.BAD_REQUEST, "what came is not an HTTP/1.1 request")

    def refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer, where no answer has begun, and hang up."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            reply = Refusal(status, detail).reply()
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n"
                b"connection: close\r\nretry-after: 1\r\n\r\n%s"
                % (reply.status, status.phrase.encode(), reply.media_type, len(reply.body), reply.body)
            )
        self.transport.close()


def close_late(state: ServerState, now: float, seconds: float) -> int:
    """Hang up on clients whose request has been on its way for too long; returns how many they were."""
    late = [
        connection
        for connection in state.connections
        if isinstance(connection, DeadlineProtocol)
        and connection.since is not None
        and now - connection.since > seconds
    ]
    for connection in late:
        connection.refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request was not whole after {seconds:g} seconds")
    return len(late)
