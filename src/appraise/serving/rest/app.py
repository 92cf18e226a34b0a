"""The application: a FastAPI app with every route, behind a gate that takes predict requests straight to their code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from appraise import __version__
from appraise.serving.rest import topics
from appraise.serving.rest.batches import Batches
from appraise.serving.rest.direct import Direct
from appraise.serving.rest.documents import Documents
from appraise.serving.rest.history import History
from appraise.serving.rest.http import ClientGoneError, Header, Receive, Reply, Scope, Send, header, send_reply
from appraise.serving.rest.inference import Inference, tell
from appraise.serving.rest.predicting import Predicting
from appraise.serving.rest.problems import Refusal, refusal_for
from appraise.serving.rest.reading import Reading
from appraise.serving.rest.service import Service

Handler = Callable[[Scope, Receive], Awaitable[Reply]]

#: What a route asks of a key; None is open to everybody.
Need = str | None

_TOPIC = "/topics/{topic}"


class Endpoint:
    """A route's ASGI application: admission, the handler, its errors as problem documents, counting.

    Args:
        route: the path's template, for metrics.
        handler: what answers.
        need: the scope that a key must have.
        service: who counts and admits.
        tell: how a refusal is written.
    """

    def __init__(
        self,
        route: str,
        handler: Handler,
        need: Need,
        service: Service,
        tell: Callable[[Refusal], Reply] = Refusal.reply,
    ) -> None:
        self.route = route
        self._handler = handler
        self._need = need
        self._service = service
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        try:
            if self._need is not None and self._service.guard.required:
                self._service.guard.admit(scope, self._need)
            reply = await self._handler(scope, receive)
            if reply.after is not None:
                await reply.after
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets an answer and the log its traceback
            reply = self._tell(refusal_for(error, self.route))
        await send_reply(send, reply, scope.get("appraise.headers", ()))
        self._service.tally.request(self.route, scope["method"], reply.status, time.perf_counter() - started)


class Gate:
    """The outermost ASGI application.

    Args:
        app: every route.
        hot: POST routes by path.
        named: POST routes by the part of the path after a model's name.
        direct: what answers predict requests before they get here, where it can.
        service: who counts, and whose origins may call.
    """

    def __init__(
        self, app: FastAPI, hot: dict[str, Endpoint], named: dict[str, Endpoint], direct: Direct, service: Service
    ) -> None:
        self.direct = direct
        self._app = app
        self._hot = hot
        self._named = named
        self._service = service
        self._origins = frozenset(origin.encode() for origin in service.limits.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._origins and await self._cross_origin(scope, send):
            return
        if scope["method"] == "POST":
            path = scope["path"]
            endpoint = self._hot.get(path)
            if endpoint is None and path.startswith("/models/"):
                name, _, rest = path[8:].partition("/")
                endpoint = self._named.get(rest)
                scope["path_params"] = {"name": name}
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _cross_origin(self, scope: Scope, send: Send) -> bool:
        """Let allowed origins read answers; answers their preflight requests, and says whether it did."""
        origin = header(scope, b"origin")
        if origin is None:
            return False
        allowed = b"*" in self._origins or origin in self._origins
        headers: tuple[Header, ...] = ((b"vary", b"origin"),)
        if allowed:
            headers += ((b"access-control-allow-origin", origin),)
        scope["appraise.headers"] = headers
        if scope["method"] != "OPTIONS" or header(scope, b"access-control-request-method") is None:
            return False
        if not allowed:
            refusal = Refusal(HTTPStatus.FORBIDDEN, f"pages of {origin.decode('latin-1')} may not call this service")
            await send_reply(send, refusal.reply(), headers)
            return True
        permits = (
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", b"authorization, content-type, x-api-key"),
            (b"access-control-max-age", b"600"),
        )
        await send_reply(send, Reply(b"", HTTPStatus.NO_CONTENT.value), (*headers, *permits))
        return True


def build_app(service: Service, *, ask_registry: bool = False) -> Gate:
    """The application of one worker.

    Args:
        service: its models, limits and state; a model should be on show already.
        ask_registry: whether to ask the registry soon, because the cache was served without asking.
    """
    predicting = Predicting(service)
    reading = Reading(service, predicting)
    history = History(service, predicting)
    topic_routes = topics.TopicRoutes(service, predicting)
    batches = Batches(service, predicting)
    documents = Documents(service)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if ask_registry:
            service.refreshing = asyncio.create_task(service.refresh())
        if service.recorder is not None:
            service.recorder.open()
        watching = asyncio.create_task(service.watch())
        async with AsyncExitStack() as stack:
            # From the last to the first, each whatever becomes of the others.
            stack.callback(history.close)
            stack.callback(service.batcher.close)
            stack.callback(lambda: service.crew.report(service.tally.snapshot()))
            stack.callback(service.shelf.close)
            stack.push_async_callback(service.finish_noting)
            stack.callback(watching.cancel)
            yield

    def by_name(handler: Callable[[Scope, Receive, str | None], Awaitable[Reply]]) -> Handler:
        async def handle(scope: Scope, receive: Receive) -> Reply:
            return await handler(scope, receive, scope["path_params"].get("name"))

        return handle

    posts = {
        "/predict": Endpoint("/predict", predicting.single, "predict", service),
        "/predict/batch": Endpoint("/predict/batch", predicting.batch, "predict", service),
    }
    named = {
        "predict": Endpoint("/models/{name}/predict", by_name(predicting.single), "predict", service),
        "predict/batch": Endpoint("/models/{name}/predict/batch", by_name(predicting.batch), "predict", service),
    }
    gets: tuple[tuple[str, Handler, Need], ...] = (
        ("/", reading.root, None),
        ("/health", reading.ready, None),
        ("/health/live", reading.live, None),
        ("/health/ready", reading.ready, None),
        ("/health/detailed", reading.detailed, "read"),
        ("/models", reading.models, "read"),
        ("/model/info", reading.info, "read"),
        ("/models/{name}/info", reading.info, "read"),
        ("/metrics", reading.metrics, "read"),
        ("/predictions/{id}", history.prediction, "read"),
        ("/latest_predictions", history.latest, "read"),
        ("/monitoring/metrics/summary", history.summary, "read"),
        ("/batches", batches.latest, "read"),
        ("/batches/{id}", batches.progress, "read"),
        *((path, handler, None) for path, handler in documents.routes()),
    )
    inference = Inference(service, predicting)
    model_path = "/v2/models/{name}"
    v2: tuple[tuple[str, str, Handler, Need], ...] = (
        ("GET", "/v2", inference.server, None),
        ("GET", "/v2/health/live", inference.live, None),
        ("GET", "/v2/health/ready", inference.ready, None),
        *(
            route
            for path in (model_path, f"{model_path}/versions/{{version}}")
            for route in (
                ("GET", path, inference.metadata, "read"),
                ("GET", f"{path}/ready", inference.model_ready, "read"),
                ("POST", f"{path}/infer", inference.infer, "predict"),
            )
        ),
    )
    routes: list[BaseRoute] = [
        *(_route(method, path, Endpoint(path, handler, need, service, tell)) for method, path, handler, need in v2),
        *(_route("POST", endpoint.route, endpoint) for endpoint in (*posts.values(), *named.values())),
        _route("POST", "/outcomes", Endpoint("/outcomes", history.outcomes, "predict", service)),
        _route("POST", _TOPIC, Endpoint(_TOPIC, topic_routes.produce, "produce", service, topics.tell)),
        _route("POST", "/run_batch", Endpoint("/run_batch", batches.order, "predict", service)),
        _route("POST", "/model/reload", Endpoint("/model/reload", reading.reload, "admin", service)),
        *(_route("GET", path, Endpoint(path, handler, need, service)) for path, handler, need in gets),
    ]
    app = FastAPI(
        title="Appraise",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={HTTPException: _not_routed},
        routes=routes,
    )
    app.openapi = documents.openapi  # type: ignore[method-assign]
    return Gate(app, posts, named, Direct(predicting, service), service)


def _route(method: str, path: str, endpoint: Endpoint) -> Route:
    return Route(path, endpoint=endpoint, methods=[method], include_in_schema=False)


async def _not_routed(request: Request, error: Exception) -> Response:
    """What Starlette says of unknown paths and wrong methods, as the service tells errors."""
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.url.path} does not take {request.method}"
        hint = f"it takes {headers.get('Allow', 'other methods')}"
    else:
        detail, hint = f"there is nothing at {request.url.path[:200]!r}", "the routes are listed at /docs"
    told = tell if request.url.path.startswith("/v2/") else Refusal.reply
    reply = told(Refusal(status, detail, hint=hint))
    headers |= {name.decode(): value.decode() for name, value in reply.security}
    return Response(reply.body, reply.status, headers, media_type=reply.media_type.decode())
