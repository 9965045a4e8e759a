"""JSON answers that no cache may keep: what the warmup and health routes share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web


def json_answer(
    answer: Mapping[str, Any], *, status: int = 200, retry_after: float | None = None
) -> web.Response:
    """A JSON response.

    Args:
        answer: the body.
        status: HTTP status code.
        retry_after: seconds for ``Retry-After``, rounded up to at least 1; None leaves the header out.
    """
    response = web.json_response(answer, status=status)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    if retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(retry_after)))
    return response
