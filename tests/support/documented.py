"""Holds every answer of a service under test against the OpenAPI document: its status, and the headers that it has.

The fixture ``start`` does this in every test that uses it, so that no answer can have a header that the document lacks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aiohttp import web

from service.http.openapi import document

GENERAL = frozenset(
    {
        "cache-control",
        "connection",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-security-policy",
        "content-type",
        "date",
        "referrer-policy",
        "server",
        "transfer-encoding",
        "vary",
        "x-content-type-options",
    }
)
"""Headers of HTTP and of browsers, which say nothing of this service; nor do those of CORS."""


@cache
def _document() -> dict[str, Any]:
    return document(version="1", max_upload_bytes=1)


def undocumented(request: web.BaseRequest, response: web.StreamResponse) -> list[str]:
    """What this answer has and the document lacks; nothing for a path or a method that the document lacks."""
    api = _document()
    operation = api["paths"].get(request.path, {}).get(request.method.lower())
    if operation is None:
        return []
    called = f"{request.method} {request.path} {response.status}"
    described = operation["responses"].get(str(response.status))
    if described is None:
        return [called]
    if "$ref" in described:
        described = api["components"]["responses"][described["$ref"].rpartition("/")[2]]
    documented = {name.lower() for name in described.get("headers", {})}
    sent = {name.lower() for name in response.headers}
    return [
        f"{called}: {name}"
        for name in sorted(sent - documented - GENERAL)
        if not name.startswith("access-control-")
    ]
