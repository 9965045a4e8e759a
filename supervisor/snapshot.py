"""What the supervisor reports to others: the facts at one moment.

``Supervisor.snapshot`` and ``Supervisor.demand`` return it; the application turns it into answers for clients.
It holds facts only: no sentence and no code that depends on how they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.failure import Failure
from supervisor.protocol import MaskError, Outcome, Size, Vitals
from supervisor.references import ReferenceEvidence
from supervisor.sizes import SizeEvidence
from supervisor.start_progress import StartProgress
from supervisor.state import READY_STATES, Evidence, Reason, State


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeFacts:
    """What is known about pictures of real sizes."""

    real: Size | None = None
    """The model input of a photograph; None before the load."""
    owed: tuple[Size, ...] = ()
    """A request failed at these; the proof has not ended."""
    refused: tuple[Size, ...] = ()
    """Pictures whose model input covers one of these are refused."""

    @classmethod
    def of(cls, sizes: SizeEvidence, *, loaded: bool) -> SizeFacts:
        """The facts that follow from the evidence."""
        return cls(
            real=sizes.real if loaded else None,
            owed=sizes.owed,
            refused=tuple(it.size for it in sizes.refused),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFacts:
    """How many references stand how, and which one differs most."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    worst: tuple[str, MaskError] | None = None

    @classmethod
    def of(cls, references: ReferenceEvidence) -> ReferenceFacts:
        """The facts that follow from the evidence."""
        return cls(
            total=len(references.names),
            passed=references.count(passed=True),
            failed=references.count(passed=False),
            worst=references.worst,
        )

    @property
    def pending(self) -> int:
        """References that have not been judged since the load."""
        return self.total - self.passed - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The facts at one moment; durations and ages are in seconds."""

    state: State
    reason: Reason | None
    """Why the service is not simply ready; None if it is."""
    alive: bool
    """Whether the supervisor runs. If not, no probe starts until the guard has restarted it."""
    outcome: Outcome | None
    """Of the last finished probe or failed load; None if none has finished since the load."""
    failure: Failure | None
    """Of whatever failed when it was last tried: a load, the canary, a reference, the real size."""
    consecutive_failures: int
    proved: bool
    """Whether a probe has passed since the load."""
    last_success_age: float | None
    """None if no probe with the canary has passed since the load."""
    fresh: bool
    """Whether a probe has passed recently enough to count."""
    interval: float
    """The effective interval between probes."""
    seconds_to_next_attempt: float
    """Until the next load or probe is due; 0.0 if it is due or in progress."""
    vitals: Vitals
    """What runs in the threads."""
    phase: str | None
    """Of the load, or of the last one if it failed; None once the engine is loaded or if no phase was reported."""
    phase_detail: str
    """One line for a person about the phase; may be empty."""
    phase_seconds: float | None = None
    """Since the phase began; None without a phase and while no load runs."""
    start_seconds: float | None = None
    """Since the load began, until requests are served; None from then on, and while no load runs."""
    load_seconds: float | None
    """How long the load took."""
    probe_seconds: float | None
    """How long the last finished probe took, with the wait for its turn."""
    timestamp: float
    """Unix time of this snapshot."""
    sizes: SizeFacts = SizeFacts()
    references: ReferenceFacts = ReferenceFacts()
    not_run: str | None = None
    """Why the probe that the caller demanded could not run; None if it ran or if none was demanded."""

    @property
    def ready(self) -> bool:
        """Whether the service should get requests."""
        return self.state in READY_STATES

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        *,
        now: float,
        timestamp: float,
        vitals: Vitals,
        alive: bool,
        start: StartProgress | None = None,
    ) -> Snapshot:
        """The facts that follow from the evidence at the monotonic time ``now``."""
        state = evidence.state(now, vitals)
        starting = start is not None and state is not State.DRAINING and not evidence.gate_open
        progress = start if start is not None and starting else StartProgress()
        in_phase = progress if evidence.loaded is None else StartProgress()
        return cls(
            state=state,
            reason=evidence.reason(now, vitals),
            alive=alive,
            outcome=evidence.outcome,
            failure=evidence.present_failure,
            consecutive_failures=evidence.consecutive_failures,
            proved=evidence.was_proved,
            last_success_age=evidence.success_age(now),
            fresh=evidence.fresh(now),
            interval=evidence.effective_interval,
            seconds_to_next_attempt=max(0.0, evidence.next_at - now),
            vitals=vitals,
            phase=in_phase.phase,
            phase_detail=in_phase.phase_detail,
            phase_seconds=in_phase.phase_seconds(now),
            start_seconds=progress.seconds(now),
            load_seconds=evidence.load_seconds,
            probe_seconds=evidence.probe_seconds,
            timestamp=timestamp,
            sizes=SizeFacts.of(evidence.sizes, loaded=evidence.loaded is not None),
            references=ReferenceFacts.of(evidence.references),
        )
