"""The supervisor: loads the engine, probes it for ever, and owns what is known of its warmth."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from metrics import Metrics
from supervisor.clock import Clock, SystemClock
from supervisor.protocol import Outcome, ProbeReport, Target
from supervisor.record import Recorder
from supervisor.snapshot import Facts, Failure, Snapshot, snapshot
from supervisor.state import READY_STATES, Cadence, Evidence, State
from supervisor.work import Load, Probe, result_of, settled

HEARTBEAT_SECONDS = 5.0
"""The loop turns at least this often, also while it only waits."""

CLOSE_SECONDS = 1.0
"""How long ``close`` waits for tasks that it cancelled: a target that ignores that must not hold up the exit."""

_NOT_RUNNING = "the warmup supervisor is not running"

_log = structlog.get_logger("supervisor")


class Supervisor:
    """Keeps the engine loaded and proved, and says so; ``run`` is its life, the rest asks and tells.

    All methods belong to the event loop's thread. The evidence outlives a crashed ``run``: a new one goes on from
    there, and neither loads again nor sends a probe beside one that is still under way.

    Args:
        target: what is loaded and probed.
        interval: seconds between probes when healthy.
        timeout: seconds of running time after which a probe has failed.
        request_timeout: seconds of running time after which any job shows that the worker is not well.
        metrics: where everything is recorded; ``ready`` and ``warmup_supervisor_up`` are bound to this supervisor.
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
        self._probe: Probe | None = None
        self._phase: tuple[str, str] | None = None
        self._failure: Failure | None = None
        self._invalidation: Failure | None = None
        self._report: ProbeReport | None = None
        self._load_seconds: float | None = None
        self._probe_seconds: float | None = None
        self._noted_state: State | None = None
        metrics.ready.set_function(lambda: float(self.ready))
        metrics.warmup_supervisor_up.set_function(lambda: float(self.alive))
        metrics.warmup_interval_seconds.set_function(lambda: self._evidence.effective_interval)

    # -- asked -----------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """What ``/readyz`` says."""
        return self._state() in READY_STATES

    @property
    def was_ready(self) -> bool:
        """Whether a probe has passed since the load."""
        return self._evidence.was_ready

    def snapshot(self) -> Snapshot:
        """The last evidence, at once: what ``GET /warmup`` says."""
        phase, detail = self._phase or (None, "")
        report = self._report
        return snapshot(
            Facts(
                evidence=self._evidence,
                now=self.clock.monotonic(),
                wall=self.clock.time(),
                job_seconds=self._target.job_seconds(),
                alive=self.alive,
                phase=phase,
                detail=detail,
                failure=self._failure,
                invalidation=self._invalidation,
                load_time=self._load_seconds,
                process_time=self._probe_seconds,
                image_size=report.image_size if report else None,
                model_input_size=report.model_input_size if report else None,
            )
        )

    async def demand(self) -> Snapshot:
        """Join the probe under way or start one, and wait for it: what ``POST /warmup`` says.

        While the engine loads, waits for the first probe. Answers at once if the load has failed (it is tried again
        on its own schedule, which callers cannot hurry), if a probe passed so lately that the next may not run yet,
        if one that timed out still holds the worker, if the supervisor itself is dead, or if the end has begun.
        Cancelling a caller cancels nothing but its wait.
        """
        if self._evidence.draining:
            self._recorder.skipped("draining")
            return self.snapshot()
        if self._evidence.load_failed or self._evidence.within_duty(self.clock.monotonic()):
            return self.snapshot()
        if self._probe is not None and self._probe.counted:
            self._recorder.skipped("the probe that timed out still runs")
            return self._could_not_run("the probe that timed out still runs")
        if not self.alive:
            self._recorder.skipped(_NOT_RUNNING)
            return self._could_not_run(_NOT_RUNNING)
        waiter: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        self._wake.set()
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)

    # -- told ------------------------------------------------------------------------------------------------

    def invalidate(self, outcome: Outcome, message: str) -> None:
        """What was proved no longer counts (the device died): not ready from now until a new probe passes."""
        self._invalidation = Failure(outcome, message, outcome.value)
        self._evidence = self._evidence.after_invalidation(self.clock.monotonic())
        self._note_state()
        self._wake.set()

    def drain(self) -> None:
        """The end begins: not ready, no new probe, everybody who waits is answered. Idempotent.

        A probe that still waits for its turn is withdrawn; one that runs may finish.
        """
        if self._evidence.draining:
            return
        self._evidence = self._evidence.after_drain()
        probe = self._probe
        withdrawn = probe is not None and not probe.counted and probe.started_at is None
        if probe is not None and withdrawn:
            probe.counted = True
            probe.task.cancel()
        skipped = withdrawn or (self._waiters and probe is None)
        self._answer(self.snapshot())
        if skipped:
            self._recorder.skipped("draining")
        self._note_state()
        self._wake.set()

    def dismiss(self) -> None:
        """Answer everybody who waits that nothing could run; for the guard, when no next life will come."""
        if self._waiters:
            self._recorder.skipped(_NOT_RUNNING)
            self._answer(self._could_not_run(_NOT_RUNNING))

    async def close(self) -> None:
        """Drain, and cancel what is under way; for the owner, after the last ``run`` has ended."""
        self.drain()
        tasks = [work.task for work in (self._load, self._probe) if work is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """One life: load, then probe, for ever.

        Every turn looks at what is so and does what follows; nothing is awaited but the next reason to look.

        Raises:
            RuntimeError: it is alive already.
        """
        if self.alive:
            raise RuntimeError("the supervisor is alive already")
        self.alive = True
        try:
            while True:
                self._wake.clear()
                self._turn()
                await self.clock.wait(self._wake, self._seconds_to_next_turn())
        finally:
            self.alive = False

    def _turn(self) -> None:
        self._recorder.beat()
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
        self._note_state()

    def _seconds_to_next_turn(self) -> float:
        now = self.clock.monotonic()
        moments = [now + HEARTBEAT_SECONDS]
        if self._probe is not None:
            if self._probe.started_at is not None and not self._probe.counted:
                moments.append(self._probe.started_at + self._evidence.cadence.timeout)
        elif self._load is None and not self._evidence.draining:
            moments.append(self._evidence.due_at(demanded=bool(self._waiters)))
        return max(0.0, min(moments) - now)

    # -- load ------------------------------------------------------------------------------------------------

    def _start_load(self, now: float) -> None:
        self._phase = None
        task = asyncio.create_task(settled(self._load_target), name="warmup load")
        task.add_done_callback(self._wake_up)
        self._load = Load(task, began=now)

    async def _load_target(self) -> Mapping[str, float]:
        task = asyncio.current_task()

        def report(phase: str, detail: str) -> None:
            if self._load is not None and self._load.task is task:  # not a late word of an earlier attempt
                self._phase = (phase, detail)

        return await self._target.load(report)

    def _finish_load(self, load: Load, now: float) -> None:
        result = result_of(load.task)
        seconds = now - load.began
        if isinstance(result, Failure):
            self._evidence = self._evidence.after_failed_load(result.outcome, now, self._jitter())
            self._failure = result.without_error()
            self._answer(self.snapshot())
            self._recorder.load_failed(self._evidence, seconds, result)
            return
        self._evidence = self._evidence.after_load(now)
        self._phase = self._failure = self._invalidation = None
        self._load_seconds = seconds
        self._recorder.loaded(result)

    # -- probe -----------------------------------------------------------------------------------------------

    def _start_probe(self, now: float) -> None:
        self._recorder.attempt()
        task = asyncio.create_task(settled(self._probe_target), name="warmup probe")
        task.add_done_callback(self._wake_up)
        self._probe = Probe(task, began=now)

    async def _probe_target(self) -> ProbeReport:
        task = asyncio.current_task()

        def started() -> None:
            probe = self._probe
            if probe is not None and probe.task is task and probe.started_at is None:
                probe.started_at = self.clock.monotonic()
                self._wake.set()  # its time begins to run out

        return await self._target.probe(started)

    def _follow_probe(self, probe: Probe, now: float) -> None:
        timeout = self._evidence.cadence.timeout
        if probe.task.done():
            self._probe = None
            if not probe.counted:
                self._finish_probe(probe, result_of(probe.task), now)
        elif not probe.counted and probe.started_at is not None and now - probe.started_at >= timeout:
            # Its thread cannot be stopped, so the task is left to see it end.
            message = f"the probe still runs after {timeout:g} s"
            self._finish_probe(probe, Failure(Outcome.TIMEOUT, message, Outcome.TIMEOUT.value), now)

    def _finish_probe(self, probe: Probe, result: ProbeReport | Failure, now: float) -> None:
        probe.counted = True
        seconds = now - probe.began
        if isinstance(result, Failure) and result.outcome is Outcome.SKIPPED:
            self._evidence = self._evidence.after_skip(now, self._jitter())
            self._answer(self._could_not_run(result.message))
            self._recorder.skipped(result.message)
            return
        first = False
        if isinstance(result, Failure):
            self._evidence = self._evidence.after_failure(result.outcome, now, self._jitter())
            self._failure = result.without_error()
        else:
            first = not self._evidence.was_ready
            self._evidence = self._evidence.after_success(
                now, began=probe.began, running_seconds=result.running_seconds, again=result.again
            )
            self._failure = None
            self._report = result
        self._probe_seconds = seconds
        self._answer(self.snapshot())
        self._recorder.probed(self._evidence, seconds, result if isinstance(result, Failure) else None)
        if first:
            self._recorder.first_success(probe_seconds=seconds, process_seconds=self._process_age())

    # -- helpers ---------------------------------------------------------------------------------------------

    def _state(self) -> State:
        return self._evidence.state(self.clock.monotonic(), self._target.job_seconds())

    def _note_state(self) -> None:
        state = self._state()
        if state is not self._noted_state:
            _log.info(
                "state changed", state=state.value, before=self._noted_state, reason=self.snapshot().reason
            )
            self._noted_state = state

    def _could_not_run(self, reason: str) -> Snapshot:
        seen = self.snapshot()
        return replace(
            seen,
            http_status=503,
            retry_after=self._evidence.retry_after(self.clock.monotonic()),
            status="error",
            message=f"Warmup could not run: {reason}",
            outcome=Outcome.SKIPPED,
            error_type=Outcome.SKIPPED.value,
        )

    def _answer(self, said: Snapshot) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(said)

    def _wake_up(self, _: asyncio.Task[Any]) -> None:
        self._wake.set()
