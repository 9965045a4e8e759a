"""Cross-origin requests (CORS) from the web pages that the operator allows.

``create_app`` installs the middleware and the hook. Every answer to an allowed origin must carry the headers, errors
too, or the page could not read it.
"""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

EXPOSED_HEADERS = (
    "Retry-After, X-Request-Id, X-Engine, X-Weights, Server-Timing, X-Foreground-Top, X-Foreground-Left, "
    "X-Foreground-Width, X-Foreground-Height, X-Uncertainty, X-Ignored-Parameters, X-Width, X-Height, X-Type, "
    "X-Credits-Charged, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)
ALLOWED_HEADERS = (
    "Content-Type, Authorization, X-Api-Key, X-Request-Id, traceparent, tracestate, baggage, sentry-trace"
)
"""The last four are added by the tracing of web pages (W3C Trace Context, W3C Baggage, Sentry), unknown to the pages'
own code."""
PREFLIGHT_SECONDS = 3600


class Cors:
    """Answers preflights, and adds the CORS headers to every other answer.

    Args:
        origins: allowed origins, such as ``https://shop.example``; ``*`` allows all; empty allows none.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = origins

    def middleware(self) -> Middleware:
        """Answers preflights; every other request passes."""

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
        """Adds the headers just before an answer is written: handlers may write theirs before a middleware sees it."""
        if (allowed := self._allowed(request.headers.get(hdrs.ORIGIN))) is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS
        if self._origins and "*" not in self._origins:
            # A cache must not give one origin's answer to another.
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)

    def _allowed(self, origin: str | None) -> str | None:
        if origin is not None and "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None
