"""The supervisor: a coroutine that loads the engine, probes it again and again, and keeps the evidence.

The application creates one ``Supervisor``, runs it inside ``guarded`` and asks it for snapshots. Only a finished
probe may make it ready. A restarted ``run`` must go on from the evidence: it must not load again, and it must not send
a second probe while one still runs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from metrics import Metrics
from supervisor.clock import Clock, SystemClock
from supervisor.failure import Failure
from supervisor.protocol import Outcome, ProbeReport, Target
from supervisor.recorder import Recorder
from supervisor.snapshot import Snapshot
from supervisor.state import READY_STATES, Cadence, Evidence, State
from supervisor.tasks import Load, Probe, result_of, result_or_failure

HEARTBEAT_SECONDS = 5.0
"""The loop makes a turn at least this often, also while it only waits."""

CLOSE_SECONDS = 1.0
"""How long ``close`` waits for cancelled tasks. A target that ignores its cancellation must not delay the exit."""

_NOT_RUNNING = "the warmup supervisor is not running"

_log = structlog.get_logger("supervisor")


class Supervisor:
    """Loads the engine, probes it, and reports what is known about it.

    Call all methods in the event loop's thread. ``run`` does the work; the other methods ask it or tell it something.

    Args:
        target: what is loaded and probed.
        interval: seconds between probes while they pass.
        timeout: seconds of running time after which a probe has failed.
        request_timeout: seconds of running time after which any job shows that the device thread is stuck.
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
        self._evidence = Evidence(Cadence(interval, timeout, request_timeout))
        self._wake = asyncio.Event()
        self._waiters: set[asyncio.Future[Snapshot]] = set()
        self._load: Load | None = None
        self._load_phase: tuple[str | None, str] = (None, "")
        self._probe: Probe | None = None
        self._logged_state: State | None = None
        metrics.ready.set_function(lambda: float(self.ready))
        metrics.warmup_supervisor_up.set_function(lambda: float(self.alive))
        metrics.warmup_interval_seconds.set_function(lambda: self._evidence.effective_interval)

    # -- questions -------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the service should get requests."""
        state = self._evidence.state(self.clock.monotonic(), self._target.job_seconds())
        return state in READY_STATES

    @property
    def was_ready(self) -> bool:
        """Whether a probe has passed since the load."""
        return self._evidence.was_ready

    def snapshot(self) -> Snapshot:
        """The facts now, without a wait."""
        phase, phase_detail = self._load_phase
        return Snapshot.of(
            self._evidence,
            now=self.clock.monotonic(),
            timestamp=self.clock.time(),
            job_seconds=self._target.job_seconds(),
            alive=self.alive,
            phase=phase,
            phase_detail=phase_detail,
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
            return self._skip("the probe that timed out still runs")
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

    def drain(self) -> None:
        """Begin the shutdown: not ready, no new probe, every waiting ``demand`` returns. Idempotent.

        A probe that still waits for its turn is cancelled; one that runs may finish.
        """
        if self._evidence.draining:
            return
        self._evidence = self._evidence.after_drain()
        probe = self._probe
        cancelled = probe is not None and not probe.decided and probe.started_at is None
        if probe is not None and cancelled:
            probe.decided = True
            probe.task.cancel()
        skipped = cancelled or (self._waiters and probe is None)
        self._answer(self.snapshot())
        if skipped:
            self._recorder.skipped("draining")
        self._log_state_change()
        self._wake.set()

    def release_waiters(self) -> None:
        """Let every waiting ``demand`` return, because no probe will run. The guard calls this when it ends."""
        if self._waiters:
            self._answer(self._skip(_NOT_RUNNING))

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
        if not self._evidence.draining and now >= self._evidence.due_at(demanded=bool(self._waiters)):
            if not self._evidence.loaded and self._load is None:
                self._start_load(now)
            elif self._evidence.loaded and self._probe is None:
                self._start_probe(now)
        self._log_state_change()

    def _seconds_to_next_turn(self) -> float:
        now = self.clock.monotonic()
        moments = [now + HEARTBEAT_SECONDS]
        if self._probe is not None:
            if self._probe.started_at is not None and not self._probe.decided:
                moments.append(self._probe.started_at + self._evidence.cadence.timeout)
        elif self._load is None and not self._evidence.draining:
            moments.append(self._evidence.due_at(demanded=bool(self._waiters)))
        return max(0.0, min(moments) - now)

    # -- load ------------------------------------------------------------------------------------------------

    def _start_load(self, now: float) -> None:
        self._load_phase = (None, "")
        task = asyncio.create_task(result_or_failure(self._load_target), name="warmup load")
        task.add_done_callback(self._wake_up)
        self._load = Load(task, began=now)

    async def _load_target(self) -> Mapping[str, float]:
        task = asyncio.current_task()

        def report(phase: str, detail: str) -> None:
            if self._load is not None and self._load.task is task:  # not a late report of an earlier load
                self._load_phase = (phase, detail)

        return await self._target.load(report)

    def _finish_load(self, load: Load, now: float) -> None:
        result = result_of(load.task)
        seconds = now - load.began
        if isinstance(result, Failure):
            self._evidence = self._evidence.after_failure(result.without_error(), now, self._jitter())
            self._answer(self.snapshot())
            self._recorder.load_failed(result, seconds=seconds, consecutive_failures=self._evidence.failures)
            return
        self._evidence = self._evidence.after_load(now, load_seconds=seconds)
        self._recorder.loaded(result)

    # -- probe -----------------------------------------------------------------------------------------------

    def _start_probe(self, now: float) -> None:
        self._recorder.probe_sent()
        task = asyncio.create_task(result_or_failure(self._probe_target), name="warmup probe")
        task.add_done_callback(self._wake_up)
        self._probe = Probe(task, began=now)

    async def _probe_target(self) -> ProbeReport:
        task = asyncio.current_task()

        def on_start() -> None:
            probe = self._probe
            if probe is not None and probe.task is task and probe.started_at is None:
                probe.started_at = self.clock.monotonic()
                self._wake.set()  # the loop must now wait no longer than the probe's timeout

        return await self._target.probe(on_start)

    def _follow_probe(self, probe: Probe, now: float) -> None:
        timeout = self._evidence.cadence.timeout
        if probe.task.done():
            self._probe = None
            if not probe.decided:
                self._finish_probe(probe, result_of(probe.task), now)
        elif not probe.decided and probe.started_at is not None and now - probe.started_at >= timeout:
            # The task is not cancelled: its thread cannot be stopped, and only the task shows when the thread ends.
            message = f"the probe still runs after {timeout:g} s"
            self._finish_probe(probe, Failure(Outcome.TIMEOUT, message, Outcome.TIMEOUT.value), now)

    def _finish_probe(self, probe: Probe, result: ProbeReport | Failure, now: float) -> None:
        probe.decided = True
        seconds = now - probe.began
        before = self._evidence
        if isinstance(result, Failure):
            failure = result
            self._evidence = before.after_failure(
                failure.without_error(), now, self._jitter(), probe_seconds=seconds
            )
        else:
            failure = None
            self._evidence = before.after_success(
                now, running_seconds=result.running_seconds, probe_seconds=seconds, again=result.again
            )
        # Callers get their answer first, because the recorder may raise, for example if the log's disk is full.
        self._answer(self.snapshot())
        self._recorder.probe_finished(failure, seconds=seconds, consecutive_failures=self._evidence.failures)
        if self._evidence.was_ready and not before.was_ready:
            self._recorder.first_success(probe_seconds=seconds, process_seconds=self._process_age())

    # -- helpers ---------------------------------------------------------------------------------------------

    def _log_state_change(self) -> None:
        snapshot = self.snapshot()
        if snapshot.state is not self._logged_state:
            _log.info(
                "state changed",
                state=snapshot.state.value,
                before=self._logged_state,
                reason=_reason(snapshot),
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


def _reason(snapshot: Snapshot) -> str | None:
    """Why the state is what it is; None if all is well or the service is ending."""
    if snapshot.state is State.DRAINING:
        return None
    if snapshot.failure is not None:
        return snapshot.failure.message
    match snapshot.state:
        case State.LOADING:
            return "the engine is loading"
        case State.WARMING:
            return "no probe has passed since the load"
        case State.FAILING:
            return "a job has been running for too long" if snapshot.fresh else "the last success is too old"
        case _:
            return None
