"""All that the supervisor knows of what it warms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """How a warmup run ended; the values of the ``outcome`` label of ``warmup_runs_total``."""

    SUCCESS = "success"
    TIMEOUT = "timeout"
    OOM = "oom"
    DEVICE_ERROR = "device_error"
    BAD_OUTPUT = "bad_output"
    BAD_SIZE = "bad_size"
    WEIGHTS_UNAVAILABLE = "weights_unavailable"
    ERROR = "error"
    SKIPPED = "skipped"
    """It could not run. Not a failure."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe that passed has to tell; sizes are (width, height) in pixels."""

    image_size: tuple[int, int]
    model_input_size: tuple[int, int]
    running_seconds: float
    """How long it worked, without the wait for its turn; the next one keeps a distance of 20 times that."""
    again: bool = False
    """True if the next probe is due at once: it has more to prove."""


class _Failed(Exception):
    def __init__(self, outcome: Outcome, message: str) -> None:
        if outcome is Outcome.SUCCESS:
            raise ValueError("a failure cannot have the outcome success")
        super().__init__(message)
        self.outcome = outcome
        self.message = message


class ProbeError(_Failed):
    """A probe did not pass.

    Args:
        outcome: how it ended; ``skipped`` if it could not run at all.
        message: why, for the log and for ``/warmup``.
    """


class LoadError(_Failed):
    """A load did not succeed.

    Args:
        outcome: what kind of failure.
        message: why, and what would mend it, for the log and for ``/warmup``.
    """


class Target(Protocol):
    """What is loaded and probed. Every call, and every callback handed in, happens in the event loop's thread."""

    async def load(self, report: Callable[[str, str], None]) -> Mapping[str, float]:
        """Load the engine; tried again, after a while, if it raises anything at all.

        Args:
            report: call it with (phase, a line for a person) when a phase begins, and again as it goes on.

        Returns:
            Seconds by phase: ``import``, ``weights``, ``device``.

        Raises:
            LoadError: with the reason.
        """
        ...

    async def probe(self, started: Callable[[], None]) -> ProbeReport:
        """Send one canary the way a client's picture goes, and judge what comes back.

        Args:
            started: call it when the work begins to run; the wait for a turn is not counted against it.

        Raises:
            ProbeError: with what was wrong. Anything else that is raised is a failed probe too.
        """
        ...

    def job_seconds(self) -> float:
        """How long the job now in the worker, whosever it is, has been running, in seconds; 0.0 if idle."""
        ...
