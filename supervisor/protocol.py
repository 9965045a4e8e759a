"""The contract between the supervisor and what it loads and probes.

``Supervisor`` calls a ``Target``; ``service.warmup`` implements it. A load or a probe that does not succeed raises
``LoadError`` or ``ProbeError`` with one of the outcomes below. The values of ``Outcome`` are also the values of a
metric's label, so a change here changes dashboards and alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class Outcome(StrEnum):
    """How a warmup run ended. These are the values of the ``outcome`` label of ``warmup_runs_total``."""

    SUCCESS = "success"
    TIMEOUT = "timeout"
    OOM = "oom"
    DEVICE_ERROR = "device_error"
    BAD_OUTPUT = "bad_output"
    BAD_SIZE = "bad_size"
    DISAGREES = "disagrees"
    """The mask of a reference picture differs too much from the accepted one."""
    WEIGHTS_UNAVAILABLE = "weights_unavailable"
    ERROR = "error"
    SKIPPED = "skipped"
    """The probe could not run. This is not a failure."""


class Size(NamedTuple):
    """The size of a model input, in pixels."""

    width: int
    height: int

    def covers(self, other: Size) -> bool:
        """Whether no side of the other one is longer: then a pass at this size needs at least as much memory."""
        return self.width >= other.width and self.height >= other.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Canary:
    """A probe with the small canary. The service's freshness rests on it."""


@dataclass(frozen=True, slots=True)
class Settle:
    """The target decides what it left open at the load. Whatever has passed before counts no longer."""


@dataclass(frozen=True, slots=True)
class AtSize:
    """A probe with a canary that has this model input."""

    size: Size


@dataclass(frozen=True, slots=True)
class Reference:
    """A probe with a picture of the operator, compared with the mask that they accepted for it."""

    name: str


Subject = Canary | Settle | AtSize | Reference
"""What one run proves."""


@dataclass(frozen=True, slots=True)
class MaskError:
    """How far a mask was from the accepted one."""

    error: float
    """The mean absolute difference of alpha, 0-1."""
    max_error: float
    """How large it may be."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe that passed reports."""

    running_seconds: float
    """How long it ran, without the wait for its turn. The time until the next probe is at least 20 times this."""
    mask_error: MaskError | None = None
    """Set by a probe with a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What a load that succeeded reports, and what has to be proved before requests are served."""

    seconds_by_phase: Mapping[str, float]
    """``import``, ``weights``, ``device``."""
    canary: Size
    """The model input of the small canary."""
    real: Size
    """The model input of a photograph as clients send them."""
    settled: bool = True
    """False if a ``Settle`` has to follow the first proof."""
    real_gates: bool = False
    """Whether requests wait for a proof at the real size; else that follows when they are served."""
    references: tuple[str, ...] = ()
    """The names of all references."""
    gate_references: tuple[str, ...] = ()
    """The references for which requests wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What runs in the target at one moment."""

    job_seconds: float = 0.0
    """How long the job that now runs in the device thread has been running; 0.0 if none runs."""
    late_codec_jobs: int = 0
    """How many threads that decode and encode for clients have run one job for too long."""
    codec_threads: int = 1
    """How many of these threads there are."""


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
        mask_error: how far the mask of a reference was from the accepted one, if that is what failed.
    """

    def __init__(self, outcome: Outcome, message: str, *, mask_error: MaskError | None = None) -> None:
        super().__init__(outcome, message)
        self.mask_error = mask_error


class LoadError(_Failed):
    """A load did not succeed.

    Args:
        outcome: the kind of failure; neither ``success`` nor ``skipped``.
        message: the reason, and what to do about it, for the log and for clients.
    """


class Target(Protocol):
    """What the supervisor loads and probes. All calls and all callbacks happen in the event loop's thread."""

    async def load(self, report: Callable[[str, str], None]) -> LoadReport:
        """Load the engine. Whatever this raises, the supervisor calls it again after a while.

        Args:
            report: call it with (phase, one line for a person) when a phase begins and while it progresses.

        Raises:
            LoadError: with the reason.
        """
        ...

    async def probe(self, subject: Subject, on_running: Callable[[bool], None]) -> ProbeReport:
        """Send one picture through the path that clients' pictures take, and check the result.

        Args:
            subject: what is to be proved.
            on_running: call it with True when a thread begins to work for the probe, and with False when that thread
                has ended. The timeout counts only the time between.

        Raises:
            ProbeError: with what was wrong. Any other exception counts as a failed probe too.
        """
        ...

    def vitals(self) -> Vitals:
        """What runs now. May be called from any thread."""
        ...

    def serve(self) -> None:
        """Everything that requests wait for is proved: they get their turns. Also called after a refusal."""
        ...

    def refuse(self, failure: str) -> None:
        """A proof that requests wait for has failed: refuse them, with this reason, until ``serve`` is called."""
        ...

    def limit_sizes(self, refused: tuple[Size, ...], proved: tuple[Size, ...]) -> None:
        """Refuse pictures by the size of their model input, as ``supervisor.refuses`` says.

        Args:
            refused: sizes that have failed; empty if every picture is served again.
            proved: sizes that have passed.
        """
        ...
