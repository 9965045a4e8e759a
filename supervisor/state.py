"""The warmup state machine: what is known about the engine, and what follows from it at a given moment.

``Supervisor`` holds one ``Evidence`` and replaces it after every load and every probe. Keep this module pure: no
clock, no tasks, no I/O. Times are monotonic seconds. The state is computed from the evidence and the current time,
so that an old success stops counting by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.cadence import DUTY, FIRST_BACKOFF_SECONDS, MAX_STRETCH, Cadence
from supervisor.failure import Failure
from supervisor.protocol import (
    AtSize,
    Canary,
    LoadReport,
    Outcome,
    ProbeReport,
    Reference,
    Settle,
    Size,
    Subject,
    Vitals,
)
from supervisor.references import ReferenceEvidence
from supervisor.sizes import SizeEvidence

FRESH_INTERVALS = 3
"""A success is fresh for this many effective intervals plus the timeout of a probe."""

FAILURES_TO_FAIL = 3
"""After this many failures in a row the state is ``failing``."""


class State(StrEnum):
    """How warm the service is. The first one that applies is the state."""

    DRAINING = "draining"
    LOAD_FAILED = "load_failed"
    LOADING = "loading"
    WARMING = "warming"
    FAILING = "failing"
    DEGRADED = "degraded"
    READY = "ready"


READY_STATES = frozenset({State.READY, State.DEGRADED})
"""The states in which the service should get requests."""


class Reason(StrEnum):
    """Why the service is not simply ready. The first one that applies decides."""

    DRAINING = "draining"
    LOAD_FAILED = "load_failed"
    LOADING = "loading"
    UNPROVED = "unproved"
    """No probe has finished since the load."""
    PROBE_FAILED = "probe_failed"
    REFERENCE_FAILED = "reference_failed"
    JOB_HUNG = "job_hung"
    CODEC_HUNG = "codec_hung"
    SIZE_FAILED = "size_failed"
    """Pictures of real sizes fail."""
    SIZE_UNPROVED = "size_unproved"
    """A request failed, and the proof at its size is owed."""
    SIZE_REFUSED = "size_refused"
    """Larger pictures are refused for the time being."""
    STALE = "stale"
    GATE_CLOSED = "gate_closed"
    """A probe has passed, but requests still wait for further proofs."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known since the last load. A transition returns new evidence and changes nothing."""

    cadence: Cadence
    sizes: SizeEvidence
    references: ReferenceEvidence
    draining: bool = False
    loaded: LoadReport | None = None
    failure: Failure | None = None
    """Of the last finished load, small probe or settling; None if it succeeded or if none has finished."""
    failures: int = 0
    """How many of these in a row have failed, up to the last finished one."""
    failed_at: float | None = None
    """When the last finished one failed; None if it succeeded or if none has finished."""
    succeeded_at: float | None = None
    """When a probe with the canary last passed; None if none has since the load."""
    running_seconds: float = 0.0
    """Of the last probe that passed, without the wait for its turn."""
    load_seconds: float | None = None
    """How long the load took."""
    probe_seconds: float | None = None
    """How long the last finished probe with the canary took, with the wait for its turn."""
    next_at: float = -math.inf
    """When the next load, probe with the canary, or settling is due."""
    settled: bool = True
    """False while the target has left something open at the load."""
    proved: bool = False
    """Whether a probe with the canary has passed since the load and since anything was settled."""
    gate_open: bool = False
    """Whether requests are served. It stays open until the next load."""

    @classmethod
    def cold(cls, cadence: Cadence) -> Evidence:
        """The evidence before the first load."""
        return cls(cadence, SizeEvidence(cadence), ReferenceEvidence(cadence))

    # -- transitions -----------------------------------------------------------------------------------------

    def after_load(self, now: float, report: LoadReport, *, load_seconds: float) -> Evidence:
        """The engine is loaded. Nothing is known about it yet, and the first probe is due at once."""
        return replace(
            Evidence.cold(self.cadence),
            draining=self.draining,
            loaded=report,
            settled=report.settled,
            load_seconds=load_seconds,
            next_at=now,
        )._unproved(report)

    def after_load_failure(self, failure: Failure, now: float, jitter: float) -> Evidence:
        """A load has failed; the next try comes with backoff."""
        return self._after_failure(failure, now, jitter)

    def after_probe(self, subject: Subject, report: ProbeReport, now: float, *, seconds: float) -> Evidence:
        """A probe has passed; ``seconds`` is how long it took, with the wait for its turn."""
        match subject:
            case Canary():
                return self._after_canary(now, report, seconds)
            case Settle():
                return self._after_settling(now)
            case AtSize(size):
                sizes = self.sizes.after_pass(size, now, running_seconds=report.running_seconds)
                return replace(self, sizes=sizes)
            case Reference(name):
                judged = self.references.after_pass(
                    name, report.mask_error, now, running_seconds=report.running_seconds
                )
                return replace(self, references=judged)

    def after_probe_failure(
        self,
        subject: Subject,
        failure: Failure,
        now: float,
        jitter: float,
        *,
        seconds: float,
        running_seconds: float = 0.0,
    ) -> Evidence:
        """A probe has failed; it is tried again with backoff."""
        match subject:
            case Canary():
                return replace(self._after_failure(failure, now, jitter), probe_seconds=seconds)
            case Settle():
                return self._after_settling(now)._after_failure(failure, now, jitter)
            case AtSize(size):
                sizes = self.sizes.after_failure(size, failure, now, jitter, running_seconds=running_seconds)
                return replace(self, sizes=sizes)
            case Reference(name):
                judged = self.references.after_failure(
                    name, failure, now, jitter, running_seconds=running_seconds
                )
                return replace(self, references=judged)

    def after_client_failure(self, size: Size, now: float) -> Evidence:
        """A request with this model input has failed by the device."""
        return replace(self, sizes=self.sizes.after_client_failure(size, now)) if self.loaded else self

    def after_time(self, now: float) -> Evidence:
        """Time alone has passed."""
        sizes = self.sizes.after_time(now)
        return self if sizes is self.sizes else replace(self, sizes=sizes)

    def after_opening(self, now: float) -> Evidence:
        """Requests are served from now on."""
        return replace(self, gate_open=True, sizes=self.sizes.after_opening(now))

    def after_drain(self) -> Evidence:
        """The service has begun to shut down."""
        return replace(self, draining=True)

    def _after_canary(self, now: float, report: ProbeReport, seconds: float) -> Evidence:
        sizes = self.sizes
        if self.loaded is not None:
            sizes = sizes.after_pass(self.loaded.canary, now, running_seconds=report.running_seconds)
        return replace(
            self,
            failure=None,
            failures=0,
            failed_at=None,
            succeeded_at=now,
            running_seconds=report.running_seconds,
            probe_seconds=seconds,
            next_at=now + self.cadence.stretched(report.running_seconds) if self.settled else now,
            proved=True,
            sizes=sizes,
        )

    def _after_settling(self, now: float) -> Evidence:
        if self.loaded is None:
            raise RuntimeError("nothing is loaded that could be settled")
        return replace(self, settled=True, next_at=now)._unproved(self.loaded)

    def _unproved(self, report: LoadReport) -> Evidence:
        """What serves is new: earlier proofs of it do not count."""
        return replace(
            self,
            proved=False,
            sizes=SizeEvidence.after_load(self.cadence, real=report.real, gates=report.real_gates),
            references=ReferenceEvidence(self.cadence, report.references, report.gate_references),
        )

    def _after_failure(self, failure: Failure, now: float, jitter: float) -> Evidence:
        failures = self.failures + 1
        return replace(
            self,
            failure=failure,
            failures=failures,
            failed_at=now,
            next_at=now + self.cadence.backoff(failures, jitter, self.effective_interval),
        )

    # -- what follows ----------------------------------------------------------------------------------------

    @property
    def outcome(self) -> Outcome | None:
        """Of the last finished probe or failed load; None if none has finished since the load."""
        if (failure := self.present_failure) is not None:
            return failure.outcome
        if self.sizes.refused:
            return self.sizes.refused[-1].failure.outcome
        return Outcome.SUCCESS if self.was_proved else None

    @property
    def present_failure(self) -> Failure | None:
        """Of whatever failed when it was last tried: a load, the canary, a reference, the real size."""
        if self.failure is not None:
            return self.failure
        if self.references.failure is not None:
            return self.references.failure
        return self.sizes.real_failed.failure if self.sizes.real_failed is not None else None

    @property
    def consecutive_failures(self) -> int:
        """How often in a row that has failed."""
        real = self.sizes.real_failed.failures if self.sizes.real_failed is not None else 0
        return max(self.failures, self.references.failures, real)

    @property
    def load_failed(self) -> bool:
        """Whether the last load that ended has failed."""
        return self.loaded is None and self.failure is not None

    @property
    def effective_interval(self) -> float:
        """The current time between probes, in seconds."""
        return self.cadence.stretched(self.running_seconds)

    @property
    def was_proved(self) -> bool:
        """Whether a probe with the canary has passed since the load."""
        return self.succeeded_at is not None

    @property
    def everything_proved(self) -> bool:
        """Whether every proof that requests wait for has passed."""
        real = self.sizes.real_passed or not self.sizes.gates
        return self.proved and self.settled and real and self.references.gate_pending is None

    def success_age(self, now: float) -> float | None:
        """Seconds since a probe with the canary last passed; None if none has since the load."""
        return None if self.succeeded_at is None else now - self.succeeded_at

    def fresh(self, now: float) -> bool:
        """Whether a probe with the canary has passed recently enough to count."""
        age = self.success_age(now)
        return age is not None and age <= FRESH_INTERVALS * self.effective_interval + self.cadence.timeout

    def state(self, now: float, vitals: Vitals) -> State:
        """The state at this moment."""
        if self.draining:
            return State.DRAINING
        if self.loaded is None:
            return State.LOAD_FAILED if self.load_failed else State.LOADING
        if not self.gate_open:
            return State.WARMING
        if self._failing(now, vitals):
            return State.FAILING
        degraded = self.consecutive_failures or vitals.late_codec_jobs or self.sizes.refused
        return State.DEGRADED if degraded else State.READY

    def _failing(self, now: float, vitals: Vitals) -> bool:
        return (
            max(self.failures, self.references.failures) >= FAILURES_TO_FAIL
            or self.sizes.real_failed is not None
            or not self.fresh(now)
            or vitals.job_seconds > self.cadence.request_timeout
            or vitals.late_codec_jobs >= vitals.codec_threads
        )

    def reason(self, now: float, vitals: Vitals) -> Reason | None:
        """The first reason why the service is not simply ready; None if it is."""
        loaded = self.loaded is not None
        reasons = {
            Reason.DRAINING: self.draining,
            Reason.LOAD_FAILED: self.load_failed,
            Reason.LOADING: not loaded,
            Reason.PROBE_FAILED: self.failure is not None,
            Reason.UNPROVED: not self.was_proved,
            Reason.REFERENCE_FAILED: self.references.failure is not None,
            Reason.JOB_HUNG: vitals.job_seconds > self.cadence.request_timeout,
            Reason.CODEC_HUNG: vitals.late_codec_jobs > 0,
            Reason.SIZE_FAILED: self.sizes.real_failed is not None,
            Reason.SIZE_UNPROVED: bool(self.sizes.owed),
            Reason.SIZE_REFUSED: bool(self.sizes.refused),
            Reason.STALE: not self.fresh(now),
            Reason.GATE_CLOSED: not self.gate_open,
        }
        return next((reason for reason, applies in reasons.items() if applies), None)

    # -- what is due -----------------------------------------------------------------------------------------

    def within_duty(self, now: float) -> bool:
        """Whether the last finished probe passed so recently that the next one may not run yet."""
        age = self.success_age(now)
        if age is None or self.failures:
            return False
        return age < min(DUTY * self.running_seconds, MAX_STRETCH * self.cadence.interval)

    def due(self, now: float, *, demanded: bool) -> Subject | None:
        """What the next probe has to prove, once the engine is loaded; None if none is due.

        The canary comes first, because freshness rests on it. While it fails, nothing else is tried.
        """
        if now >= self.due_at(demanded=demanded):
            return Canary() if not self.proved or self.settled else Settle()
        if not self.proved or self.failures:
            return None
        if self.gate_open or self.sizes.gates:
            if (size := self.sizes.due(now)) is not None:
                return AtSize(size)
            if not self.gate_open and not self.sizes.real_passed:
                return None
        name = self.references.due(now, gating=not self.gate_open)
        return Reference(name) if name is not None else None

    def due_at(self, *, demanded: bool) -> float:
        """When the next load, probe with the canary, or settling may start.

        A demand brings a probe forward. After a failure it still waits for the shortest backoff, so that impatient
        callers cannot keep a failing device busy. A demand never brings a load forward.
        """
        if not demanded or self.loaded is None:
            return self.next_at
        if self.failed_at is not None:
            shortest = min(FIRST_BACKOFF_SECONDS, self.effective_interval)
            return min(self.next_at, self.failed_at + shortest)
        return -math.inf

    def next_due_at(self, *, demanded: bool) -> float:
        """When anything is due next, if nothing happens before."""
        at = self.due_at(demanded=demanded)
        if self.loaded is None or not self.proved or self.failures:
            return at
        if self.gate_open or self.sizes.gates:
            at = min(at, self.sizes.due_at)
        if not self.gate_open and self.sizes.gates and not self.sizes.real_passed:
            return at
        return min(at, self.references.due_at(gating=not self.gate_open))
