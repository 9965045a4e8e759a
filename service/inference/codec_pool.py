"""The codec pool: the threads that decode, compose, encode and judge pictures while the device thread computes.

``Place`` sends it the work of requests and probes. It must keep three things true:

- Clients share their threads. Probes have one of their own, so that no work of clients keeps a probe waiting.
- A job that must be alone (the decoding of an AVIF, whose memory has no small bound) waits in the queue until the one
  before it has ended. It holds no thread while it waits, and other jobs pass it.
- Since when each job runs is known, so that one that hangs can be told from one that waits.

Everything but the jobs themselves runs in the event loop's thread, so there are no locks; see ``jobs``. Another thread
may read the properties at any moment, as the scrape of the metrics does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from service.host.running_time import running_seconds
from service.inference.jobs import Job, Kind, OnEnd, run_jobs

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Lane:
    """Some threads, and the queue in front of them."""

    name: str
    """Of its threads."""
    threads: int
    waiting: deque[Job] = field(default_factory=deque)
    running: tuple[Job, ...] = ()
    """Replaced, never changed, because other threads read it."""
    inbox: SimpleQueue[Job | None] = field(default_factory=SimpleQueue)

    def next_job(self) -> Job | None:
        """Take the next job out of the queue, if there is one and a thread is free for it."""
        if len(self.running) >= self.threads:
            return None
        occupied = any(job.alone for job in self.running)
        job = next((job for job in self.waiting if not (job.alone and occupied)), None)
        if job is not None:
            self.waiting.remove(job)
        return job


class CodecPool:
    """The threads beside the device thread, and the queues in front of them.

    Args:
        threads: how many clients share.
        hang_timeout: seconds that a job may run before its thread counts as stuck.
        clock: seconds in which the process could run.
    """

    def __init__(
        self, *, threads: int, hang_timeout: float, clock: Callable[[], float] = running_seconds
    ) -> None:
        self.threads = threads
        """The threads that clients share."""
        self._hang_timeout = hang_timeout
        self._clock = clock
        self._clients = _Lane("codec", threads)
        self._probes = _Lane("codec-probe", 1)
        self._lanes = {Kind.REQUEST: self._clients, Kind.PROBE: self._probes}

    def start(self) -> None:
        """Start the threads; the loop that is running now is the one to which results are delivered."""
        loop = asyncio.get_running_loop()
        for lane in self._lanes.values():
            for number in range(lane.threads):
                # Daemons, because a stuck thread must not block the exit of the process.
                threading.Thread(
                    target=run_jobs,
                    args=(lane.inbox, loop, partial(self._finish, lane), self._clock),
                    name=f"{lane.name}_{number}",
                    daemon=True,
                ).start()

    def stop(self) -> None:
        """Let each thread end after its present job; jobs that wait are cancelled."""
        for lane in self._lanes.values():
            for job in tuple(lane.waiting):
                job.future.cancel()
            for _ in range(lane.threads):
                lane.inbox.put(None)

    async def run(
        self,
        fn: Callable[[], T],
        *,
        kind: Kind,
        alone: bool = False,
        on_start: Callable[[], None] | None = None,
        on_end: OnEnd | None = None,
    ) -> T:
        """Wait for a free thread, run ``fn`` in it, and return its result or raise its exception.

        If the caller is cancelled while it waits, no thread begins the job. If it is cancelled while the job runs, the
        job runs to its end and its result is dropped.

        Args:
            fn: the job.
            kind: ``REQUEST`` or ``PROBE``; decides which threads may run it.
            alone: never run it beside another such job of its kind.
            on_start: called in the event loop when a thread is free for it.
            on_end: called in the event loop, exactly once, when the thread has finished it or will never see it.
        """
        lane = self._lanes[kind]
        job = Job(fn, kind, on_start, on_end, alone)
        lane.waiting.append(job)
        self._start_next(lane)
        try:
            result: T = await job.future
            return result
        finally:
            job.withdraw(lane.waiting)
            # An error and the frame that it came through would keep each other, and the picture, alive.
            del job

    @property
    def running(self) -> int:
        """Jobs that run, for clients and probes."""
        return len(self._clients.running) + len(self._probes.running)

    @property
    def oldest_started_at(self) -> float:
        """Unix time at which the oldest of the running jobs started; 0 if none runs."""
        oldest = self._oldest()
        return 0.0 if oldest is None else oldest.started_wall

    def late(self, seconds: float) -> int:
        """How many of the clients' threads have been busy with one job for longer than that."""
        now = self._clock()
        return sum(1 for job in self._clients.running if now - job.started > seconds)

    @property
    def stuck(self) -> str | None:
        """Why a thread counts as stuck, in words for a log line and an answer; None if none does."""
        oldest = self._oldest()
        if oldest is None or (running := self._clock() - oldest.started) <= self._hang_timeout:
            return None
        return (
            f"a codec thread (decoding and encoding of pictures) is stuck: the work for a {oldest.kind.name.lower()} "
            f"has been running for {running:.0f} s, over its limit of {self._hang_timeout:g} s"
        )

    def _oldest(self) -> Job | None:
        return min(self._clients.running + self._probes.running, key=lambda job: job.started, default=None)

    def _start_next(self, lane: _Lane) -> None:
        while (job := lane.next_job()) is not None:
            job.stamp(now=self._clock(), now_wall=time.time())
            lane.running = (*lane.running, job)
            job.start(lane.inbox)

    def _finish(self, lane: _Lane, job: Job, seconds: float, result: Any, error: Exception | None) -> None:
        lane.running = tuple(other for other in lane.running if other is not job)
        self._start_next(lane)  # before the result is delivered, so that no thread waits for the event loop
        job.finish(seconds, result, error)
