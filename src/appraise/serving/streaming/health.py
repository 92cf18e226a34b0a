"""What a stream worker says of itself over HTTP: /health/live, /health/ready and /metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from appraise.errors import SettingsError
from appraise.serving.streaming.tally import Tally

#: A loop that has not turned for so long hangs in a call that should have had a deadline.
_DEAD_SECONDS = 120.0
_CLIENT_SECONDS = 5.0


class Pulse:
    """Whether a worker lives and works: its loop tells it, and others ask."""

    def __init__(self) -> None:
        self._beat = time.monotonic()
        self._state = "starting"
        self._reason: str | None = None

    def beat(self) -> None:
        """The loop has turned."""
        self._beat = time.monotonic()

    def say(self, state: str, reason: str | None = None) -> None:
        """What the worker is (`ready`, `waiting`, `stopping`), and why where it is not ready."""
        self._state, self._reason = state, reason

    @property
    def alive(self) -> bool:
        """Whether the loop turns."""
        return time.monotonic() - self._beat < _DEAD_SECONDS

    @property
    def ready(self) -> bool:
        """Whether messages are dealt with."""
        return self._state == "ready" and self.alive

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        seconds = round(time.monotonic() - self._beat, 1)
        return {"status": self._state, "reason": self._reason, "seconds_since_last_turn": seconds}


class HealthServer:
    """The endpoint, in threads of its own.

    Args:
        host, port: where to listen; port 0 takes a free one.
        pulse, tally: what it tells of.

    Raises:
        SettingsError: the address cannot be listened on.
    """

    def __init__(self, host: str, port: int, pulse: Pulse, tally: Tally) -> None:
        routes: dict[str, Callable[[], tuple[HTTPStatus, str, bytes]]] = {
            "/health/live": lambda: _status(pulse, tally, good=pulse.alive),
            "/health/ready": lambda: _status(pulse, tally, good=pulse.ready),
            "/metrics": lambda: (HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", tally.render()),
        }
        handler = type("_Handler", (_Handler,), {"routes": routes})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"{host}:{port} cannot be listened on: {reason}",
                hint="choose another --health-port, or 0 for a free one",
            ) from error
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_CLIENT_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    routes: dict[str, Callable[[], tuple[HTTPStatus, str, bytes]]]
    timeout = _CLIENT_SECONDS

    def do_GET(self) -> None:
        route = self.routes.get(self.path.partition("?")[0])
        if route is None:
            status, kind, body = HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"see /health/ready and /metrics\n"
        else:
            status, kind, body = route()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: probes come every few seconds."""


def _status(pulse: Pulse, tally: Tally, *, good: bool) -> tuple[HTTPStatus, str, bytes]:
    body = {
        **pulse.to_dict(),
        "partitions": tally.partitions,
        "lag": tally.lag,
        "models": tally.models,
        "registry": tally.registry,
    }
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, "application/json", msgspec.json.encode(body)
