"""The values of the labels ``method``, ``route`` and ``code`` of ``http_requests_total``.

``metrics/catalogue.py`` creates one series for each combination that ``known_requests`` lists, before any request
arrives. A route or a status that the service can answer, and that is not listed here, counts as ``other``. So add a new
route here.
"""

from __future__ import annotations

OTHER = "other"

PICTURE_ROUTES = ("/process", "/v1.0/removebg", "/api/remove")
"""The routes that answer with a cut-out."""

ROUTES = (
    *PICTURE_ROUTES,
    "/v1.0/account",
    "/warmup",
    "/status",
    "/readyz",
    "/livez",
    "/metrics",
    "/",
    "/openapi.json",
    "/docs",
    "/static",
)
"""The values of the ``route`` label; ``other`` is the only further value."""

ALLOWED: dict[str, frozenset[str]] = {
    "GET": frozenset(ROUTES) - {"/process", "/v1.0/removebg"},
    "HEAD": frozenset(ROUTES) - frozenset(PICTURE_ROUTES),
    "POST": frozenset({*PICTURE_ROUTES, "/warmup"}),
    "OPTIONS": frozenset(ROUTES),
}
"""For each method, the routes that accept it. A method that is not listed counts as ``other``."""

FALLBACK = {1: "100", 2: "200", 3: "300", 4: "400", 5: "500"}
"""By the first digit of a status: the ``code`` label for a status that is not listed for its method and route."""

_EVERYWHERE = frozenset({200, 400, 500})
"""Every route can answer these: success, a request that is not valid HTTP, and a bug in the service."""

_PICTURE = frozenset({401, 408, 413, 415, 422, 429, 503, 504})
_UNREADY = frozenset({503})
_UNCHANGED = frozenset({304})
_OF_ROUTE: dict[str, frozenset[int]] = {
    "/process": _PICTURE,
    "/v1.0/removebg": frozenset({403, 408, 429, 503, 504}),
    "/api/remove": _PICTURE,
    "/v1.0/account": frozenset({403, 503}),
    "/warmup": _UNREADY,
    "/readyz": _UNREADY,
    "/livez": _UNREADY,
    "/static": frozenset({206, 304, 403, 404, 416}),
}
"""What else a route can answer. Those that are not listed are files."""


def known_requests() -> frozenset[tuple[str, str, str]]:
    """Return every (method, route, code) that has a series of its own."""
    known = {(OTHER, OTHER, code) for code in FALLBACK.values()}
    known |= {(method, OTHER, "404") for method in (*ALLOWED, OTHER)}
    for route in ROUTES:
        known.add((OTHER, route, "405"))
        for method, routes in ALLOWED.items():
            codes = _codes(method, route) if route in routes else frozenset({405})
            known |= {(method, route, str(code)) for code in codes}
    return frozenset(known)


def _codes(method: str, route: str) -> frozenset[int]:
    if method == "OPTIONS":  # a CORS preflight: allowed (with or without a body), or refused
        return frozenset({200, 204, 403, 405})
    return _EVERYWHERE | _OF_ROUTE.get(route, _UNCHANGED)
