"""``/livez``: whether only a restart can mend this process."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from service.http.json_answer import json_answer
from service.lifecycle import Lifecycle


class Live:
    """``GET /livez``: 503 only for what a restart alone can mend."""

    def __init__(self, lifecycle: Lifecycle, stuck: Callable[[], str | None]) -> None:
        self._lifecycle = lifecycle
        self._stuck = stuck

    async def get(self, _: web.Request) -> web.Response:
        """That the event loop answers is most of the proof."""
        if (reason := self._lifecycle.dead or self._stuck()) is not None:
            return json_answer({"status": "dead", "reason": reason}, status=503)
        return json_answer({"status": "alive"})
