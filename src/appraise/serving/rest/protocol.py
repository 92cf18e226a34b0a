"""HTTP/1.1 on uvicorn's protocol, with deadlines for requests and a short way for those that predict.

Uvicorn waits for ever for a request to become whole, and makes a task of each. Here a sweep hangs up on late and idle
clients, which spares a timer a request, and single predict requests are answered without a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from appraise.serving.rest.direct import Direct
from appraise.serving.rest.http import Header, Reply, Scope
from appraise.serving.rest.problems import Refusal

#: Bytes of request line and headers.
_MOST_HEAD = 64 * 1024


class PredictProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        since: since when a request is on its way, None where none is; `close_late` ends those that take too long.
        idle_since: since when the client could have asked again, None before its first answer.
    """

    since: float | None = None
    idle_since: float | None = None
    _head: int | None = None
    _ended_here: bool = False
    _under_way: RequestResponseCycle | None = None

    def __init__(self, *args: Any, direct: Direct, most_connections: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._direct = direct
        self._most_connections = most_connections

    def connection_made(self, transport: Any) -> None:
        """A client came: its first request is on its way."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self.since = self.loop.time()
        if len(self.connections) > self._most_connections:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "more clients are connected than this server takes")

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.since is None:
            self.since = self.loop.time()
            self.idle_since = None
        self._ended_here = False
        super().data_received(data)
        # Where a request before it ended in the same bytes, most of them are not of this head.
        if self._head is not None and not self._ended_here:
            self._head += len(data)
            if self._head > _MOST_HEAD:
                self.refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"the request line and headers have more than {_MOST_HEAD:,} bytes",
                )

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """The headers are whole: decide which way the request takes."""
        self._head = None
        cycle = self.cycle
        if (
            self.parser.get_method() == b"POST"
            and (cycle is None or cycle.response_complete)
            # Who does not read waits for room to be answered in, which takes a task.
            and not self.flow.write_paused
            and self.parser.get_http_version() == "1.1"
        ):
            taken = self._direct.takes(self.url, self.headers)
            if taken is not None:
                self.cycle = cast(Any, _Exchange(self, *taken))
                return
        self._begin_task()

    def _begin_task(self) -> None:
        """Give the request to the application, as uvicorn does once its headers are whole."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.since = None
        self._ended_here = True
        cycle: Any = self.cycle
        if type(cycle) is _Exchange:
            if self._direct.answer(cycle):
                return
            # The task finds the request whole.
            self.cycle = cast(Any, None)
            self._begin_task()
            self.cycle.body += cycle.body
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went: whoever answers it is told, which uvicorn tells the latest of several requests only."""
        if self._under_way is not None and not self._under_way.response_complete:
            self._under_way.disconnected = True
            self._under_way.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._under_way = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer is on its way."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.flow.resume_reading()
            self.idle_since = self.loop.time()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  what uvicorn says of it is not a sentence of ours
        """Answer bytes that are not HTTP."""
        self.refuse(HTTPStatus.BAD_REQUEST, "what came is not an HTTP/1.1 request")

    def head(self, reply: Reply) -> bytes:
        """The status line of an answer and its headers, but for the length."""
        headers = (*self.server_state.default_headers, (b"content-type", reply.media_type), *reply.security)
        return _head(reply.status, headers + reply.headers)

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


class _Flow(FlowControl):
    """Reads nothing while requests of the connection wait for their turn.

    All of a request has come when another waits behind it, and yet uvicorn reads on at every answer: who sends without
    end and reads no answer would fill the memory.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Collection[object]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, where nothing waits."""
        if not self._waiting:
            super().resume_reading()


class _Unheard:
    """What uvicorn's protocol tells a cycle's task of."""

    def set(self) -> None:
        """Nobody waits."""


class _Exchange:
    """A request on the short way; uvicorn's protocol takes it for the cycle that is under way."""

    __slots__ = (
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "name",
        "protocol",
        "query",
        "response_complete",
        "response_started",
        "scope",
    )
    message_event = _Unheard()

    def __init__(self, protocol: PredictProtocol, name: str | None, query: bytes) -> None:
        self.protocol = protocol
        self.name = name
        self.query = query
        self.scope: Scope = {"headers": protocol.headers}
        self.keep_alive = protocol.parser.should_keep_alive()
        self.body = b""
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False

    def reply(self, reply: Reply) -> None:
        """Answer by one write; nothing is written where the client has gone."""
        self.response_started = self.response_complete = True
        protocol = self.protocol
        transport = protocol.transport
        if transport.is_closing():
            return
        body = reply.body
        closing = b"" if self.keep_alive else b"connection: close\r\n"
        transport.write(b"%s%scontent-length: %d\r\n\r\n%s" % (protocol.head(reply), closing, len(body), body))
        if not self.keep_alive:
            transport.close()
        protocol.on_response_complete()


@lru_cache(maxsize=64)
def _head(status: int, headers: tuple[Header, ...]) -> bytes:
    return STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % one for one in headers)


def close_late(state: ServerState, now: float, *, seconds: float, idle_seconds: float) -> int:
    """Hang up on clients whose request has been on its way for too long, and on those that ask for nothing.

    Args:
        state: the connections.
        now: by the event loop's clock.
        seconds: how long a request may be on its way.
        idle_seconds: how long a client may be connected after an answer without asking again.

    Returns:
        How many were too slow.
    """
    late = []
    for connection in state.connections:
        if not isinstance(connection, PredictProtocol):
            continue
        if connection.since is not None and now - connection.since > seconds:
            late.append(connection)
        elif connection.idle_since is not None and now - connection.idle_since > idle_seconds:
            connection.transport.close()
    for connection in late:
        connection.refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request was not whole after {seconds:g} seconds")
    return len(late)
