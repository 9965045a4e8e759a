"""The fallback of ``INSPYRENET_ENGINE=auto``: another engine is used if the preferred one has no weights.

``build`` creates it around the preferred engine. The decision is made once, at the first load, and logged as a warning.
It must never change while the service runs, because the quality of the masks would change with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from service.engines.protocol import (
    RGB,
    Alpha,
    Engine,
    EngineInfo,
    Mask,
    ReportPhase,
    WeightsUnavailable,
)

_log = logging.getLogger(__name__)


class EngineWithFallback:
    """Uses ``preferred`` if its weights are available when the service starts, else the fallback until the next start.

    Args:
        preferred: the engine to use.
        make_fallback: creates the engine whose weights come with the installation; called only if it is needed.
    """

    def __init__(self, preferred: Engine, *, make_fallback: Callable[[], Engine]) -> None:
        self._engine = preferred
        self._make_fallback = make_fallback
        self._decided = False
        self._missing: WeightsUnavailable | None = None  # why the fallback serves

    @property
    def name(self) -> str:
        """The name of the engine in use."""
        return self._engine.name

    @property
    def info(self) -> EngineInfo | None:
        """What is loaded of the engine in use."""
        info = self._engine.info
        return None if info is None else self._with_fallback(info)

    def prepare(self, report: ReportPhase) -> None:
        """Prepare the preferred engine; if it has no weights, switch to the fallback and prepare that."""
        try:
            self._engine.prepare(report)
        except WeightsUnavailable as error:
            self._fall_back(error)
            self.prepare(report)

    def load(self, report: ReportPhase) -> EngineInfo:
        """Load the engine in use. If its weights are unusable at the first load, switch to the fallback as well."""
        try:
            info = self._engine.load(report)
        except WeightsUnavailable as error:
            self._fall_back(error)
            self._engine.prepare(report)
            info = self._engine.load(report)
        self._decided = True
        return self._with_fallback(info)

    def settle(self) -> EngineInfo:
        """Calls the engine in use."""
        return self._with_fallback(self._engine.settle())

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        """Calls the engine in use."""
        return self._engine.model_input_size(width, height)

    def infer(self, image: RGB) -> Mask:
        """Calls the engine in use."""
        return self._engine.infer(image)

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        """Calls the engine in use."""
        return self._engine.foreground(image, alpha)

    def memory(self) -> Mapping[str, int]:
        """Calls the engine in use."""
        return self._engine.memory()

    def _with_fallback(self, info: EngineInfo) -> EngineInfo:
        missing = self._missing
        return replace(info, fallback=missing is not None, fallback_reason=missing.public if missing else "")

    def _fall_back(self, error: WeightsUnavailable) -> None:
        if self._decided:  # the fallback has no weights either: say why both are missing
            errors = [reason for reason in (self._missing, error) if reason]
            paths = [path for reason in errors for path in reason.paths]
            raise WeightsUnavailable("; ".join(map(str, errors)), *paths) from error
        self._decided = True
        preferred = self._engine.name
        self._engine = self._make_fallback()
        self._missing = WeightsUnavailable(f"{preferred} has no weights: {error}", *error.paths)
        _log.warning(
            "FALLBACK: %s serves instead of %s, until the service is restarted. %s",
            self._engine.name,
            preferred,
            self._missing,
        )
