"""The device thread: it runs one job at a time and decides which job is next.

``Place`` sends requests and probes to it, ``warmup.target`` sends loads. Only this thread may use the model and its
device. Requests get their turns in order of arrival, and only while the gate is open. A probe comes next after the
running job. A load runs whether the gate is open or not. A job is a function; ``admission`` decides which requests are
accepted.

Everything but the jobs themselves runs in the event loop's thread, so there are no locks. A thread cannot be cancelled.
If a caller stops waiting, its running job continues, and ``on_end`` tells when the thread has finished it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog

from service.inference.thread_results import deliverable

T = TypeVar("T")

OnEnd = Callable[[float | None], None]
"""Called once with the seconds that the job ran; with None if it failed or never reached the thread."""

_log = structlog.get_logger("device")


class Kind(Enum):
    """What a job is for, which decides its turn."""

    LOAD = auto()
    """Loads the engine; runs whether the gate is open or closed."""
    PROBE = auto()
    """Proves the engine; next in turn after the running job, whether the gate is open or closed."""
    REQUEST = auto()
    """A client's picture; in order of arrival, while the gate is open."""


@dataclass(slots=True, eq=False)
class _Job:
    """One call that waits for the thread or runs in it."""

    fn: Callable[[], Any]
    kind: Kind
    future: asyncio.Future[Any]
    on_start: Callable[[], None] | None
    on_end: OnEnd | None
    started: float = 0.0
    """Monotonic seconds."""
    started_wall: float = 0.0
    """Unix time in seconds."""


class DeviceThread:
    """The one thread that computes on the device, and the queue in front of it.

    Args:
        hang_timeout: seconds that a probe or a request may run before the thread counts as stuck.
        load_timeout: the same for a load.
        clock: monotonic seconds.
    """

    def __init__(
        self, *, hang_timeout: float, load_timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.gate_open = False
        """Whether requests get turns."""
        self._limits: Mapping[Kind, float] = {
            Kind.LOAD: load_timeout,
            Kind.PROBE: hang_timeout,
            Kind.REQUEST: hang_timeout,
        }
        self._clock = clock
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; the loop that is running now is the one to which results are delivered."""
        # A daemon, because a stuck thread must not block the exit of the process.
        self._thread = threading.Thread(
            target=self._main, args=(asyncio.get_running_loop(),), name="gpu", daemon=True
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
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = _Job(fn, kind, future, on_start, on_end)
        if kind is Kind.REQUEST:
            self._waiting.append(job)
        else:
            self._waiting.appendleft(job)
        self._start_next()
        try:
            return await future
        finally:
            if job in self._waiting:  # the caller was cancelled before its turn came
                self._waiting.remove(job)
                _report_end(job, None)
            # An error and the frame that it came through would keep each other, and the picture, alive.
            del future, job

    @property
    def waiting(self) -> int:
        """Jobs that wait for their turn."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._running is not None

    @property
    def runs_request(self) -> bool:
        """Whether the running job is a client's picture."""
        return self._running is not None and self._running.kind is Kind.REQUEST

    @property
    def started_at(self) -> float:
        """Unix time at which the running probe or request started; 0 if none runs."""
        return 0.0 if self._running is None or self._running.kind is Kind.LOAD else self._running.started_wall

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
            f"a {job.kind.name.lower()} has been running for {running:.0f} s, over its limit of {limit:g} s"
        )

    def _start_next(self) -> None:
        if self._running is not None or self._thread is None:
            return
        job = next((job for job in self._waiting if self.gate_open or job.kind is not Kind.REQUEST), None)
        if job is None:
            return
        self._waiting.remove(job)
        self._running = job
        job.started, job.started_wall = self._clock(), time.time()
        if job.on_start is not None:
            job.on_start()
        self._inbox.put(job)

    def _finish(self, job: _Job, result: Any, error: BaseException | None) -> None:
        seconds = self._clock() - job.started
        self._running = None
        self._start_next()  # before the result is delivered, so that the device does not wait for the event loop
        _report_end(job, seconds if error is None else None)
        if job.future.done():  # the caller was cancelled while the job ran
            if error is not None:
                _log.warning("an abandoned job failed", kind=job.kind.name.lower(), error=repr(error))
        elif error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._inbox.get()) is not None:
            result, error = None, None
            try:
                result = job.fn()
            except BaseException as caught:  # noqa: BLE001 - whatever it is, the caller of run() gets it
                error = deliverable(caught)
            try:
                loop.call_soon_threadsafe(self._finish, job, result, error)
            except RuntimeError:
                return  # the loop is closed: the process is ending
            del job, result, error  # otherwise the last picture stays in memory until the next job comes


def _report_end(job: _Job, seconds: float | None) -> None:
    if job.on_end is not None:
        job.on_end(seconds)
