"""A job: one function that a thread runs for a caller in the event loop.

``device_thread`` and ``codec_pool`` make jobs and decide which is next. They share what is here: what a job is, what
its caller is told, and what their threads do.

A thread calls ``fn`` and nothing else of a job. Everything else runs in the event loop, so there are no locks. A thread
cannot be cancelled: if the caller stops waiting, a running job continues, and ``on_end`` tells when it has ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from queue import SimpleQueue
from typing import Any

import structlog

from service.errors import ServiceError
from service.inference.thread_results import deliverable

_log = structlog.get_logger("jobs")


class Kind(Enum):
    """What a job is for, which decides its turn."""

    LOAD = auto()
    """Loads the engine."""
    PROBE = auto()
    """Proves the engine. Clients' work must not keep it waiting."""
    REQUEST = auto()
    """A client's picture."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended."""

    seconds: float | None
    """How long it ran; None if no thread has begun it."""
    error: Exception | None
    """What it raised."""
    abandoned: bool
    """Whether its caller had stopped waiting for it."""


OnEnd = Callable[[JobEnd], None]


@dataclass(slots=True, eq=False)
class Job:
    """One call that waits for a thread or runs in it; made in the event loop."""

    fn: Callable[[], Any]
    kind: Kind
    on_start: Callable[[], None] | None = None
    """Called when its turn comes."""
    on_end: OnEnd | None = None
    """Called exactly once: when the thread has finished it, or when it is certain that no thread will begin it."""
    alone: bool = False
    """Whether it must not run beside another such job."""
    started: float = 0.0
    """Monotonic seconds."""
    started_wall: float = 0.0
    """Unix time in seconds."""
    future: asyncio.Future[Any] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future(), init=False
    )

    def withdraw(self, waiting: deque[Job]) -> None:
        """The caller waits no longer: take the job out of this queue if its turn has not come."""
        if self in waiting:
            waiting.remove(self)
            self._tell(JobEnd(None, None, abandoned=True))

    def stamp(self, *, now: float, now_wall: float) -> None:
        """Its turn has come. Call this before any other thread can see that it runs: the times are read there."""
        self.started, self.started_wall = now, now_wall

    def start(self, inbox: SimpleQueue[Job | None]) -> None:
        """Send it to the threads that read ``inbox``."""
        if self.on_start is not None:
            _call(self.on_start)
        inbox.put(self)

    def finish(self, seconds: float, result: Any, error: Exception | None) -> None:
        """The thread has ended: tell ``on_end``, then the caller."""
        abandoned = self.future.done()
        self._tell(JobEnd(seconds, error, abandoned))
        if abandoned:
            if error is not None and not isinstance(error, ServiceError):
                _log.warning("an abandoned job failed", kind=self.kind.name.lower(), error=repr(error))
        elif error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def _tell(self, end: JobEnd) -> None:
        if self.on_end is not None:
            _call(self.on_end, end)


Finish = Callable[[Job, float, Any, Exception | None], None]
"""Called in the event loop with a job that has ended, the seconds it ran, its result, and its error."""


def run_jobs(
    inbox: SimpleQueue[Job | None],
    loop: asyncio.AbstractEventLoop,
    finish: Finish,
    clock: Callable[[], float],
) -> None:
    """What a thread does: it runs the jobs of its inbox until it finds None there."""
    while (job := inbox.get()) is not None:
        result, error = None, None
        began = clock()
        try:
            result = job.fn()
        except BaseException as caught:  # noqa: BLE001 - whatever it is, the caller gets it
            error = deliverable(caught)
        try:
            loop.call_soon_threadsafe(finish, job, clock() - began, result, error)
        except RuntimeError:
            return  # the loop is closed: the process is ending
        del job, result, error  # otherwise the last picture stays in memory until the next job comes


def _call(callback: Callable[..., None], *args: object) -> None:
    """Call it; if it raises, the event loop reports that, and neither the job nor the next one is lost."""
    try:
        callback(*args)
    except Exception as error:  # noqa: BLE001 - reported
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a callback of a job failed", "exception": error}
        )
