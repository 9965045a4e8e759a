"""How often to probe, and what counts as late.

``state``, ``sizes`` and ``references`` take every wait from here, so that all probes keep the same rule: they use at
most a twentieth of the device's time.
"""

from __future__ import annotations

from dataclasses import dataclass

DUTY = 20
"""The time from a success to the next probe is at least this many times the probe's running time."""

MAX_STRETCH = 5
"""The interval never grows beyond this many times the configured one, however slow the probes are."""

FIRST_BACKOFF_SECONDS = 1.0
"""The wait after the first failure; it doubles with every further one."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often to probe, and what counts as late; all in seconds."""

    interval: float
    """Time between probes while they pass."""
    timeout: float
    """Running time after which a probe has failed."""
    request_timeout: float
    """Running time after which any job shows that its thread is stuck, and a proof at a real size has failed."""

    def stretched(self, running_seconds: float) -> float:
        """The effective interval after a probe with this running time."""
        return min(max(self.interval, DUTY * running_seconds), MAX_STRETCH * self.interval)

    def backoff(self, failures: int, jitter: float, longest: float) -> float:
        """The wait after this many failures in a row.

        It doubles from 1 s up to ``longest``. ``jitter``, in [0, 1], takes away up to half of it, so that instances
        that failed together do not try again together.
        """
        shortest = min(FIRST_BACKOFF_SECONDS, longest)
        whole = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 60), longest)
        return max(shortest, whole * (1 - jitter / 2))
