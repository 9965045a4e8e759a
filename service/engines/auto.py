"""``INSPYRENET_ENGINE=auto``: one engine, and another where the first has no weights; decided once, said aloud."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from service.engines.protocol import RGB, Alpha, Engine, EngineInfo, ReportPhase, WeightsUnavailable

_log = logging.getLogger(__name__)


class AutoEngine:
    """Serves with ``preferred`` if its weights can be had when the service starts, else with the fallback, for good.

    Args:
        preferred: the engine to use.
        make_fallback: makes the engine that needs no weights; called only if it is needed.
    """

    def __init__(self, preferred: Engine, *, make_fallback: Callable[[], Engine]) -> None:
        self._engine = preferred
        self._make_fallback = make_fallback
        self._decided = False
        self._fallback_reason = ""

    @property
    def name(self) -> str:
        """Of the engine that serves now."""
        return self._engine.name

    def prepare(self, report: ReportPhase) -> None:
        """Prepare the preferred engine; without weights, fall back."""
        try:
            self._engine.prepare(report)
        except WeightsUnavailable as error:
            self._fall_back(error)
            self._engine.prepare(report)

    def load(self, report: ReportPhase) -> EngineInfo:
        """Load what was decided on; weights that turn out to be unusable at the first load are none, either."""
        try:
            info = self._engine.load(report)
        except WeightsUnavailable as error:
            self._fall_back(error)
            self._engine.prepare(report)
            info = self._engine.load(report)
        self._decided = True
        return self._with_fallback(info)

    def settle(self) -> EngineInfo:
        """As the engine that serves now."""
        return self._with_fallback(self._engine.settle())

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        """As the engine that serves now."""
        return self._engine.model_input_size(width, height)

    def infer(self, image: RGB) -> Alpha:
        """As the engine that serves now."""
        return self._engine.infer(image)

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """As the engine that serves now."""
        return self._engine.foreground(image, alpha)

    def memory(self) -> dict[str, int]:
        """As the engine that serves now; zeros if it keeps no account."""
        memory: Callable[[], dict[str, int]] | None = getattr(self._engine, "memory", None)
        return memory() if memory else {"allocated": 0, "reserved": 0}

    def _with_fallback(self, info: EngineInfo) -> EngineInfo:
        return replace(info, fallback=bool(self._fallback_reason), fallback_reason=self._fallback_reason)

    def _fall_back(self, error: WeightsUnavailable) -> None:
        if self._decided:
            raise error
        self._decided = True
        preferred = self._engine.name
        self._engine = self._make_fallback()
        self._fallback_reason = f"{preferred} has no weights: {error}"
        _log.warning(
            "FALLBACK: %s serves instead of %s, until the service is restarted. %s",
            self._engine.name,
            preferred,
            self._fallback_reason,
        )
