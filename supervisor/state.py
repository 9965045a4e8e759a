"""The state machine of warmth: what is known, and what follows from it now. Pure: no clock, no tasks, no I/O.

Times are monotonic seconds. Nothing here changes anything: a transition returns new evidence, and whether the
service is warm is computed from the evidence and the time of asking, so that old evidence grows stale by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.protocol import Outcome

DUTY = 20
"""After a success the next probe keeps a distance of this many times its running time..."""

MAX_STRETCH = 5
"""...but the interval never grows beyond this many times the configured one."""

FRESH_INTERVALS = 3
FAILURES_TO_FAIL = 3
FIRST_BACKOFF_SECONDS = 1.0
COLD_RETRY_SECONDS = 2
"""``Retry-After`` while the engine is on its way, which takes seconds."""


class State(StrEnum):
    """How warm the service is; the first that applies."""

    DRAINING = "draining"
    LOADING = "loading"
    WARMING = "warming"
    FAILING = "failing"
    DEGRADED = "degraded"
    READY = "ready"


READY_STATES = frozenset({State.READY, State.DEGRADED})


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often to probe, and what counts as late; all in seconds."""

    interval: float
    """Between probes, when healthy."""
    timeout: float
    """Running time after which a probe has failed."""
    request_timeout: float
    """Running time after which any job shows that the worker is not well."""

    def stretched(self, running_seconds: float) -> float:
        """The effective interval after a probe that ran so long."""
        return min(max(self.interval, DUTY * running_seconds), MAX_STRETCH * self.interval)

    def backoff(self, failures: int, jitter: float, longest: float) -> float:
        """How long to wait after so many failures in a row.

        Doubles from 1 s up to ``longest``; ``jitter``, in [0, 1], takes away up to half of it, so that instances
        that failed together do not come back together.
        """
        shortest = min(FIRST_BACKOFF_SECONDS, longest)
        whole = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 60), longest)
        return max(shortest, whole * (1 - jitter / 2))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known since the last load."""

    cadence: Cadence
    draining: bool = False
    loaded: bool = False
    load_failed: bool = False
    """The last load that ended has failed."""
    outcome: Outcome | None = None
    """Of the last finished probe, or of the failed load; None if none has finished."""
    failures: int = 0
    """In a row, up to the last finished run."""
    finished_at: float | None = None
    succeeded_at: float | None = None
    """When a probe last passed; that there is one at all means it was ready since the load."""
    running_seconds: float = 0.0
    """Of the last probe that passed."""
    invalid_since: float | None = None
    """Since when no probe that began earlier proves anything; None if evidence stands."""
    next_at: float = -math.inf
    """When the next load or probe is due."""

    # -- transitions -----------------------------------------------------------------------------------------

    def after_load(self, now: float) -> Evidence:
        """A new engine: nothing is known of it, and the first probe is due at once."""
        return Evidence(self.cadence, draining=self.draining, loaded=True, next_at=now)

    def after_failed_load(self, outcome: Outcome, now: float, jitter: float) -> Evidence:
        """Still not loaded, and why is known; tried again with backoff."""
        return replace(self._after_failure(outcome, now, jitter), load_failed=True)

    def after_success(
        self, now: float, *, began: float, running_seconds: float, again: bool = False
    ) -> Evidence:
        """A probe that was sent at ``began`` has passed; with ``again``, the next one is due at once."""
        stands = self.invalid_since is None or began >= self.invalid_since
        return replace(
            self,
            outcome=Outcome.SUCCESS,
            failures=0,
            finished_at=now,
            succeeded_at=now,
            running_seconds=running_seconds,
            invalid_since=None if stands else self.invalid_since,
            next_at=now + self.cadence.stretched(running_seconds) if stands and not again else now,
        )

    def after_failure(self, outcome: Outcome, now: float, jitter: float) -> Evidence:
        """A probe has failed."""
        return self._after_failure(outcome, now, jitter)

    def after_skip(self, now: float, jitter: float) -> Evidence:
        """A probe could not run: nothing was learnt, try again soon."""
        return replace(self, next_at=now + self._backoff(max(1, self.failures), jitter))

    def after_invalidation(self, now: float) -> Evidence:
        """What was proved is void: a probe is due at once."""
        return replace(self, invalid_since=now, next_at=now if self.loaded else self.next_at)

    def after_drain(self) -> Evidence:
        """The end has begun."""
        return replace(self, draining=True)

    def _after_failure(self, outcome: Outcome, now: float, jitter: float) -> Evidence:
        failures = self.failures + 1
        return replace(
            self,
            outcome=outcome,
            failures=failures,
            finished_at=now,
            next_at=now + self._backoff(failures, jitter),
        )

    def _backoff(self, failures: int, jitter: float) -> float:
        return self.cadence.backoff(failures, jitter, self.effective_interval)

    # -- what follows ----------------------------------------------------------------------------------------

    @property
    def effective_interval(self) -> float:
        """Seconds between probes in effect now."""
        return self.cadence.stretched(self.running_seconds)

    @property
    def was_ready(self) -> bool:
        """Whether a probe has passed since the load."""
        return self.succeeded_at is not None

    def success_age(self, now: float) -> float | None:
        """Seconds since a probe last passed; None if none has since the load."""
        return None if self.succeeded_at is None else now - self.succeeded_at

    def fresh(self, now: float) -> bool:
        """Whether the last success is young enough to prove anything."""
        age = self.success_age(now)
        limit = FRESH_INTERVALS * self.effective_interval + self.cadence.timeout
        return age is not None and age <= limit and self.invalid_since is None

    def state(self, now: float, job_seconds: float) -> State:
        """The state, given how long the job now in the worker has been running."""
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

    def status_code(self, now: float, *, alive: bool) -> int:
        """What ``GET /warmup`` answers: 200, 500 or 503."""
        if self.draining or not self.loaded or self.outcome is None:
            return 503
        if self.outcome is not Outcome.SUCCESS:
            return 500
        return 200 if alive and self.fresh(now) else 503

    def retry_after(self, now: float) -> int:
        """Whole seconds after which asking again makes sense, at least 1."""
        if self.draining:
            return 1  # another instance answers
        if self.outcome is None:
            return COLD_RETRY_SECONDS
        # Rounded first: what floating point adds to a difference must not become another second.
        return max(1, math.ceil(round(self.next_at - now, 3)))

    def within_duty(self, now: float) -> bool:
        """Whether the last finished probe passed so lately that another may not run yet."""
        age = self.success_age(now)
        if age is None or self.failures or self.invalid_since is not None:
            return False
        return age < min(DUTY * self.running_seconds, MAX_STRETCH * self.cadence.interval)

    def due_at(self, *, demanded: bool) -> float:
        """When the next load or probe may start.

        A demand brings a probe forward, but after a failure it keeps the shortest backoff's distance, lest
        impatient callers keep a sick machine busy. A load is never brought forward.
        """
        if not demanded or not self.loaded:
            return self.next_at
        if self.failures and self.finished_at is not None:
            shortest = min(FIRST_BACKOFF_SECONDS, self.effective_interval)
            return min(self.next_at, self.finished_at + shortest)
        return -math.inf
