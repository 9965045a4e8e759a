"""The warmup state machine: what is known about the engine, and what follows from it at a given moment.

``Supervisor`` holds one ``Evidence`` and replaces it after every load and every probe. Keep this module pure: no
clock, no tasks, no I/O. Times are monotonic seconds. The state is computed from the evidence and the current time,
so that an old success stops counting by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.failure import Failure
from supervisor.protocol import Outcome

DUTY = 20
"""The time from a success to the next probe is at least this many times the probe's running time."""

MAX_STRETCH = 5
"""The interval never grows beyond this many times the configured one, however slow the probes are."""

FRESH_INTERVALS = 3
"""A success is fresh for this many effective intervals plus the timeout of a probe."""

FAILURES_TO_FAIL = 3
"""After this many failures in a row the state is ``failing``."""

FIRST_BACKOFF_SECONDS = 1.0
"""The wait after the first failure; it doubles with every further one."""


class State(StrEnum):
    """How warm the service is. The first one that applies is the state."""

    DRAINING = "draining"
    LOADING = "loading"
    WARMING = "warming"
    FAILING = "failing"
    DEGRADED = "degraded"
    READY = "ready"


READY_STATES = frozenset({State.READY, State.DEGRADED})
"""The states in which the service should get requests."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often to probe, and what counts as late; all in seconds."""

    interval: float
    """Time between probes while they pass."""
    timeout: float
    """Running time after which a probe has failed."""
    request_timeout: float
    """Running time after which any job shows that the device thread is stuck."""

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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known since the last load. A transition returns new evidence and changes nothing."""

    cadence: Cadence
    draining: bool = False
    loaded: bool = False
    failure: Failure | None = None
    """Of the last finished load or probe; None if it succeeded or if none has finished."""
    failures: int = 0
    """How many loads or probes in a row have failed, up to the last finished one."""
    failed_at: float | None = None
    """When the last finished load or probe failed; None if it succeeded or if none has finished."""
    succeeded_at: float | None = None
    """When a probe last passed; None if none has since the load."""
    running_seconds: float = 0.0
    """Of the last probe that passed, without the wait for its turn."""
    load_seconds: float | None = None
    """How long the load took."""
    probe_seconds: float | None = None
    """How long the last finished probe took, with the wait for its turn."""
    next_at: float = -math.inf
    """When the next load or probe is due."""

    # -- transitions -----------------------------------------------------------------------------------------

    def after_load(self, now: float, *, load_seconds: float) -> Evidence:
        """The engine is loaded. Nothing is known about it yet, and the first probe is due at once."""
        return Evidence(
            self.cadence, draining=self.draining, loaded=True, load_seconds=load_seconds, next_at=now
        )

    def after_success(
        self, now: float, *, running_seconds: float, probe_seconds: float, again: bool = False
    ) -> Evidence:
        """A probe has passed. With ``again``, the next one is due at once."""
        return replace(
            self,
            failure=None,
            failures=0,
            failed_at=None,
            succeeded_at=now,
            running_seconds=running_seconds,
            probe_seconds=probe_seconds,
            next_at=now if again else now + self.cadence.stretched(running_seconds),
        )

    def after_failure(
        self, failure: Failure, now: float, jitter: float, *, probe_seconds: float | None = None
    ) -> Evidence:
        """A load or a probe has failed; the next try comes with backoff. ``probe_seconds`` is None for a load."""
        failures = self.failures + 1
        return replace(
            self,
            failure=failure,
            failures=failures,
            failed_at=now,
            probe_seconds=probe_seconds,
            next_at=now + self.cadence.backoff(failures, jitter, self.effective_interval),
        )

    def after_drain(self) -> Evidence:
        """The service has begun to shut down."""
        return replace(self, draining=True)

    # -- what follows ----------------------------------------------------------------------------------------

    @property
    def outcome(self) -> Outcome | None:
        """Of the last finished probe or failed load; None if none has finished since the load."""
        if self.failure is not None:
            return self.failure.outcome
        return Outcome.SUCCESS if self.was_ready else None

    @property
    def load_failed(self) -> bool:
        """Whether the last load that ended has failed."""
        return not self.loaded and self.failure is not None

    @property
    def effective_interval(self) -> float:
        """The current time between probes, in seconds."""
        return self.cadence.stretched(self.running_seconds)

    @property
    def was_ready(self) -> bool:
        """Whether a probe has passed since the load."""
        return self.succeeded_at is not None

    def success_age(self, now: float) -> float | None:
        """Seconds since a probe last passed; None if none has since the load."""
        return None if self.succeeded_at is None else now - self.succeeded_at

    def fresh(self, now: float) -> bool:
        """Whether a probe has passed recently enough to count."""
        age = self.success_age(now)
        return age is not None and age <= FRESH_INTERVALS * self.effective_interval + self.cadence.timeout

    def state(self, now: float, job_seconds: float) -> State:
        """The state, if the job that now runs in the device thread has been running for ``job_seconds``."""
        if self.draining:
            return State.DRAINING
        if not self.loaded:
            return State.LOADING
        if not self.was_ready:
            return State.WARMING
        stuck = job_seconds > self.cadence.request_timeout
        if self.failures >= FAILURES_TO_FAIL or not self.fresh(now) or stuck:
            return State.FAILING
        return State.DEGRADED if self.failures else State.READY

    def within_duty(self, now: float) -> bool:
        """Whether the last finished probe passed so recently that the next one may not run yet."""
        age = self.success_age(now)
        if age is None or self.failures:
            return False
        return age < min(DUTY * self.running_seconds, MAX_STRETCH * self.cadence.interval)

    def due_at(self, *, demanded: bool) -> float:
        """When the next load or probe may start.

        A demand brings a probe forward. After a failure it still waits for the shortest backoff, so that impatient
        callers cannot keep a failing device busy. A demand never brings a load forward.
        """
        if not demanded or not self.loaded:
            return self.next_at
        if self.failed_at is not None:
            shortest = min(FIRST_BACKOFF_SECONDS, self.effective_interval)
            return min(self.next_at, self.failed_at + shortest)
        return -math.inf
