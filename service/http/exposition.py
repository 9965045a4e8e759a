"""``GET /metrics``: the metrics in the text formats that Prometheus reads.

``service.app`` puts the handler on its route. Keep the encoding off the event loop: it would delay all requests. One
scrape of each kind is made at a time, however many ask for it, so that a storm of scrapes costs no more than a few.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from service.http.beside_loop import run_beside_loop
from service.http.content_coding import accepts_gzip

GZIP_LEVEL = 6
"""Of 1 to 9. Hundreds of kilobytes of text become a few, in milliseconds."""


class MetricsHandler:
    """``GET /metrics``: the Prometheus text format, or OpenMetrics if the request accepts it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._under_way: dict[tuple[str, bool], asyncio.Task[bytes]] = {}

    async def get(self, request: web.Request) -> web.Response:
        """Join the scrape of this kind that is under way, or begin one."""
        try:
            encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        except (TypeError, ValueError):  # the library fails on a version in ``Accept`` that is not a number
            encode, content_type = choose_encoder("")
        compress = accepts_gzip(request.headers.getall(hdrs.ACCEPT_ENCODING, []))
        kind = (content_type, compress)
        if (scrape := self._under_way.get(kind)) is None:
            scrape = asyncio.create_task(self._scrape(encode, compress=compress), name="scrape")
            self._under_way[kind] = scrape
            scrape.add_done_callback(lambda _: self._under_way.pop(kind))
        body = await asyncio.shield(scrape)  # a client that leaves must not end it for the others
        headers = {hdrs.CONTENT_TYPE: content_type, hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"}
        if compress:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=body, headers=headers)

    async def _scrape(self, encode: Callable[[CollectorRegistry], bytes], *, compress: bool) -> bytes:
        """Encode in a thread: this reads /proc, and writing hundreds of series takes milliseconds."""

        def text() -> bytes:
            plain = encode(self._registry)
            return gzip.compress(plain, GZIP_LEVEL) if compress else plain

        return await run_beside_loop(text)
