"""The metrics and log lines of every load and every probe.

``Supervisor`` calls the ``Recorder``; the ``Recorder`` decides nothing. Searches and alerts rely on the messages
``Warmup completed successfully`` and ``Warmup failed``, so these must stay.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from metrics import Metrics
from supervisor.clock import Clock
from supervisor.failure import Failure
from supervisor.protocol import AtSize, Canary, Outcome, Reference, Settle, Subject
from supervisor.references import ReferenceEvidence
from supervisor.sizes import SizeEvidence
from supervisor.snapshot import ReferenceFacts
from supervisor.state import Evidence

LOAD_PHASES = ("import", "weights", "device")

_log = structlog.get_logger("supervisor")


class Recorder:
    """Writes metrics and log lines; decides nothing."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def heartbeat(self) -> None:
        """The supervisor's loop has made another turn."""
        self._metrics.warmup_supervisor_heartbeat_timestamp_seconds.set(self._clock.time())

    def probe_sent(self) -> None:
        """A probe begins."""
        self._metrics.warmup_last_attempt_timestamp_seconds.set(self._clock.time())

    def loaded(self, seconds_by_phase: Mapping[str, float]) -> None:
        """The engine is loaded. The count of failures starts again at 0."""
        for phase in LOAD_PHASES:
            self._metrics.startup_duration_seconds.labels(phase=phase).set(seconds_by_phase.get(phase, 0.0))
        self._metrics.warmup_consecutive_failures.set(0)

    def first_success(self, *, probe_seconds: float, process_seconds: float) -> None:
        """The first probe since the load has passed."""
        self._metrics.startup_duration_seconds.labels(phase="first_probe").set(probe_seconds)
        self._metrics.startup_duration_seconds.labels(phase="total").set(process_seconds)

    def probe_finished(
        self, subject: Subject, failure: Failure | None, *, seconds: float, evidence: Evidence
    ) -> None:
        """A probe has passed or failed.

        Args:
            subject: what it was to prove.
            failure: None if it passed.
            seconds: how long it took, with the wait for its turn.
            evidence: with this one.
        """
        metrics = self._metrics
        failures = evidence.consecutive_failures
        if isinstance(subject, Settle) and failure is None:
            return  # the probe that follows tells
        if isinstance(subject, Canary):
            metrics.warmup_duration_seconds.observe(seconds)
            metrics.warmup_last_duration_seconds.set(seconds)
            if failure is None:
                metrics.warmup_last_success_timestamp_seconds.set(self._clock.time())
        if failure is None and _covers_real_size(subject, evidence):
            metrics.warmup_real_size_last_success_timestamp_seconds.set(self._clock.time())
            metrics.warmup_real_size_last_duration_seconds.set(seconds)
        self._count(failure, failures, passes=evidence.present_failure is None)
        if failure is not None:
            _log_failure(failure, failures, during=_during(subject), seconds=seconds)
            return
        _log.info(
            "Warmup completed successfully",
            during=_during(subject),
            outcome=Outcome.SUCCESS.value,
            duration=round(seconds, 3),
        )

    def sizes(self, sizes: SizeEvidence) -> None:
        """What is known about real sizes has changed."""
        self._metrics.warmup_sizes.labels(state="owed").set(len(sizes.owed))
        self._metrics.warmup_sizes.labels(state="refused").set(len(sizes.refused))
        self._metrics.warmup_sizes.labels(state="failed").set(sizes.real_failed is not None)

    def references(self, references: ReferenceEvidence) -> None:
        """What is known about the references has changed."""
        facts = ReferenceFacts.of(references)
        for state, count in (("pass", facts.passed), ("fail", facts.failed), ("pending", facts.pending)):
            self._metrics.warmup_references.labels(state=state).set(count)
        worst = facts.worst
        self._metrics.warmup_reference_worst_error_ratio.set(0.0 if worst is None else worst[1].error)

    def load_failed(self, failure: Failure, *, seconds: float, consecutive_failures: int) -> None:
        """A load has failed. It counts as a failed warmup."""
        self._count(failure, consecutive_failures, passes=False)
        _log_failure(failure, consecutive_failures, during="load", seconds=seconds)

    def skipped(self, reason: str) -> None:
        """A probe could not run."""
        self._metrics.warmup_runs_total.labels(outcome=Outcome.SKIPPED.value).inc()
        _log.info("Warmup skipped", outcome=Outcome.SKIPPED.value, reason=reason)

    def _count(self, failure: Failure | None, consecutive_failures: int, *, passes: bool) -> None:
        outcome = Outcome.SUCCESS if failure is None else failure.outcome
        self._metrics.warmup_runs_total.labels(outcome=outcome.value).inc()
        self._metrics.warmup_success.set(passes)
        self._metrics.warmup_consecutive_failures.set(consecutive_failures)


def _covers_real_size(subject: Subject, evidence: Evidence) -> bool:
    match subject:
        case AtSize(size):
            return size.covers(evidence.sizes.real)
        case Canary():
            return evidence.loaded is not None and evidence.loaded.canary.covers(evidence.sizes.real)
        case _:
            return False


def _during(subject: Subject) -> str:
    match subject:
        case Canary():
            return "probe"
        case Settle():
            return "settling the precision"
        case AtSize(size):
            return f"proof at {size}"
        case Reference(name):
            return f"reference {name}"


def _log_failure(failure: Failure, consecutive_failures: int, *, during: str, seconds: float) -> None:
    _log.error(
        "Warmup failed",
        during=during,
        outcome=failure.outcome.value,
        error=failure.message,
        error_type=failure.error_type,
        consecutive_failures=consecutive_failures,
        duration=round(seconds, 3),
        exc_info=failure.error,
    )
