"""Cross-origin requests from the web pages that the operator allows."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

EXPOSED = "Retry-After, X-Request-Id, X-Engine, Server-Timing"
ALLOWED_HEADERS = "Content-Type, Authorization, X-Api-Key, X-Request-Id, traceparent"
PREFLIGHT_SECONDS = 3600


def cors(origins: Collection[str]) -> Middleware:
    """A middleware that answers preflights and marks every answer, errors too.

    Args:
        origins: allowed origins, such as ``https://shop.example``; ``*`` allows all; empty allows none.
    """

    def allowed(origin: str) -> str | None:
        if "*" in origins:
            return "*"
        return origin if origin in origins else None

    def mark(response: web.StreamResponse, origin: str | None) -> None:
        if origin is not None and (value := allowed(origin)) is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = value
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED
        if origins and "*" not in origins:
            response.headers.add(
                hdrs.VARY, hdrs.ORIGIN
            )  # a cache must not hand one origin's answer to another

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
        if request.method == hdrs.METH_OPTIONS and origin and wanted and allowed(origin) is not None:
            response: web.StreamResponse = web.Response(status=204)
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST, OPTIONS"
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = ALLOWED_HEADERS
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_SECONDS)
        else:
            response = await handler(request)
        if not response.prepared:
            mark(response, origin)
        return response

    return middleware
