"""The web page and the documentation: small files, read once and served from memory.

``create_app`` adds these routes. The answers must carry a Content-Security-Policy that allows no inline script and
no inline style.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from pathlib import Path

from aiohttp import hdrs, web

from service.http import openapi
from service.http.platforms import ALIASES

STATIC = Path(__file__).parent / "static"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _StaticFile:
    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self._content_type = content_type
        self._etag = hashlib.sha256(body).hexdigest()[:16]

    async def get(self, request: web.Request) -> web.Response:
        matches = request.if_none_match or ()
        unchanged = any(etag.value in {self._etag, "*"} for etag in matches)
        response = (
            web.Response(status=304)
            if unchanged
            else web.Response(
                body=self._body, content_type=self._content_type, charset=_charset(self._content_type)
            )
        )
        response.etag = self._etag
        response.headers[hdrs.CACHE_CONTROL] = "no-cache"
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def _charset(content_type: str) -> str | None:
    return "utf-8" if content_type.startswith("text/") else None


def routes(
    *, version: str, max_upload_bytes: int, aliases: Mapping[str, str] = ALIASES
) -> list[web.RouteDef]:
    """``/``, ``/docs``, ``/openapi.json`` and ``/static/...``."""
    files: list[web.RouteDef] = []
    for path in sorted(STATIC.iterdir()):
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        file = _StaticFile(path.read_bytes(), content_type)
        match path.name:
            case "index.html":
                files.append(web.get("/", file.get))
            case "docs.html":
                files.append(web.get("/docs", file.get))
            case _:
                files.append(web.get(f"/static/{path.name}", file.get))
    document = json.dumps(
        openapi.document(version=version, max_upload_bytes=max_upload_bytes, aliases=aliases)
    )
    return [*files, web.get("/openapi.json", _StaticFile(document.encode(), "application/json").get)]
