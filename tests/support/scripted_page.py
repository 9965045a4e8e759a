"""The page and its scripts on a server whose answers a test decides.

Tests of the page use it for answers that the real service gives only under load or when it is broken. The files must be
the real ones, with their real headers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from service.http import pages

Answer = Callable[[web.Request], Awaitable[web.Response]]

READY = {
    "state": "ready",
    "status": "success",
    "engine": "inspyrenet",
    "device": "cpu",
    "precision": "bf16",
    "max_upload_bytes": 1_000_000,
    "start_seconds": None,
}


def cut_out(width: int = 40, height: int = 30) -> bytes:
    """A WebP with transparency."""
    buffer = BytesIO()
    Image.new("RGBA", (width, height), (200, 0, 0, 128)).save(buffer, "WEBP")
    return buffer.getvalue()


async def picture(request: web.Request) -> web.Response:
    """What ``/process`` answers when all is well."""
    await request.read()
    return web.Response(body=cut_out(), content_type="image/webp")


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    """An error as the service sends it; ``Retry_After="1"`` for a header."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        body = {"error": {"code": code, "message": message, "request_id": "the-id"}}
        return web.json_response(
            body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return answer


async def never(_: web.Request) -> web.Response:
    """A frozen service."""
    await asyncio.Event().wait()
    raise AssertionError


class ScriptedPage:
    """Answers as told. ``process`` and ``warmup`` are used up from the front; their last answer stays.

    Attributes:
        status: the body of ``/status``.
        status_answer: replaces the whole answer.
        seen: how often each path was asked for.
        keys: the API keys that came with pictures.
        lost: paths that get a 503.
    """

    def __init__(self) -> None:
        self.status: dict[str, Any] = dict(READY)
        self.status_answer: Answer | None = None
        self.process: list[Answer] = [picture]
        self.warmup: list[Answer] = [error(200, "", "")]
        self.seen: Counter[str] = Counter()
        self.keys: list[str | None] = []
        self.html: dict[str, str] = {}
        self.lost: set[str] = set()
        app = web.Application(middlewares=[self._count])
        app.add_routes(pages.routes(version="1.2.3", max_upload_bytes=1_000_000))
        app.router.add_get("/status", self._status)
        app.router.add_post("/process", self._process)
        app.router.add_post("/warmup", self._warmup)
        app.router.add_get("/shop/{name}", self._shop)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/"))

    @web.middleware
    async def _count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.seen[request.path] += 1
        if request.path in self.lost:
            raise web.HTTPServiceUnavailable
        return await handler(request)

    async def _status(self, request: web.Request) -> web.Response:
        return await self.status_answer(request) if self.status_answer else web.json_response(self.status)

    async def _process(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("X-Api-Key"))
        return await _next(self.process)(request)

    async def _warmup(self, request: web.Request) -> web.Response:
        return await _next(self.warmup)(request)

    async def _shop(self, request: web.Request) -> web.Response:
        return web.Response(text=self.html[request.match_info["name"]], content_type="text/html")


def _next(answers: list[Answer]) -> Answer:
    return answers.pop(0) if len(answers) > 1 else answers[0]
