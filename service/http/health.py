"""``GET /readyz`` and ``GET /livez``: the answers that a platform's health checks read.

``service.app`` puts these handlers on their routes. They must stay cheap and never run inference: a platform asks
every few seconds. ``/livez`` may be 503 only for what a restart repairs, because the platform then restarts it.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from service.http.json_answer import json_answer
from service.http.warmup_answer import retry_after
from service.lifecycle import Lifecycle
from supervisor import State, Supervisor

STARTING = frozenset({State.LOADING, State.WARMING})


class ReadinessHandler:
    """``GET /readyz``: whether to send requests to this instance.

    Args:
        supervisor: knows.
        no_content_while_starting: answer 204 while the engine loads and warms, and not 503.
    """

    def __init__(self, supervisor: Supervisor, *, no_content_while_starting: bool = False) -> None:
        self._supervisor = supervisor
        self._no_content_while_starting = no_content_while_starting

    async def get(self, _: web.Request) -> web.Response:
        """200 if the state is ``ready`` or ``degraded``, else 503."""
        snapshot = self._supervisor.snapshot()
        if self._no_content_while_starting and snapshot.state in STARTING:
            return web.Response(status=204)
        return json_answer(
            {"status": "ready" if snapshot.ready else "not ready", "state": snapshot.state.value},
            status=200 if snapshot.ready else 503,
            retry_after=None if snapshot.ready else retry_after(snapshot) or 1,
        )


class LivenessHandler:
    """``GET /livez``: whether this process can still do its work, now or later."""

    def __init__(self, lifecycle: Lifecycle, stuck: Callable[[], str | None]) -> None:
        self._lifecycle = lifecycle
        self._stuck = stuck

    async def get(self, _: web.Request) -> web.Response:
        """503 with the reason if only a restart helps. That the event loop answers at all is most of the proof."""
        if (reason := self._lifecycle.dead or self._stuck()) is not None:
            return json_answer({"status": "dead", "reason": reason}, status=503)
        return json_answer({"status": "alive"})
