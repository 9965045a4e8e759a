"""JSON answers that no cache may keep.

The handlers of ``/warmup``, ``/status``, ``/readyz``, ``/livez`` and ``/v1.0/account`` use it:
an old answer of theirs would be a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web


def json_answer(
    answer: Mapping[str, Any], *, status: int = 200, retry_after: int | None = None
) -> web.Response:
    """A JSON response.

    Args:
        answer: the body.
        status: HTTP status code.
        retry_after: whole seconds for ``Retry-After``; None leaves the header out.
    """
    response = web.json_response(answer, status=status)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    if retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(retry_after)
    return response
