"""Measures how long each phase of a load takes.

``target`` creates one for each load and reports the result to the supervisor, which exports it. A phase must last until
the next one begins, so that no second is counted twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from service.engines.protocol import LoadPhase


class PhaseStopwatch:
    """Seconds spent in each phase; entered from the thread that does the work, one phase at a time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._phase: str | None = None
        self._since = 0.0

    def enter(self, phase: LoadPhase) -> None:
        """A phase begins; the one before it ends."""
        self._end_phase()
        self._phase = phase.value

    def stop(self) -> Mapping[str, float]:
        """The load has ended; seconds by phase."""
        self._end_phase()
        return self._seconds

    def _end_phase(self) -> None:
        now = self._clock()
        if self._phase is not None:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._since = now
