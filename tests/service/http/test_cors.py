"""Which origins may read an answer, and the answers to preflights, without a server."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.http.cors import Cors

SHOP = "https://shop.example"


async def headers_for(cors: Cors, origin: str | None) -> web.Response:
    response = web.Response()
    request = make_mocked_request("GET", "/", {} if origin is None else {"Origin": origin})
    await cors.on_prepare(request, response)
    return response


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ([SHOP], SHOP, SHOP),
        ([SHOP], "http://shop.example", None),
        ([SHOP], None, None),
        (["*"], SHOP, "*"),
        (["*"], None, None),
        ([], SHOP, None),
    ],
)
async def test_an_answer_names_the_origin_that_may_read_it(
    origins: list[str], origin: str | None, allowed: str | None
) -> None:
    headers = (await headers_for(Cors(origins), origin)).headers
    assert headers.get("Access-Control-Allow-Origin") == allowed
    assert ("Access-Control-Expose-Headers" in headers) == (allowed is not None)


@pytest.mark.parametrize(("origins", "varies"), [([SHOP], True), (["*"], False), ([], False)])
async def test_caches_are_told_when_an_answer_depends_on_the_origin(origins: list[str], varies: bool) -> None:
    assert ("Vary" in (await headers_for(Cors(origins), None)).headers) == varies


@pytest.mark.parametrize(
    ("method", "origin", "wanted", "is_preflight"),
    [
        ("OPTIONS", SHOP, "POST", True),
        ("OPTIONS", SHOP, None, False),
        ("OPTIONS", "https://evil.example", "POST", False),
        ("POST", SHOP, "POST", False),
    ],
)
async def test_a_preflight_is_answered_only_for_an_allowed_origin(
    method: str, origin: str, wanted: str | None, is_preflight: bool
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=418)

    headers = {"Origin": origin} | ({"Access-Control-Request-Method": wanted} if wanted else {})
    response = await Cors([SHOP]).middleware()(make_mocked_request(method, "/process", headers), handler)
    assert response.status == (204 if is_preflight else 418)
    assert ("Access-Control-Allow-Methods" in response.headers) == is_preflight


@pytest.mark.parametrize("header", ["traceparent", "tracestate", "baggage", "sentry-trace", "x-api-key"])
async def test_a_page_may_send_its_key_and_what_its_tracing_adds(header: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        raise AssertionError("a preflight reaches no handler")

    headers = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": header,
    }
    response = await Cors([SHOP]).middleware()(make_mocked_request("OPTIONS", "/process", headers), handler)
    assert header in response.headers["Access-Control-Allow-Headers"].lower().split(", ")
