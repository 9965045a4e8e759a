"""The contract between the supervisor and what it loads and probes.

``Supervisor`` calls a ``Target``; ``service.warmup`` implements it. A load or a probe that does not succeed raises
``LoadError`` or ``ProbeError`` with one of the outcomes below. The values of ``Outcome`` are also the values of a
metric's label, so a change here changes dashboards and alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """How a warmup run ended. These are the values of the ``outcome`` label of ``warmup_runs_total``."""

    SUCCESS = "success"
    TIMEOUT = "timeout"
    OOM = "oom"
    DEVICE_ERROR = "device_error"
    BAD_OUTPUT = "bad_output"
    BAD_SIZE = "bad_size"
    DISAGREES = "disagrees"
    WEIGHTS_UNAVAILABLE = "weights_unavailable"
    ERROR = "error"
    SKIPPED = "skipped"
    """The probe could not run. This is not a failure."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe that passed reports."""

    running_seconds: float
    """How long it ran, without the wait for its turn. The time until the next probe is at least 20 times this."""
    again: bool = False
    """True if the next probe is due at once, because it has more to prove."""


class _Failed(Exception):
    def __init__(self, outcome: Outcome, message: str) -> None:
        if outcome in {Outcome.SUCCESS, Outcome.SKIPPED}:
            raise ValueError(f"a failure cannot have the outcome {outcome}")
        super().__init__(message)
        self.outcome = outcome
        self.message = message


class ProbeError(_Failed):
    """A probe did not pass.

    Args:
        outcome: the kind of failure; neither ``success`` nor ``skipped``.
        message: the reason, for the log and for clients.
    """


class LoadError(_Failed):
    """A load did not succeed.

    Args:
        outcome: the kind of failure; neither ``success`` nor ``skipped``.
        message: the reason, and what to do about it, for the log and for clients.
    """


class Target(Protocol):
    """What the supervisor loads and probes. All calls and all callbacks happen in the event loop's thread."""

    async def load(self, report: Callable[[str, str], None]) -> Mapping[str, float]:
        """Load the engine. Whatever this raises, the supervisor calls it again after a while.

        Args:
            report: call it with (phase, one line for a person) when a phase begins and while it progresses.

        Returns:
            Seconds by phase: ``import``, ``weights``, ``device``.

        Raises:
            LoadError: with the reason.
        """
        ...

    async def probe(self, on_start: Callable[[], None]) -> ProbeReport:
        """Send one canary through the path that clients' pictures take, and check the result.

        Args:
            on_start: call it when the probe gets its turn. The timeout counts from there, not from the call.

        Raises:
            ProbeError: with what was wrong. Any other exception counts as a failed probe too.
        """
        ...

    def job_seconds(self) -> float:
        """How long the job that now runs in the device thread has been running, in seconds; 0.0 if none runs."""
        ...
