"""The routes that serve the files of the pages, without a server."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.http import pages

ROUTES = {route.path: route for route in pages.routes(version="1.2.3", max_upload_bytes=1000)}


async def get(path: str, **headers: str) -> web.Response:
    request = make_mocked_request("GET", path, {k.replace("_", "-"): v for k, v in headers.items()})
    response = await ROUTES[path].handler(request)  # type: ignore[operator, misc]
    assert isinstance(response, web.Response)
    return response


def test_every_file_has_a_route() -> None:
    names = {path.name for path in pages.STATIC.iterdir()} - {"index.html", "docs.html"}
    assert set(ROUTES) == {"/", "/docs", "/openapi.json", *(f"/static/{name}" for name in names)}


@pytest.mark.parametrize("path", sorted(ROUTES))
async def test_an_unchanged_file_is_304(path: str) -> None:
    first = await get(path)
    assert first.etag is not None
    assert (first.status, (await get(path, If_None_Match=f'"{first.etag.value}"')).status) == (200, 304)
    assert (await get(path, If_None_Match='"other"')).status == 200
    assert "unsafe" not in first.headers["Content-Security-Policy"]


async def test_the_documentation_names_the_version() -> None:
    response = await get("/openapi.json")
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["info"]["version"] == "1.2.3"
    assert response.content_type == "application/json"
