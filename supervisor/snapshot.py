"""What the supervisor reports to others: the facts at one moment.

``Supervisor.snapshot`` and ``Supervisor.demand`` return it; the application turns it into answers for clients.
It holds facts only: no sentence and no code that depends on how they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.failure import Failure
from supervisor.protocol import Outcome
from supervisor.state import READY_STATES, Evidence, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The facts at one moment; durations and ages are in seconds."""

    state: State
    alive: bool
    """Whether the supervisor runs. If not, no probe starts until the guard has restarted it."""
    outcome: Outcome | None
    """Of the last finished probe or failed load; None if none has finished since the load."""
    failure: Failure | None
    """Of the last finished probe or load, if it failed."""
    consecutive_failures: int
    last_success_age: float | None
    """None if no probe has passed since the load."""
    fresh: bool
    """Whether a probe has passed recently enough to count."""
    interval: float
    """The effective interval between probes."""
    seconds_to_next_attempt: float
    """Until the next load or probe is due; 0.0 if it is due or in progress."""
    job_seconds: float
    """How long the job that now runs in the device thread has been running."""
    phase: str | None
    """Of the load, or of the last one if it failed; None once the engine is loaded or if no phase was reported."""
    phase_detail: str
    """One line for a person about the phase; may be empty."""
    load_seconds: float | None
    """How long the load took."""
    probe_seconds: float | None
    """How long the last finished probe took, with the wait for its turn."""
    timestamp: float
    """Unix time of this snapshot."""
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
        job_seconds: float,
        alive: bool,
        phase: str | None = None,
        phase_detail: str = "",
    ) -> Snapshot:
        """The facts that follow from the evidence at the monotonic time ``now``."""
        state = evidence.state(now, job_seconds)
        return cls(
            state=state,
            alive=alive,
            outcome=evidence.outcome,
            failure=evidence.failure,
            consecutive_failures=evidence.failures,
            last_success_age=evidence.success_age(now),
            fresh=evidence.fresh(now),
            interval=evidence.effective_interval,
            seconds_to_next_attempt=max(0.0, evidence.next_at - now),
            job_seconds=job_seconds,
            phase=phase if state is State.LOADING else None,
            phase_detail=phase_detail if state is State.LOADING else "",
            load_seconds=evidence.load_seconds,
            probe_seconds=evidence.probe_seconds,
            timestamp=timestamp,
        )
