"""What the supervisor says of itself: the facts of ``/warmup``, and the words for a person."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from supervisor.protocol import LoadError, Outcome, ProbeError
from supervisor.state import READY_STATES, Evidence, State

_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """How and why a load or a probe failed."""

    outcome: Outcome
    message: str
    """One line."""
    error_type: str
    """The class of the exception at the root, or the outcome where there is none."""
    error: BaseException | None = None
    """What was raised, if it was not one of the failures that a target is expected to tell."""

    def without_error(self) -> Failure:
        """To be kept: a traceback would keep whole frames alive, with their pictures and device memory."""
        return replace(self, error=None)

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Read an exception, whatever it is."""
        if isinstance(error, ProbeError | LoadError):
            cause = error.__cause__
            kind = error.outcome.value if cause is None else type(cause).__name__
            return cls(error.outcome, _one_line(error.message), kind)
        outcome = Outcome.OOM if isinstance(error, MemoryError) else Outcome.ERROR
        kind = type(error).__name__
        text = _one_line(str(error))
        return cls(outcome, f"{kind}: {text}" if text else kind, kind, error)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything an answer of ``/warmup`` needs; durations in seconds, sizes as (width, height) in pixels."""

    http_status: int
    """200, 500 or 503."""
    retry_after: int | None
    """Whole seconds, with 503."""
    status: str
    """``success``, ``error`` or ``pending``."""
    message: str
    model_ready: bool
    """What ``/readyz`` says."""
    state: State
    outcome: Outcome | None
    """Of the last finished run; ``skipped`` if it could not run; None if none has finished."""
    error_type: str | None
    phase: str | None
    """What is being done, while loading."""
    reason: str | None
    """Why the state is not ``ready``; None if it is."""
    load_time: float | None
    """What the load took."""
    process_time: float | None
    """What the last finished probe took."""
    total_time: float | None
    """Both together."""
    image_size: tuple[int, int] | None
    model_input_size: tuple[int, int] | None
    consecutive_failures: int
    last_success_age_seconds: float | None
    interval_seconds: float
    """The effective interval."""
    timestamp: float
    """Unix time at which this was said."""

    def as_dict(self) -> dict[str, Any]:
        """The body of the answer, ready for JSON; the HTTP status and ``Retry-After`` travel beside it."""
        body = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        del body["http_status"], body["retry_after"]
        return body


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot is made of."""

    evidence: Evidence
    now: float
    wall: float
    job_seconds: float
    alive: bool
    phase: str | None = None
    detail: str = ""
    failure: Failure | None = None
    """Of the last finished run, if it failed."""
    invalidation: Failure | None = None
    """Why what was proved no longer counts."""
    load_time: float | None = None
    process_time: float | None = None
    image_size: tuple[int, int] | None = None
    model_input_size: tuple[int, int] | None = None


def snapshot(facts: Facts) -> Snapshot:
    """What can be said now."""
    evidence, now = facts.evidence, facts.now
    state = evidence.state(now, facts.job_seconds)
    http_status = evidence.status_code(now, alive=facts.alive)
    reason = _reason(facts, state)
    cold = state in {State.LOADING, State.WARMING} and evidence.outcome is None
    status = {200: "success", 500: "error"}.get(http_status, "pending" if cold else "error")
    return Snapshot(
        http_status=http_status,
        retry_after=evidence.retry_after(now) if http_status == 503 else None,
        status=status,
        message=_message(facts, state, http_status, reason),
        model_ready=state in READY_STATES,
        state=state,
        outcome=Outcome.SKIPPED if evidence.draining else evidence.outcome,
        error_type=_error_type(facts) if status == "error" else None,
        phase=facts.phase if state is State.LOADING else None,
        reason=reason,
        load_time=facts.load_time,
        process_time=facts.process_time,
        total_time=None
        if facts.load_time is None or facts.process_time is None
        else facts.load_time + facts.process_time,
        image_size=facts.image_size,
        model_input_size=facts.model_input_size,
        consecutive_failures=evidence.failures,
        last_success_age_seconds=evidence.success_age(now),
        interval_seconds=evidence.effective_interval,
        timestamp=facts.wall,
    )


def _message(facts: Facts, state: State, http_status: int, reason: str | None) -> str:
    if http_status == 200:
        return "Warmup completed successfully" + (f"; but {reason}" if reason else "")
    if http_status == 500:
        return f"Warmup failed: {_failure_message(facts)}"
    if not facts.alive and facts.evidence.was_ready and state is not State.DRAINING:
        return f"The warmup supervisor is not running; {reason or 'its last evidence is not repeated'}"
    return f"Not warm: {reason}" if reason else "Not warm"


def _reason(facts: Facts, state: State) -> str | None:
    match state:
        case State.READY:
            return None
        case State.DRAINING:
            return "the service is shutting down"
        case State.LOADING:
            return _loading_reason(facts)
        case _:
            return _doubt(facts)


def _loading_reason(facts: Facts) -> str:
    doing = ": ".join(part for part in (facts.phase, facts.detail) if part)
    if not facts.evidence.load_failed:
        return f"the model is loading ({doing})" if doing else "the model is loading"
    waiting = facts.evidence.next_at > facts.now
    seconds = facts.evidence.retry_after(facts.now)
    again = f"it is tried again in {seconds} s" if waiting else "it is being tried again"
    return f"the model could not be loaded: {_failure_message(facts)}; {again}"


def _doubt(facts: Facts) -> str:
    evidence = facts.evidence
    if evidence.failures:
        many = f"the last {evidence.failures} probes" if evidence.failures > 1 else "the last probe"
        return f"{many} failed: {_failure_message(facts)}"
    if not evidence.was_ready:
        return "the model is loaded and has not been proved yet"
    if facts.invalidation is not None and evidence.invalid_since is not None:
        return f"what was proved no longer counts: {facts.invalidation.message}"
    if not evidence.fresh(facts.now):
        return f"the last success is {evidence.success_age(facts.now):.0f} s old, too old to prove anything"
    return f"a job has been running for {facts.job_seconds:.0f} s"


def _error_type(facts: Facts) -> str:
    if facts.evidence.draining:
        return "draining"
    if facts.failure is not None:
        return facts.failure.error_type
    if facts.evidence.invalid_since is not None and facts.invalidation is not None:
        return facts.invalidation.error_type
    return "stale" if facts.alive else "supervisor_down"


def _failure_message(facts: Facts) -> str:
    return facts.failure.message if facts.failure is not None else "the reason is in the log"


def _one_line(text: str) -> str:
    """The first line, kept short: whole library messages and tracebacks belong in the log."""
    line = text.strip().splitlines()[0].rstrip() if text.strip() else ""
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "..."


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, State | Outcome):
        return value.value
    return value
