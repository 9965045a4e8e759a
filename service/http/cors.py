"""Cross-origin requests from the web pages that the operator allows."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

EXPOSED = "Retry-After, X-Request-Id, X-Engine, Server-Timing"
ALLOWED_HEADERS = "Content-Type, Authorization, X-Api-Key, X-Request-Id, traceparent"
PREFLIGHT_SECONDS = 3600


class Cors:
    """Answers preflights and marks every answer, errors too.

    Args:
        origins: allowed origins, such as ``https://shop.example``; ``*`` allows all; empty allows none.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = origins

    def middleware(self) -> Middleware:
        """Answers preflights."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            origin = request.headers.get(hdrs.ORIGIN)
            wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
            if not (request.method == hdrs.METH_OPTIONS and wanted and self._allowed(origin)):
                return await handler(request)
            response = web.Response(status=204)
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST, OPTIONS"
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = ALLOWED_HEADERS
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_SECONDS)
            return response

        return middleware

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Marks an answer just before it is written: the cut-out is written by its handler, inside the middlewares."""
        if (allowed := self._allowed(request.headers.get(hdrs.ORIGIN))) is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED
        if self._origins and "*" not in self._origins:
            # a cache must not hand one origin's answer to another
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)

    def _allowed(self, origin: str | None) -> str | None:
        if origin is not None and "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None
