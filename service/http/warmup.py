"""``GET`` and ``POST /warmup``, and ``GET /status``: what the supervisor knows, sent as JSON.

``service.app`` puts these handlers on their routes. They only ask the supervisor and send the answer; the status and
the sentences are in ``warmup_answer``, the fields of the body in ``warmup_body``.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from service.engines.protocol import Engine
from service.http import warmup_answer
from service.http.json_answer import json_answer
from service.http.warmup_body import EngineFacts, body
from service.settings import Settings
from service.warmup.target import EngineTarget
from supervisor import Snapshot, Supervisor


class WarmupHandlers:
    """``GET`` and ``POST /warmup``, and ``GET /status``."""

    def __init__(
        self,
        supervisor: Supervisor,
        target: EngineTarget,
        *,
        settings: Settings,
        engine: Engine,
        canary_side: int,
    ) -> None:
        self._supervisor = supervisor
        self._target = target
        self._settings = settings
        self._engine = engine
        self._canary_side = canary_side

    async def get(self, _: web.Request) -> web.Response:
        """Answer at once with the last evidence."""
        return self._answer(self._supervisor.snapshot())

    async def post(self, _: web.Request) -> web.Response:
        """Join the probe in progress or start one, and wait for it."""
        return self._answer(await self._supervisor.demand())

    async def status(self, _: web.Request) -> web.Response:
        """Answer at once like ``get``, but always with 200, for pages that show the state.

        A browser writes an error into its console for each other status.
        """
        return json_answer(self._body(self._supervisor.snapshot()))

    def _answer(self, snapshot: Snapshot) -> web.Response:
        return json_answer(
            self._body(snapshot),
            status=warmup_answer.http_status(snapshot),
            retry_after=warmup_answer.retry_after(snapshot),
        )

    def _body(self, snapshot: Snapshot) -> dict[str, Any]:
        engine = EngineFacts(
            engine=self._engine,
            info=self._target.info,
            settings=self._settings,
            canary_side=self._canary_side,
        )
        return body(snapshot, engine)
