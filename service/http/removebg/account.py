"""``GET /v1.0/account``, and the headers that say how much room there is.

Clients ask for their credits before or after they send pictures, and some read the rate limit of each answer. There is
nothing to pay here; the numbers are such that no client stops for lack of credits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import hdrs, web

from service.http.api_keys import ApiKeys
from service.http.json_answer import json_answer
from service.http.middleware import PrepareHook
from service.http.removebg import contract
from service.inference.admission import Admission

CREDITS = 1_000_000
"""As many as nobody waits for; they never become fewer."""

PATH = "/v1.0/account"


class AccountHandler:
    """Answers ``GET /v1.0/account``.

    Args:
        keys: who has an account: whoever may send pictures.
    """

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    async def get(self, http: web.Request) -> web.Response:
        """The account of every client."""
        await self._keys.check(http)
        attributes = {
            "credits": {"total": CREDITS, "subscription": 0, "payg": CREDITS, "enterprise": 0},
            "api": {"free_calls": CREDITS, "sizes": "all"},
        }
        return json_answer({"data": {"attributes": attributes}})


def rate_limit_headers(admission: Admission, clock: Callable[[], float] = time.time) -> PrepareHook:
    """Puts the rate limit on every answer to a picture, errors too: the limit is the places in the queue.

    Args:
        admission: knows the places that are taken.
        clock: seconds since 1970.
    """

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        if request.path != contract.PATH:
            return
        remaining, wait = max(0, admission.capacity - admission.taken), max(1.0, admission.expected_wait)
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:  # places may be free, but not for this client now
            remaining, wait = 0, float(response.headers.get(hdrs.RETRY_AFTER, wait))
        response.headers["X-RateLimit-Limit"] = str(admission.capacity)
        response.headers["X-RateLimit-Remaining"] = str(remaining)
        response.headers["X-RateLimit-Reset"] = str(math.ceil(clock() + wait))

    return on_prepare
