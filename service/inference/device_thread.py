"""The device thread: it runs one job at a time and decides which job is next.

``Place`` sends requests and probes to it, ``warmup.target`` sends loads. Only this thread may use the model and its
device. Requests get their turns in order of arrival, and only while the gate is open. A probe comes next after the
running job. A load runs whether the gate is open or not. ``admission`` decides which requests are accepted.

Everything but the jobs themselves runs in the event loop's thread, so there are no locks; see ``jobs``. Another thread
may read the properties at any moment, as the scrape of the metrics does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, TypeVar

from service.host.running_time import running_seconds
from service.inference.jobs import Job, Kind, OnEnd, run_jobs

T = TypeVar("T")


class DeviceThread:
    """The one thread that computes on the device, and the queue in front of it.

    Args:
        hang_timeout: seconds that a probe or a request may run before the thread counts as stuck.
        load_timeout: the same for a load.
        clock: seconds in which the process could run.
    """

    def __init__(
        self, *, hang_timeout: float, load_timeout: float, clock: Callable[[], float] = running_seconds
    ) -> None:
        self.gate_open = False
        """Whether requests get turns."""
        self._limits: Mapping[Kind, float] = {
            Kind.LOAD: load_timeout,
            Kind.PROBE: hang_timeout,
            Kind.REQUEST: hang_timeout,
        }
        self._clock = clock
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; the loop that is running now is the one to which results are delivered."""
        # A daemon, because a stuck thread must not block the exit of the process.
        self._thread = threading.Thread(
            target=run_jobs,
            args=(self._inbox, asyncio.get_running_loop(), self._finish, self._clock),
            name="gpu",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end after its present job."""
        self._inbox.put(None)

    def open_gate(self) -> None:
        """Give requests their turns from now on."""
        self.gate_open = True
        self._start_next()

    def close_gate(self) -> None:
        """Give requests no more turns; one that runs is not interrupted."""
        self.gate_open = False

    async def run(
        self,
        fn: Callable[[], T],
        *,
        kind: Kind,
        on_start: Callable[[], None] | None = None,
        on_end: OnEnd | None = None,
    ) -> T:
        """Wait for a turn, run ``fn`` in the thread, and return its result or raise its exception.

        If the caller is cancelled while it waits, the job never reaches the thread. If it is cancelled while the job
        runs, the job runs to its end and its result is dropped.

        Args:
            fn: the job.
            kind: decides the turn.
            on_start: called in the event loop when the turn comes.
            on_end: called in the event loop, exactly once, when the thread has finished the job or will never see it.
        """
        job = Job(fn, kind, on_start, on_end)
        if kind is Kind.REQUEST:
            self._waiting.append(job)
        else:
            self._waiting.appendleft(job)
        self._start_next()
        try:
            result: T = await job.future
            return result
        finally:
            job.withdraw(self._waiting)
            # An error and the frame that it came through would keep each other, and the picture, alive.
            del job

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._running is not None

    @property
    def started_at(self) -> float:
        """Unix time at which the running probe or request started; 0 if none runs."""
        job = self._running
        return 0.0 if job is None or job.kind is Kind.LOAD else job.started_wall

    @property
    def job_seconds(self) -> float:
        """How long the running probe or request has been running; 0 if none runs. A load has a limit of its own."""
        job = self._running
        return 0.0 if job is None or job.kind is Kind.LOAD else self._clock() - job.started

    @property
    def stuck(self) -> str | None:
        """Why the thread counts as stuck, in words for a log line and an answer; None if it does not."""
        job = self._running
        if job is None:
            return None
        running, limit = self._clock() - job.started, self._limits[job.kind]
        if running <= limit:
            return None
        return (
            f"the GPU thread is stuck: a {job.kind.name.lower()} has been running for {running:.0f} s, "
            f"over its limit of {limit:g} s"
        )

    def _start_next(self) -> None:
        if self._running is not None or self._thread is None:
            return
        job = next((job for job in self._waiting if self.gate_open or job.kind is not Kind.REQUEST), None)
        if job is None:
            return
        self._waiting.remove(job)
        job.stamp(now=self._clock(), now_wall=time.time())
        self._running = job
        job.start(self._inbox)

    def _finish(self, job: Job, seconds: float, result: Any, error: Exception | None) -> None:
        self._running = None
        self._start_next()  # before the result is delivered, so that the device does not wait for the event loop
        job.finish(seconds, result, error)
