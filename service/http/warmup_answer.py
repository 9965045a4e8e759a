"""The status, ``Retry-After`` and sentences of ``/warmup``, derived from the supervisor's facts.

The handlers of ``/warmup`` and ``/readyz`` and the body of ``/warmup`` use these functions. Keep them pure: the
same snapshot gives the same answer. Status 200 must mean that the last probe passed and is still fresh.
"""

from __future__ import annotations

import math

from supervisor import Outcome, Snapshot, State

COLD_RETRY_SECONDS = 2
"""``Retry-After`` before the first load or probe has finished, which takes seconds."""

DRAINING_RETRY_SECONDS = 1
"""``Retry-After`` during the shutdown: another instance answers the next request."""


def http_status(snapshot: Snapshot) -> int:
    """200: the last probe passed and is fresh; 500: it failed; 503: there is no probe to judge by.

    The answer to ``POST`` is 503 also if the demanded probe could not run.
    """
    undecided = snapshot.state in {State.DRAINING, State.LOADING} or snapshot.outcome is None
    if snapshot.not_run is not None or undecided:
        return 503
    if snapshot.failure is not None:
        return 500
    return 200 if snapshot.alive and snapshot.fresh else 503


def retry_after(snapshot: Snapshot) -> int | None:
    """Whole seconds, at least 1, until a new request can have a new answer; None unless the status is 503."""
    return _seconds_to_news(snapshot) if http_status(snapshot) == 503 else None


def status(snapshot: Snapshot) -> str:
    """``success``, ``error``, or ``pending`` before the first load or probe has finished."""
    if http_status(snapshot) == 200:
        return "success"
    cold = snapshot.state in {State.LOADING, State.WARMING} and snapshot.outcome is None
    return "pending" if cold and snapshot.not_run is None else "error"


def outcome(snapshot: Snapshot) -> Outcome | None:
    """Of the last finished probe or failed load; ``skipped`` if no probe can run or the demanded one did not."""
    skipped = snapshot.not_run is not None or snapshot.state is State.DRAINING
    return Outcome.SKIPPED if skipped else snapshot.outcome


def error_type(snapshot: Snapshot) -> str | None:
    """What kind of error it is; None unless ``status`` is ``error``."""
    if status(snapshot) != "error":
        return None
    if snapshot.not_run is not None:
        return Outcome.SKIPPED.value
    if snapshot.state is State.DRAINING:
        return "draining"
    if snapshot.failure is not None:
        return snapshot.failure.error_type
    return "stale" if snapshot.alive else "supervisor_down"


def message(snapshot: Snapshot) -> str:
    """One sentence for a person. People search for its beginnings, so these must stay."""
    why = reason(snapshot)
    if snapshot.not_run is not None:
        return f"Warmup could not run: {snapshot.not_run}"
    if http_status(snapshot) == 200:
        return "Warmup completed successfully" + (f"; but {why}" if why else "")
    if http_status(snapshot) == 500 and snapshot.failure is not None:
        return f"Warmup failed: {snapshot.failure.message}"
    was_ready = snapshot.last_success_age is not None
    if not snapshot.alive and was_ready and snapshot.state is not State.DRAINING:
        return f"The warmup supervisor is not running; {why or 'no new probe confirms the last success'}"
    return f"Not warm: {why}"


def reason(snapshot: Snapshot) -> str | None:
    """Why the state is not ``ready``; None if it is."""
    match snapshot.state:
        case State.READY:
            return None
        case State.DRAINING:
            return "the service is shutting down"
        case State.LOADING:
            return _why_loading(snapshot)
        case _:
            return _why_not_ready(snapshot)


def _why_loading(snapshot: Snapshot) -> str:
    if snapshot.failure is None:
        progress = ": ".join(part for part in (snapshot.phase, snapshot.phase_detail) if part)
        return f"the model is loading ({progress})" if progress else "the model is loading"
    waiting = snapshot.seconds_to_next_attempt > 0
    again = f"it is tried again in {_seconds_to_news(snapshot)} s" if waiting else "it is being tried again"
    return f"the model could not be loaded: {snapshot.failure.message}; {again}"


def _why_not_ready(snapshot: Snapshot) -> str:
    if snapshot.failure is not None:
        failures = snapshot.consecutive_failures
        which = f"the last {failures} probes" if failures > 1 else "the last probe"
        return f"{which} failed: {snapshot.failure.message}"
    if snapshot.last_success_age is None:
        return "the model is loaded and has not been proved yet"
    if not snapshot.fresh:
        return f"the last success is {snapshot.last_success_age:.0f} s old, too old to prove anything"
    return f"a job has been running for {snapshot.job_seconds:.0f} s"


def _seconds_to_news(snapshot: Snapshot) -> int:
    if snapshot.state is State.DRAINING:
        return DRAINING_RETRY_SECONDS
    if snapshot.outcome is None:
        return COLD_RETRY_SECONDS
    # Rounded first, so that the error of a floating-point difference does not add a whole second.
    return max(1, math.ceil(round(snapshot.seconds_to_next_attempt, 3)))
