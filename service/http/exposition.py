"""``/metrics``: the registry in the text formats of Prometheus."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


class Scrape:
    """``GET /metrics``: Prometheus text, OpenMetrics when asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def get(self, request: web.Request) -> web.Response:
        """Collected beside the loop: it reads /proc, and hundreds of series take milliseconds to write out."""
        try:
            encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        except (TypeError, ValueError):  # a version that is none: the library compares it all the same
            encode, content_type = choose_encoder("")
        body = await asyncio.to_thread(encode, self._registry)
        response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
        response.enable_compression()
        return response
