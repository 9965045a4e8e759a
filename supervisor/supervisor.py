"""The supervisor: a coroutine that loads the engine, probes it again and again, and keeps the evidence.

The application creates one ``Supervisor``, runs it inside ``guarded`` and asks it for snapshots. Only finished probes
may make it ready, and only it tells the target that requests may be served. A restarted ``run`` must go on from the
evidence: it must not load again, and it must not send a second probe while one still runs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from metrics import Metrics
from supervisor.cadence import Cadence
from supervisor.clock import Clock, SystemClock
from supervisor.failure import Failure
from supervisor.protocol import (
    AtSize,
    Canary,
    LoadReport,
    Outcome,
    ProbeReport,
    Settle,
    Size,
    Subject,
    Target,
)
from supervisor.recorder import Recorder
from supervisor.snapshot import Snapshot
from supervisor.start_progress import StartProgress
from supervisor.state import READY_STATES, Evidence, Reason, State
from supervisor.tasks import Load, Probe, result_of, result_or_failure

HEARTBEAT_SECONDS = 5.0
"""The loop makes a turn at least this often, also while it only waits."""

CLOSE_SECONDS = 1.0
"""How long ``close`` waits for cancelled tasks. A target that ignores its cancellation must not delay the exit."""

_NOT_RUNNING = "the warmup supervisor is not running"
_STILL_RUNS = "the probe that timed out still runs"

_log = structlog.get_logger("supervisor")


class Supervisor:
    """Loads the engine, probes it, and reports what is known about it.

    Call all methods in the event loop's thread. ``run`` does the work; the other methods ask it or tell it something.

    Args:
        target: what is loaded and probed.
        interval: seconds between probes while they pass.
        timeout: seconds of running time after which a probe has failed.
        request_timeout: seconds of running time after which any job shows that its thread is stuck, and after which a
            proof at a real size has failed.
        metrics: where everything is recorded; ``ready`` and ``warmup_supervisor_up`` read from this supervisor.
        process_age: seconds since the process started, for the total of the start-up.
        clock: tells the time.
        jitter: a number in [0, 1) for each backoff.
    """

    def __init__(
        self,
        target: Target,
        *,
        interval: float,
        timeout: float,
        request_timeout: float,
        metrics: Metrics,
        process_age: Callable[[], float],
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.metrics = metrics
        self.alive = False
        """Whether ``run`` is running."""
        self._target = target
        self._process_age = process_age
        self._jitter = jitter
        self._recorder = Recorder(metrics, self.clock)
        self._evidence = Evidence.cold(Cadence(interval, timeout, request_timeout))
        self._wake = asyncio.Event()
        self._waiters: set[asyncio.Future[Snapshot]] = set()
        self._load: Load | None = None
        self._start = StartProgress()
        self._probe: Probe | None = None
        self._logged_state: State | None = None
        metrics.ready.set_function(lambda: float(self.ready))
        metrics.warmup_supervisor_up.set_function(lambda: float(self.alive))
        metrics.warmup_interval_seconds.set_function(lambda: self._evidence.effective_interval)

    # -- questions -------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the service should get requests."""
        evidence = self._evidence  # read once: the scrape's thread asks, too
        return evidence.state(self.clock.monotonic(), self._target.vitals()) in READY_STATES

    @property
    def was_ready(self) -> bool:
        """Whether requests have been served since the load."""
        return self._evidence.gate_open

    def snapshot(self) -> Snapshot:
        """The facts now, without a wait."""
        return Snapshot.of(
            self._evidence,
            now=self.clock.monotonic(),
            timestamp=self.clock.time(),
            vitals=self._target.vitals(),
            alive=self.alive,
            start=self._start,
        )

    async def demand(self) -> Snapshot:
        """Join the probe in progress or start one, and return the facts when it has finished.

        While the engine loads, this waits for the first probe. It returns at once in these cases: the load has failed
        (callers cannot hurry the next try); a probe passed so recently that the next one may not run yet; a probe that
        timed out still occupies the device thread; the supervisor does not run; the service is shutting down.
        Cancelling this call cancels neither the probe nor the calls of others.
        """
        if self._evidence.draining:
            self._recorder.skipped("draining")
            return self.snapshot()
        if self._evidence.load_failed or self._evidence.within_duty(self.clock.monotonic()):
            return self.snapshot()
        if self._probe is not None and self._probe.decided:
            return self._skip(_STILL_RUNS)
        if not self.alive:
            return self._skip(_NOT_RUNNING)
        waiter: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        self._wake.set()
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)

    # -- commands --------------------------------------------------------------------------------------------

    def request_failed(self, model_input: Size) -> None:
        """A request has failed by the device: a proof at its size may be owed, which begins at once."""
        self._update(self._evidence.after_client_failure(model_input, self.clock.monotonic()))
        self._log_state_change()
        self._wake.set()

    def resume(self) -> None:
        """The process was suspended and runs again: look at once at what is due, because evidence has aged."""
        self._wake.set()

    def drain(self) -> None:
        """Begin the shutdown: not ready, no new probe, every waiting ``demand`` returns. Idempotent.

        A probe that still waits for its turn is cancelled; one that runs may finish. Requests that wait only for
        further proofs of an engine that has passed its first one are served, because no more proofs will follow.
        """
        if self._evidence.draining:
            return
        self._evidence = self._evidence.after_drain()
        probe = self._probe
        settling = probe is not None and isinstance(probe.subject, Settle)
        evidence = self._evidence
        if evidence.proved and not evidence.gate_open and not settling and evidence.present_failure is None:
            self._open_gate(self.clock.monotonic())
        cancelled = probe is not None and not probe.decided and probe.running_since is None
        if probe is not None and cancelled:
            probe.decided = True
            probe.task.cancel()
        skipped = cancelled or (self._waiters and probe is None)
        self._answer(self.snapshot())
        if skipped:
            self._recorder.skipped("draining")
        self._log_state_change()
        self._wake.set()

    def release_waiters(self, reason: str = _NOT_RUNNING) -> None:
        """Let every waiting ``demand`` return, because no probe will run. The guard calls this when it ends."""
        if self._waiters:
            self._answer(self._skip(reason))

    async def close(self) -> None:
        """Drain, and cancel the load and the probe. Call it after the last ``run`` has ended."""
        self.drain()
        tasks = [work.task for work in (self._load, self._probe) if work is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load, then probe for ever.

        Each turn looks at the facts and starts or finishes what is due. Between turns it waits only for the next
        reason to look; loads and probes run in tasks of their own.

        Raises:
            RuntimeError: it is already running.
        """
        if self.alive:
            raise RuntimeError("the supervisor is already running")
        self.alive = True
        try:
            while True:
                self._wake.clear()
                self._turn()
                await self.clock.wait(self._wake, self._seconds_to_next_turn())
        finally:
            self.alive = False

    def _turn(self) -> None:
        self._recorder.heartbeat()
        now = self.clock.monotonic()
        if self._load is not None and self._load.task.done():
            load, self._load = self._load, None
            self._finish_load(load, now)
        if self._probe is not None:
            self._follow_probe(self._probe, now)
        self._update(self._evidence.after_time(now))
        self._open_if_proved(now)  # if an exception ended the turn that should have done it
        if not self._evidence.draining:
            self._start_what_is_due(now)
        self._log_state_change()

    def _start_what_is_due(self, now: float) -> None:
        demanded = bool(self._waiters)
        if self._evidence.loaded is None:
            if self._load is None and now >= self._evidence.due_at(demanded=demanded):
                self._start_load(now)
        elif self._probe is None and (subject := self._evidence.due(now, demanded=demanded)) is not None:
            self._start_probe(subject)

    def _seconds_to_next_turn(self) -> float:
        now = self.clock.monotonic()
        moments = [now + HEARTBEAT_SECONDS]
        if self._probe is not None:
            if self._probe.running_since is not None and not self._probe.decided:
                moments.append(
                    now + self._timeout(self._probe.subject) - self._probe.seconds_run(self.clock.running())
                )
        elif self._load is None and not self._evidence.draining:
            moments.append(self._evidence.next_due_at(demanded=bool(self._waiters)))
        return max(0.0, min(moments) - now)

    # -- load ------------------------------------------------------------------------------------------------

    def _start_load(self, now: float) -> None:
        self._start = StartProgress(began=now)
        task = asyncio.create_task(result_or_failure(self._load_target), name="warmup load")
        task.add_done_callback(self._wake_up)
        self._load = Load(task, began=now)

    async def _load_target(self) -> LoadReport:
        task = asyncio.current_task()

        def report(phase: str, detail: str) -> None:
            if self._load is not None and self._load.task is task:  # not a late report of an earlier load
                self._start = self._start.after_report(phase, detail, self.clock.monotonic())

        return await self._target.load(report)

    def _finish_load(self, load: Load, now: float) -> None:
        result = result_of(load.task)
        seconds = now - load.began
        if isinstance(result, Failure):
            self._start = self._start.after_failure()
            self._update(self._evidence.after_load_failure(result.without_error(), now, self._jitter()))
            self._answer(self.snapshot())
            self._recorder.load_failed(result, seconds=seconds, consecutive_failures=self._evidence.failures)
            return
        self._update(self._evidence.after_load(now, result, load_seconds=seconds))
        self._recorder.loaded(result.seconds_by_phase)

    # -- probe -----------------------------------------------------------------------------------------------

    def _start_probe(self, subject: Subject) -> None:
        self._recorder.probe_sent()
        task = asyncio.create_task(
            result_or_failure(lambda: self._probe_target(subject)), name="warmup probe"
        )
        task.add_done_callback(self._wake_up)
        self._probe = Probe(task, subject, began=self.clock.running())

    async def _probe_target(self, subject: Subject) -> ProbeReport:
        task = asyncio.current_task()

        def on_running(running: bool) -> None:  # noqa: FBT001 - it has one argument
            probe = self._probe
            if probe is not None and probe.task is task:
                probe.note_running(self.clock.running(), running=running)
                self._wake.set()  # the loop must now wait no longer than the probe's timeout

        return await self._target.probe(subject, on_running)

    def _follow_probe(self, probe: Probe, now: float) -> None:
        timeout = self._timeout(probe.subject)
        if probe.task.done():
            self._probe = None
            if not probe.decided:
                self._finish_probe(probe, result_of(probe.task), now)
        elif (
            not probe.decided
            and probe.running_since is not None
            and probe.seconds_run(self.clock.running()) >= timeout
        ):
            # The task is not cancelled: its thread cannot be stopped, and only the task shows when the thread ends.
            message = f"the probe still runs after {timeout:g} s"
            self._finish_probe(probe, Failure(Outcome.TIMEOUT, message, Outcome.TIMEOUT.value), now)

    def _timeout(self, subject: Subject) -> float:
        """Seconds of running time. A client's picture of a real size would not get more than a request's."""
        cadence = self._evidence.cadence
        return (
            min(cadence.timeout, cadence.request_timeout) if isinstance(subject, AtSize) else cadence.timeout
        )

    def _finish_probe(self, probe: Probe, result: ProbeReport | Failure, now: float) -> None:
        probe.decided = True
        running = self.clock.running()
        seconds = running - probe.began
        before, subject = self._evidence, probe.subject
        failure = result if isinstance(result, Failure) else None
        if isinstance(result, Failure):
            self._update(
                before.after_probe_failure(
                    subject,
                    result.without_error(),
                    now,
                    self._jitter(),
                    seconds=seconds,
                    running_seconds=probe.seconds_run(running),
                )
            )
        else:
            self._update(before.after_probe(subject, result, now, seconds=seconds))
        self._open_or_refuse(subject, failure, now)
        # Callers get their answer first, because the recorder may raise, for example if the log's disk is full.
        if isinstance(subject, Canary) or (failure is not None and isinstance(subject, Settle)):
            self._answer(self.snapshot())
        elif not probe.task.done():  # no canary can follow until its thread ends
            self.release_waiters(_STILL_RUNS)
        self._recorder.probe_finished(subject, failure, seconds=seconds, evidence=self._evidence)
        if self._evidence.was_proved and not before.was_proved:
            self._recorder.first_success(probe_seconds=seconds, process_seconds=self._process_age())

    def _open_or_refuse(self, subject: Subject, failure: Failure | None, now: float) -> None:
        """Requests begin to be served after a load, or are refused because a proof that they wait for has failed."""
        if failure is None:
            self._open_if_proved(now)
        # A failed settling refuses nobody: the canary follows at once, and decides.
        elif not isinstance(subject, Settle) and not self._evidence.gate_open:
            self._target.refuse(failure.message)

    def _open_if_proved(self, now: float) -> None:
        """The one place where the gate opens, but for a drain."""
        evidence = self._evidence
        if evidence.loaded is not None and not evidence.gate_open and evidence.everything_proved:
            self._open_gate(now)

    def _open_gate(self, now: float) -> None:
        self._target.serve()
        self._update(self._evidence.after_opening(now))

    # -- helpers ---------------------------------------------------------------------------------------------

    def _update(self, evidence: Evidence) -> None:
        """Replace the evidence. The target is told first: if that raises, the evidence stays as it was."""
        before = self._evidence
        if _limits(before) != _limits(evidence):
            self._target.limit_sizes(*_limits(evidence))
        self._evidence = evidence
        if before.sizes is not evidence.sizes:
            self._recorder.sizes(evidence.sizes)
        if before.references is not evidence.references:
            self._recorder.references(evidence.references)

    def _log_state_change(self) -> None:
        snapshot = self.snapshot()
        if snapshot.state is not self._logged_state:
            _log.info(
                "state changed",
                state=snapshot.state.value,
                before=self._logged_state,
                reason=_why(snapshot),
            )
            self._logged_state = snapshot.state

    def _skip(self, reason: str) -> Snapshot:
        self._recorder.skipped(reason)
        return replace(self.snapshot(), not_run=reason)

    def _answer(self, snapshot: Snapshot) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(snapshot)

    def _wake_up(self, _: asyncio.Task[Any]) -> None:
        self._wake.set()


def _limits(evidence: Evidence) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    """The sizes that are refused, and those that are not refused because of them."""
    refused = tuple(it.size for it in evidence.sizes.refused)
    return refused, evidence.sizes.proved if refused else ()


_WHY = {
    Reason.LOADING: "the engine is loading",
    Reason.UNPROVED: "no probe has passed since the load",
    Reason.GATE_CLOSED: "a probe has passed, and requests wait for further proofs",
    Reason.JOB_HUNG: "a job has been running for too long",
    Reason.CODEC_HUNG: "decoding or encoding a picture has been running for too long",
    Reason.SIZE_UNPROVED: "a request failed, and the proof at its size has not ended",
    Reason.STALE: "the last success is too old",
}


def _why(snapshot: Snapshot) -> str | None:
    """Why the state is what it is, for the log; None if all is well or the service is ending."""
    if snapshot.reason is None or snapshot.reason is Reason.DRAINING:
        return None
    if snapshot.reason is Reason.SIZE_REFUSED:
        sizes = ", ".join(str(size) for size in snapshot.sizes.refused)
        return f"pictures with a model input of {sizes} or more are refused"
    if snapshot.reason in _WHY:
        return _WHY[snapshot.reason]
    return None if snapshot.failure is None else snapshot.failure.message
