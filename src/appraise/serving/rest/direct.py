"""Single predict requests without a task: from the parser's last callback to one write.

A task, its events and its messages cost as much as valuing a home. Most predict requests need none of them: their body
is small and came whole, their model is in memory, and nothing is to be waited for but the turn of the event loop in
which rows that wait are valued together. Whatever is not like that takes the way of every other request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Protocol

from appraise.errors import AppraiseError
from appraise.serving.batching import Answer
from appraise.serving.models import Lineup, LoadedModel
from appraise.serving.rest.checking import check_rows, needs_store
from appraise.serving.rest.codec import decode_object
from appraise.serving.rest.http import JSON, Header, Reply, Scope
from appraise.serving.rest.parameters import SINGLE, Options, options_of
from appraise.serving.rest.predicting import Predicting
from appraise.serving.rest.problems import Refusal, refusal_for
from appraise.serving.rest.service import Service

#: A larger body may arrive in pieces that have to be waited for.
MOST_BYTES = 32 * 1024

#: Paths with queries that are remembered at a time.
_MOST_ASKED = 256

_MODELS = b"/models/"
_PREDICT = b"/predict"
_ROUTE = "/predict"
_NAMED_ROUTE = "/models/{name}/predict"

#: Headers of requests that are answered elsewhere.
_ELSEWHERE = frozenset((b"content-encoding", b"transfer-encoding", b"expect", b"upgrade"))


class Exchange(Protocol):
    """A request that came whole, and where its answer goes.

    Attributes:
        name: the model that its path names, None where it names none.
        query: of its URL.
        scope: what admission reads of it: `headers`, names in lower case.
        body: all of it.
    """

    name: str | None
    query: bytes
    scope: Scope
    body: bytes

    def reply(self, reply: Reply) -> None:
        """Answer; nothing is written where the client has gone."""


class Direct:
    """`POST /predict` and `POST /models/NAME/predict`, as far as they need no task.

    Args:
        predicting: what answers.
        service: who counts and admits.
    """

    def __init__(self, predicting: Predicting, service: Service) -> None:
        self._predicting = predicting
        self._guard = service.guard
        self._batcher = service.batcher
        self._tally = service.tally
        self._shelf = service.shelf
        self._lineup: Lineup | None = None
        self._asked: dict[tuple[str | None, bytes], tuple[Options, LoadedModel]] = {}
        self._cross_origin = bool(service.limits.cors_origins)
        #: Answers that wait for something; a task that nobody holds may be lost.
        self._later: set[asyncio.Future[None]] = set()

    def takes(self, url: bytes, headers: list[Header]) -> tuple[str | None, bytes] | None:
        """The model's name and the query of a POST request that may be answered here; None for others.

        Args:
            url: path and query as they came.
            headers: names in lower case.
        """
        path, _, query = url.partition(b"?")
        name = None
        if path != _PREDICT:
            inner = path[len(_MODELS) : -len(_PREDICT)]
            if path != b"%s%s%s" % (_MODELS, inner, _PREDICT) or not inner.isalnum():
                return None
            name = inner.decode("ascii")
        kind = length = None
        for key, value in headers:
            if key == b"content-type":
                kind = value
            elif key == b"content-length":
                length = value
            elif key in _ELSEWHERE or (self._cross_origin and key == b"origin"):
                return None
        if kind != JSON or length is None or len(length) > 5 or int(length) > MOST_BYTES:
            return None
        return name, query

    def answer(self, exchange: Exchange) -> bool:
        """Answer when the row has been valued; False where it takes a task, such as to say what is wrong with it."""
        started = time.perf_counter()
        try:
            meant = self._meant(exchange)
            if meant is None or self._batcher.is_full:
                return False
            options, model = meant
            row: Any = model.codec.read(exchange.body)
            if row is None:
                row = decode_object(exchange.body)
                if needs_store(row) or check_rows(model, [row]):
                    return False
            if self._guard.required:
                self._guard.admit(exchange.scope, "predict")
        except (Refusal, AppraiseError):
            return False

        def conclude(answer: Answer | Exception) -> None:
            route = _ROUTE if exchange.name is None else _NAMED_ROUTE
            try:
                reply = self._predicting.conclude(exchange.scope, model, row, _valued(answer), options, started)
            except Exception as error:  # noqa: BLE001  as `app.Endpoint` for other requests: whatever it is is told
                reply = refusal_for(error, route).reply()
            if reply.after is None:
                self._send(exchange, reply, route, started)
            else:
                task = asyncio.ensure_future(self._send_later(exchange, reply, reply.after, route, started))
                self._later.add(task)
                task.add_done_callback(self._later.discard)

        self._batcher.submit(model, row, options.level, conclude)
        return True

    def _meant(self, exchange: Exchange) -> tuple[Options, LoadedModel] | None:
        """What a request asks for and of which model, None where that takes a task; raises what is wrong with it.

        It is found once for each path and query, until another model is served.
        """
        lineup = self._shelf.lineup
        if lineup is not self._lineup or len(self._asked) >= _MOST_ASKED:
            self._lineup = lineup
            self._asked.clear()
        key = exchange.name, exchange.query
        found = self._asked.get(key)
        if found is None:
            options = options_of(exchange.query, SINGLE)
            model = self._predicting.present(options, exchange.name)
            if model is None or options.explain or options.comparables:
                return None
            found = self._asked[key] = options, model
        return found

    def _send(self, exchange: Exchange, reply: Reply, route: str, started: float) -> None:
        exchange.reply(reply)
        self._tally.request(route, "POST", reply.status, time.perf_counter() - started)

    async def _send_later(
        self, exchange: Exchange, reply: Reply, after: Awaitable[None], route: str, started: float
    ) -> None:
        try:
            await after
        except Exception as error:  # noqa: BLE001  the client waits for an answer, whatever it is
            reply = refusal_for(error, route).reply()
        self._send(exchange, reply, route, started)


def _valued(answer: Answer | Exception) -> Answer:
    """The answer; raises what valuing met where there is none."""
    if isinstance(answer, Exception):
        raise answer
    return answer
