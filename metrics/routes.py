"""Which requests the service can answer and how: the label sets of ``http_requests_total``."""

from __future__ import annotations

OTHER = "other"

ROUTES = ("/process", "/warmup", "/readyz", "/livez", "/metrics", "/", "/openapi.json", "/docs", "/static")
"""Values of the ``route`` label besides ``other``."""

ALLOWED: dict[str, frozenset[str]] = {
    "GET": frozenset(ROUTES) - {"/process"},
    "HEAD": frozenset(ROUTES) - {"/process"},
    "POST": frozenset({"/process", "/warmup"}),
    "OPTIONS": frozenset(ROUTES),
}
"""The routes that answer each method; a method that is not here folds into ``other``."""

FALLBACK = {1: "100", 2: "200", 3: "300", 4: "400", 5: "500"}
"""What a status that no table names is counted as, by its class."""

_EVERYWHERE = frozenset({200, 400, 500})
"""Answered, not HTTP, our own bug: any route may say these."""

_PROCESS = frozenset({401, 408, 413, 415, 422, 429, 503, 504})
_UNREADY = frozenset({503})
_FILE = frozenset({206, 304, 403, 404, 416})


def known_requests() -> frozenset[tuple[str, str, str]]:
    """Every (method, route, code) that may be counted: one series each."""
    known = {(OTHER, OTHER, code) for code in FALLBACK.values()}
    known |= {(method, OTHER, "404") for method in (*ALLOWED, OTHER)}
    for route in ROUTES:
        known.add((OTHER, route, "405"))
        for method, routes in ALLOWED.items():
            codes = _codes(method, route) if route in routes else frozenset({405})
            known |= {(method, route, str(code)) for code in codes}
    return frozenset(known)


def _codes(method: str, route: str) -> frozenset[int]:
    if method == "OPTIONS":  # a preflight: allowed, without a body, or not allowed
        return frozenset({200, 204, 403, 405})
    if route == "/process":
        return _EVERYWHERE | _PROCESS
    if route in {"/warmup", "/readyz", "/livez"}:
        return _EVERYWHERE | _UNREADY
    if route == "/static":
        return _EVERYWHERE | _FILE
    return _EVERYWHERE | {304}
