"""The headers that say how much room there is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.http.removebg import contract
from service.http.removebg.account import rate_limit_headers

ADMISSION: Any = SimpleNamespace(capacity=17, taken=16, expected_wait=2.5)


@pytest.mark.parametrize(
    ("response", "remaining", "reset"),
    [
        (web.Response(), "1", "1003"),
        (web.Response(status=429, headers={"Retry-After": "40"}), "0", "1040"),
        (web.Response(status=503, headers={"Retry-After": "40"}), "1", "1003"),
    ],
)
async def test_a_refused_client_is_told_that_there_is_no_room_until_it_may_come_back(
    response: web.Response, remaining: str, reset: str
) -> None:
    add = rate_limit_headers(ADMISSION, clock=lambda: 1000.0)
    await add(make_mocked_request("POST", contract.PATH), response)
    assert response.headers["X-RateLimit-Limit"] == "17"
    assert response.headers["X-RateLimit-Remaining"] == remaining
    assert response.headers["X-RateLimit-Reset"] == reset
