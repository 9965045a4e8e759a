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
from supervisor.protocol import Outcome

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

    def probe_finished(self, failure: Failure | None, *, seconds: float, consecutive_failures: int) -> None:
        """A probe has passed or failed.

        Args:
            failure: None if it passed.
            seconds: how long it took, with the wait for its turn.
            consecutive_failures: with this one.
        """
        self._metrics.warmup_duration_seconds.observe(seconds)
        self._metrics.warmup_last_duration_seconds.set(seconds)
        self._count(failure, consecutive_failures)
        if failure is not None:
            _log_failure(failure, consecutive_failures, during="probe", seconds=seconds)
            return
        self._metrics.warmup_last_success_timestamp_seconds.set(self._clock.time())
        _log.info("Warmup completed successfully", outcome=Outcome.SUCCESS.value, duration=round(seconds, 3))

    def load_failed(self, failure: Failure, *, seconds: float, consecutive_failures: int) -> None:
        """A load has failed. It counts as a failed warmup."""
        self._count(failure, consecutive_failures)
        _log_failure(failure, consecutive_failures, during="load", seconds=seconds)

    def skipped(self, reason: str) -> None:
        """A probe could not run."""
        self._metrics.warmup_runs_total.labels(outcome=Outcome.SKIPPED.value).inc()
        _log.info("Warmup skipped", outcome=Outcome.SKIPPED.value, reason=reason)

    def _count(self, failure: Failure | None, consecutive_failures: int) -> None:
        outcome = Outcome.SUCCESS if failure is None else failure.outcome
        self._metrics.warmup_runs_total.labels(outcome=outcome.value).inc()
        self._metrics.warmup_success.set(failure is None)
        self._metrics.warmup_consecutive_failures.set(consecutive_failures)


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
