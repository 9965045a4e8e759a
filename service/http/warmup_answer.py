"""The status, ``Retry-After`` and sentences of ``/warmup``, derived from the supervisor's facts.

The handlers of ``/warmup`` and ``/readyz`` and the body of ``/warmup`` use these functions. Keep them pure: the
same snapshot gives the same answer. Status 200 must mean that the last probe passed and is still fresh, and that
nothing is known that makes clients' pictures fail.
"""

from __future__ import annotations

import math

from supervisor import Failure, Outcome, Reason, Snapshot, State

COLD_RETRY_SECONDS = 2
"""``Retry-After`` before the first load or probe has finished, which takes seconds."""

DRAINING_RETRY_SECONDS = 1
"""``Retry-After`` during the shutdown: another instance answers the next request."""


def http_status(snapshot: Snapshot) -> int:
    """200: the last probe passed and nothing argues against it; 500: something does; 503: no probe to judge by.

    The answer to ``POST`` is 503 also if the demanded probe could not run.
    """
    if snapshot.not_run is not None:
        return 503
    match snapshot.reason:
        case Reason.DRAINING | Reason.LOAD_FAILED | Reason.LOADING | Reason.UNPROVED | Reason.STALE:
            return 503
        case None | Reason.GATE_CLOSED:
            return 200 if snapshot.alive else 503
        case _:
            return 500


def reason_code(snapshot: Snapshot) -> str | None:
    """What decided the status, as a word for programs; None if the service is simply ready."""
    if snapshot.not_run is not None:
        return "not_run"
    if not snapshot.alive and snapshot.reason in {None, Reason.GATE_CLOSED, Reason.STALE}:
        return "supervisor_down"
    return None if snapshot.reason is None else snapshot.reason.value


def retry_after(snapshot: Snapshot) -> int | None:
    """Whole seconds, at least 1, until a new request can have a new answer; None unless the status is 503."""
    return _seconds_to_news(snapshot) if http_status(snapshot) == 503 else None


def status(snapshot: Snapshot) -> str:
    """``success``, ``error``, or ``pending`` before the first load or probe has finished."""
    if http_status(snapshot) == 200:
        return "success"
    cold = snapshot.reason in {Reason.LOADING, Reason.UNPROVED}
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
    failure = _failure(snapshot)
    return reason_code(snapshot) if failure is None else failure.error_type


def message(snapshot: Snapshot) -> str:
    """One sentence for a person. People search for its beginnings, so these must stay."""
    why = reason(snapshot)
    if snapshot.not_run is not None:
        return f"Warmup could not run: {snapshot.not_run}"
    if http_status(snapshot) == 200:
        return "Warmup completed successfully" + (f"; but {why}" if why else "")
    if http_status(snapshot) == 500:
        said = (
            snapshot.failure.message if snapshot.reason is Reason.PROBE_FAILED and snapshot.failure else why
        )
        return f"Warmup failed: {said}"
    if reason_code(snapshot) == "supervisor_down":
        return f"The warmup supervisor is not running; {why or 'no new probe confirms the last success'}"
    return f"Not warm: {why}"


def reason(snapshot: Snapshot) -> str | None:  # noqa: PLR0911 - one sentence a reason
    """Why the service is not simply ready, in words; None if it is."""
    sizes = snapshot.sizes
    match snapshot.reason:
        case None:
            return None
        case Reason.DRAINING:
            return "the service is shutting down"
        case Reason.LOADING | Reason.LOAD_FAILED:
            return _why_loading(snapshot)
        case Reason.UNPROVED:
            return "the model is loaded and has not been proved yet"
        case Reason.GATE_CLOSED:
            return "requests wait for further proofs"
        case Reason.JOB_HUNG:
            return f"a job has been running for {snapshot.vitals.job_seconds:.0f} s"
        case Reason.CODEC_HUNG:
            late, all_of_them = snapshot.vitals.late_codec_jobs, snapshot.vitals.codec_threads
            return (
                f"{late} of {all_of_them} threads that decode and encode pictures have been busy for too long"
            )
        case Reason.SIZE_UNPROVED:
            return f"a request failed; a test picture with its model input of {sizes.owed[0]} is being tried"
        case Reason.SIZE_REFUSED:
            refused = ", ".join(str(size) for size in sizes.refused)
            return f"pictures with a model input of {refused} or more fail and are refused for now"
        case Reason.STALE:
            return f"the last success is {snapshot.last_success_age:.0f} s old, too old to prove anything"
        case _:
            return _why_failed(snapshot)


def _failure(snapshot: Snapshot) -> Failure | None:
    """The failure that decided, if it was one."""
    match snapshot.reason:
        case Reason.LOAD_FAILED | Reason.PROBE_FAILED | Reason.REFERENCE_FAILED | Reason.SIZE_FAILED:
            return snapshot.failure
        case _:
            return None


def _why_loading(snapshot: Snapshot) -> str:
    if snapshot.failure is None:
        progress = ": ".join(part for part in (snapshot.phase, snapshot.phase_detail) if part)
        return f"the model is loading ({progress})" if progress else "the model is loading"
    waiting = snapshot.seconds_to_next_attempt > 0
    again = f"it is tried again in {_seconds_to_news(snapshot)} s" if waiting else "it is being tried again"
    return f"the model could not be loaded: {snapshot.failure.message}; {again}"


def _why_failed(snapshot: Snapshot) -> str:
    message = "" if snapshot.failure is None else snapshot.failure.message
    if snapshot.reason is Reason.SIZE_FAILED:
        return f"pictures of the size of a photograph fail (model input {snapshot.sizes.real}): {message}"
    if snapshot.reason is Reason.REFERENCE_FAILED:
        return message
    failures = snapshot.consecutive_failures
    which = f"the last {failures} probes" if failures > 1 else "the last probe"
    return f"{which} failed: {message}"


def _seconds_to_news(snapshot: Snapshot) -> int:
    if snapshot.state is State.DRAINING:
        return DRAINING_RETRY_SECONDS
    if snapshot.outcome is None:
        return COLD_RETRY_SECONDS
    # Rounded first, so that the error of a floating-point difference does not add a whole second.
    return max(1, math.ceil(round(snapshot.seconds_to_next_attempt, 3)))
