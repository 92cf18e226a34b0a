"""The OpenAPI document, and the page that shows it without a network."""

from __future__ import annotations

import html
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from appraise.serving.models import Lineup
from appraise.serving.rest.http import Receive, Reply, Scope
from appraise.serving.rest.openapi import build_document
from appraise.serving.rest.service import Service

#: The page runs scripts of its own origin only; Swagger UI writes styles into elements.
_PAGE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
            b"connect-src 'self'; frame-ancestors 'none'"
        ),
    ),
)
_ASSETS = {
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "swagger-ui.css": b"text/css; charset=utf-8",
}
_START = b"""window.onload = () => SwaggerUIBundle({
  url: "openapi.json", dom_id: "#docs", deepLinking: true, tryItOutEnabled: true, validatorUrl: null,
});
"""


class Documents:
    """`/openapi.json`, `/docs` and what the page loads.

    Args:
        service: what is documented.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._written: tuple[Lineup, bool, bytes] | None = None

    def routes(self) -> tuple[tuple[str, Any], ...]:
        """Paths and handlers."""
        assets = tuple((f"/docs/{name}", self._asset(name)) for name in _ASSETS)
        return (("/openapi.json", self.document), ("/docs", self.page), ("/docs/start.js", self.start), *assets)

    def openapi(self) -> dict[str, Any]:
        """The document of what is served now."""
        service = self._service
        return build_document(service.shelf.lineup, service.limits, keyed=service.guard.required)

    async def document(self, _scope: Scope, _receive: Receive) -> Reply:
        """The document as JSON, written anew when the lineup changes, and when the first key is made."""
        lineup, keyed = self._service.shelf.lineup, self._service.guard.required
        if self._written is None or self._written[0] is not lineup or self._written[1] is not keyed:
            self._written = lineup, keyed, msgspec.json.encode(self.openapi())
        return Reply(self._written[2])

    async def page(self, _scope: Scope, _receive: Receive) -> Reply:
        """The page."""
        title = html.escape("Appraise: " + ", ".join(self._service.shelf.lineup.known))
        text = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>'
            '<body><div id="docs"></div><script src="docs/swagger-ui-bundle.js"></script>'
            '<script src="docs/start.js"></script></body></html>'
        )
        return Reply(text.encode(), media_type=b"text/html; charset=utf-8", security=_PAGE_HEADERS)

    async def start(self, _scope: Scope, _receive: Receive) -> Reply:
        """What starts the page."""
        return Reply(_START, media_type=b"text/javascript; charset=utf-8", security=_PAGE_HEADERS)

    def _asset(self, name: str) -> Any:
        async def serve(_scope: Scope, _receive: Receive) -> Reply:
            return Reply(_read(name), media_type=_ASSETS[name], security=_PAGE_HEADERS)

        return serve


def _read(name: str) -> bytes:
    """A file of Swagger UI, from the package that carries it; the package itself is not imported."""
    package = find_spec("fastapi_offline")
    if package is None or package.origin is None:
        return b""
    return (Path(package.origin).parent / "static" / name).read_bytes()
