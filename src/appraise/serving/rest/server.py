"""One worker: uvicorn with deadlines, and an end that lets requests finish."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn

from appraise.logs import get_logger
from appraise.serving.rest.app import build_app
from appraise.serving.rest.footprint import give_back, settle
from appraise.serving.rest.protocol import PredictProtocol, close_late
from appraise.serving.rest.service import Service

_log = get_logger(__name__)

_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048
#: Ticks of a tenth of a second between looks at late clients.
_SWEEP_TICKS = 5
#: The same between two times that memory is given back.
_GIVE_BACK_TICKS = 300


def run_server(
    service: Service,
    listener: socket.socket,
    *,
    ask_registry: bool,
    drain_seconds: float,
    finish_seconds: float,
    announce: Callable[[], None],
    parent: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what has begun.

    Args:
        service: what is served.
        listener: a bound socket.
        ask_registry: whether the registry is asked once in the background.
        drain_seconds: how long to go on answering as not ready, so that load balancers look elsewhere.
        finish_seconds: how long requests that have begun may take after that.
        announce: is called when requests are taken.
        parent: the process to end with.
    """
    app = build_app(service, ask_registry=ask_registry)
    protocol = partial(PredictProtocol, direct=app.direct, most_connections=service.limits.max_connections)
    config = uvicorn.Config(
        cast(Any, app),
        loop="auto",
        http=cast(Any, protocol),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=max(1, round(finish_seconds)),
    )
    settle()
    give_back()
    _Server(config, service, drain_seconds, announce, parent).run([listener])


class _Server(uvicorn.Server):
    """Uvicorn's server, which ends well, hangs up on late clients, and ends with its supervisor."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        drain_seconds: float,
        announce: Callable[[], None],
        parent: int | None,
    ) -> None:
        super().__init__(config)
        self._service = service
        self._drain_ticks = round(drain_seconds * 10)
        self._announce = announce
        self._parent = parent
        self._giving_back: asyncio.Future[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests, and say so."""
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % _SWEEP_TICKS == 0:
            now = asyncio.get_running_loop().time()
            late = close_late(
                self.server_state, now, seconds=self._service.limits.request_seconds, idle_seconds=_KEEP_ALIVE_SECONDS
            )
            if late:
                _log.warning("hung up on clients that were too slow", clients=late)
        if counter % _GIVE_BACK_TICKS == 0:
            self._giving_back = asyncio.get_running_loop().run_in_executor(None, give_back)
        if self._parent is not None and os.getppid() != self._parent:
            self._service.draining = True
        if self._service.draining:
            if self._drain_ticks <= 0:
                self.should_exit = True
            self._drain_ticks -= 1
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to end; a second Ctrl-C ends at once."""
        if self._service.draining and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True
        self._service.draining = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here; uvicorn would raise them again at the end, and this end is a good one."""
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)
