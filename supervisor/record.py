"""What every run leaves behind: metrics, and one line in the log."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from metrics import Metrics
from supervisor.clock import Clock
from supervisor.protocol import Outcome
from supervisor.snapshot import Failure
from supervisor.state import Evidence

LOAD_PHASES = ("import", "weights", "device")

_log = structlog.get_logger("supervisor")


class Recorder:
    """Writes down what happened; decides nothing."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def beat(self) -> None:
        """The loop turns."""
        self._metrics.warmup_supervisor_heartbeat_timestamp_seconds.set(self._clock.time())

    def attempt(self) -> None:
        """A run begins."""
        self._metrics.warmup_last_attempt_timestamp_seconds.set(self._clock.time())

    def loaded(self, seconds_by_phase: Mapping[str, float]) -> None:
        """The engine is loaded; nothing is proved of it yet, whatever was of an earlier one."""
        for phase in LOAD_PHASES:
            self._metrics.startup_duration_seconds.labels(phase=phase).set(seconds_by_phase.get(phase, 0.0))
        self._metrics.warmup_consecutive_failures.set(0)

    def first_success(self, *, probe_seconds: float, process_seconds: float) -> None:
        """The first probe since the load has passed."""
        self._metrics.startup_duration_seconds.labels(phase="first_probe").set(probe_seconds)
        self._metrics.startup_duration_seconds.labels(phase="total").set(process_seconds)

    def probed(self, evidence: Evidence, seconds: float, failure: Failure | None) -> None:
        """A probe has finished.

        Args:
            evidence: with this probe in it.
            seconds: what it took, the wait for its turn included.
            failure: None if it passed.
        """
        self._metrics.warmup_duration_seconds.observe(seconds)
        self._metrics.warmup_last_duration_seconds.set(seconds)
        self._finished(evidence, failure)
        if failure is None:
            self._metrics.warmup_last_success_timestamp_seconds.set(self._clock.time())
            _log.info(
                "Warmup completed successfully", outcome=Outcome.SUCCESS.value, duration=round(seconds, 3)
            )
        else:
            _log_failure(evidence, failure, during="probe", duration=round(seconds, 3))

    def load_failed(self, evidence: Evidence, seconds: float, failure: Failure) -> None:
        """A load has failed: a warmup that did not even come to its probe."""
        self._finished(evidence, failure)
        _log_failure(evidence, failure, during="load", duration=round(seconds, 3))

    def skipped(self, reason: str) -> None:
        """A probe could not run."""
        self._metrics.warmup_runs_total.labels(outcome=Outcome.SKIPPED.value).inc()
        _log.info("Warmup skipped", outcome=Outcome.SKIPPED.value, reason=reason)

    def _finished(self, evidence: Evidence, failure: Failure | None) -> None:
        outcome = Outcome.SUCCESS if failure is None else failure.outcome
        self._metrics.warmup_runs_total.labels(outcome=outcome.value).inc()
        self._metrics.warmup_success.set(failure is None)
        self._metrics.warmup_consecutive_failures.set(evidence.failures)


def _log_failure(evidence: Evidence, failure: Failure, *, during: str, duration: float) -> None:
    _log.error(
        "Warmup failed",
        during=during,
        outcome=failure.outcome.value,
        error=failure.message,
        error_type=failure.error_type,
        consecutive_failures=evidence.failures,
        duration=duration,
        exc_info=failure.error,
    )
