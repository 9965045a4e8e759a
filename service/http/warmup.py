"""``/warmup`` and ``/readyz``: what the supervisor knows, in the words of the HTTP contract."""

from __future__ import annotations

from aiohttp import web

from service.engines.protocol import Engine
from service.http.json_answer import json_answer
from service.settings import Settings
from service.warmup.target import EngineTarget
from supervisor import Snapshot, Supervisor


class Warmth:
    """``/warmup`` and ``/readyz``: what the supervisor knows, in the words of its contract."""

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
        """The last evidence, at once."""
        return self._answer(self._supervisor.snapshot())

    async def post(self, _: web.Request) -> web.Response:
        """Join the probe under way or start one, and wait for it."""
        return self._answer(await self._supervisor.demand())

    async def readyz(self, _: web.Request) -> web.Response:
        """Whether to send requests here; never runs inference."""
        snapshot = self._supervisor.snapshot()
        ready = self._supervisor.ready
        return json_answer(
            {"status": "ready" if ready else "not ready", "state": snapshot.state.value},
            status=200 if ready else 503,
            retry_after=None if ready else snapshot.retry_after or 1,
        )

    def _answer(self, snapshot: Snapshot) -> web.Response:
        info = self._target.info
        answer = snapshot.as_dict() | {
            "container_ready": True,
            "endpoint": "/warmup",
            "engine": info.engine if info else self._engine.name,
            "fallback": info.fallback if info else None,
            "fallback_reason": info.fallback_reason if info else None,
            "device": info.device if info else None,
            "precision": info.precision if info else None,
            "precision_reason": info.precision_reason if info else None,
            "mode": info.mode if info else self._settings.mode,
            "resize": info.resize if info else self._settings.resize,
            "weights": info.weights if info else self._settings.weights_kind,
            "weights_note": info.weights_note if info else None,
            "image_size": [self._canary_side, self._canary_side],
            "configured_warmup_size": self._settings.warmup_size,
            "model_input_size": list(self._engine.model_input_size(self._canary_side, self._canary_side)),
        }
        return json_answer(answer, status=snapshot.http_status, retry_after=snapshot.retry_after)
