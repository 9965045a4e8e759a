"""``GET /metrics``: the metrics in the text formats that Prometheus reads.

``service.app`` puts the handler on its route. Keep the encoding off the event loop: it would delay all requests.
"""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


class MetricsHandler:
    """``GET /metrics``: the Prometheus text format, or OpenMetrics if the request accepts it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def get(self, request: web.Request) -> web.Response:
        """Encode in a thread: this reads /proc, and writing hundreds of series takes milliseconds."""
        try:
            encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        except (TypeError, ValueError):  # the library fails on a version in ``Accept`` that is not a number
            encode, content_type = choose_encoder("")
        body = await asyncio.to_thread(encode, self._registry)
        response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
        response.enable_compression()
        return response
