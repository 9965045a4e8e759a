"""Admission and the GPU thread.

Two things bound the service. A *place* is the right to hold one request's body, pixels and result in memory: it is
taken without waiting or refused at once, before a byte of the body is read. A *turn* is the GPU thread's attention:
one job at a time, first come first served, probes next in line.

Everything but the jobs themselves runs in the event loop's thread, so there are no locks. A thread cannot be
cancelled: whoever stops waiting leaves its job running, and the place stays taken until that thread is done with it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from service.errors import Draining, QueueFull, ServiceError
from service.inference.place import Kind, Place
from service.inference.threads import deliverable, in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

SMOOTHING = 0.3
"""Weight of the newest job in the recent service time: about the last five jobs count."""

HEADROOM = 0.8
"""Share of the deadline that the expected wait and run may take: the estimate knows nothing of decoding and encoding,
nor of a picture larger than the recent ones."""

_log = structlog.get_logger("worker")


def draining() -> Draining:
    """What is told to work that no longer fits the grace."""
    return Draining(
        "The service is shutting down. Send the request again: another instance answers.", retry_after=1
    )


class _Job:
    """One call waiting for, or running in, the GPU thread."""

    __slots__ = ("done", "fn", "future", "kind", "limit", "on_start", "started")

    def __init__(
        self,
        fn: Callable[[], Any],
        *,
        kind: Kind,
        future: asyncio.Future[Any],
        limit: float,
        on_start: Callable[[], None] | None,
        done: Callable[[], None] | None,
    ) -> None:
        self.fn = fn
        self.kind = kind
        self.future = future
        self.limit = limit
        self.on_start = on_start
        self.done = done
        self.started = 0.0


class Worker:
    """The GPU thread, its queue, and the pool that decodes and encodes beside it.

    Args:
        queue_size: requests that may hold a place besides the one that runs.
        request_timeout: seconds; nobody is admitted whose expected wait exceeds it.
        hang_timeout: seconds a job may run before the thread counts as stuck.
        load_timeout: the same for the load, and for what comes before it without a word of how far it is.
        pool_size: threads for decoding, composing and encoding.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        queue_size: int,
        request_timeout: float,
        hang_timeout: float,
        load_timeout: float,
        pool_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue_size = queue_size
        self.capacity = queue_size + 1
        self.pool = ThreadPoolExecutor(pool_size, thread_name_prefix="codec")
        self._request_timeout = request_timeout
        self._load_timeout = load_timeout
        self._limits = {Kind.LOAD: load_timeout, Kind.PROBE: hang_timeout, Kind.REQUEST: hang_timeout}
        self._clock = clock
        self._places: set[Place] = set()
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._started_at = 0.0
        self._last_word_at: float | None = None
        self._recent: float | None = None
        self._gate_open = False
        self._refusal: Callable[[], ServiceError] | None = None
        self._drain_until: float | None = None
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the GPU thread; the running loop becomes the one that results are delivered to."""
        self._loop = asyncio.get_running_loop()
        # A daemon: a stuck thread must not block the exit.
        self._thread = threading.Thread(target=self._main, name="gpu", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end after its present job; what still waits is told that the service is draining."""
        self.abandon(draining)
        self._inbox.put(None)
        self.pool.shutdown(wait=False, cancel_futures=True)

    # -- admission -------------------------------------------------------------------------------------------

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Take a place at once.

        Raises:
            QueueFull: none is free, or what waits already would outlast the deadline.
            Draining: the service is ending and the work would not fit the grace.
            Unavailable: the engine cannot serve; the reason is the one given to ``refuse``.
        """
        self._check_refusal()
        if len(self._places) >= self.capacity:
            raise QueueFull(
                "Every place in the queue is taken. Wait as long as Retry-After says, then send it again.",
                retry_after=max(1.0, self.service_seconds),
            )
        self.check_wait()
        place = Place(self, counted=True)
        self._places.add(place)
        with place:
            yield place

    @contextmanager
    def probe_place(self) -> Iterator[Place]:
        """A place outside the count: a full queue must not keep the truth from being known."""
        with Place(self, counted=False) as place:
            yield place

    def give_back(self, place: Place) -> None:
        """Called by the place itself, once."""
        self._places.discard(place)

    def check_wait(self) -> None:
        """Refuse work that could not be done before its deadline.

        Raises:
            QueueFull, Draining, Unavailable: see ``place``.
        """
        self._check_refusal()
        expected = self.expected_seconds
        if self._drain_until is not None:
            left = self._drain_until - self._clock()
            if not self._gate_open or expected + self.service_seconds > left:
                raise draining()
        elif expected and (excess := expected + self.service_seconds - HEADROOM * self._request_timeout) > 0:
            raise QueueFull(
                f"The expected wait of {expected:.0f} s would outlast the deadline of {self._request_timeout:g} s. "
                "Wait as long as Retry-After says, then send it again.",
                retry_after=max(1.0, excess),
            )

    def _check_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

    @property
    def service_seconds(self) -> float:
        """The recent running time of one request's job; 0 before the first."""
        return self._recent or 0.0

    @property
    def expected_seconds(self) -> float:
        """How long the work that has arrived will keep the thread: its depth times the recent service time."""
        return self.service_seconds * sum(1 for place in self._places if place.queued)

    @property
    def taken(self) -> int:
        """Places taken now, whatever for."""
        return len(self._places)

    @property
    def clients(self) -> int:
        """Requests that still wait for their answer, the upload of some of them not yet in."""
        return sum(1 for place in self._places if not place.left)

    @property
    def owed(self) -> int:
        """Requests whose picture is in and whose answer is not out."""
        return sum(1 for place in self._places if place.accepted and not place.left)

    @property
    def queue_depth(self) -> int:
        """Requests that hold a place and do not run; at most ``queue_size``."""
        running = self._running is not None and self._running.kind is Kind.REQUEST
        return min(self.queue_size, len(self._places) - int(running)) if self._places else 0

    # -- the gate --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """The engine is loaded: requests get their turns."""
        self._gate_open = True
        self._refusal = None
        self._dispatch()

    def refuse(self, make_error: Callable[[], ServiceError]) -> None:
        """The engine cannot serve: refuse with this error who comes, and who has not had a turn."""
        self._gate_open = False
        self._refusal = make_error
        for place in tuple(self._places):
            if not place.served:
                place.interrupt(make_error)

    def drain(self, seconds: float) -> None:
        """Admit only what fits into the grace of ``seconds`` from now."""
        self._drain_until = self._clock() + seconds
        if not self._gate_open:
            self.abandon(draining)

    def abandon(self, make_error: Callable[[], ServiceError]) -> None:
        """Tell every request that has no answer yet, wherever it is, that it will get none but this error."""
        for place in tuple(self._places):
            place.interrupt(make_error)

    # -- turns -----------------------------------------------------------------------------------------------

    async def run(
        self,
        fn: Callable[[], T],
        *,
        kind: Kind,
        on_start: Callable[[], None] | None = None,
        done: Callable[[], None] | None = None,
    ) -> T:
        """Wait for a turn and run ``fn`` in the GPU thread.

        Cancelled while waiting, the job never reaches the thread; cancelled while running, it runs to its end and its
        result is dropped.

        Args:
            fn: what to run; its result or exception is delivered here.
            kind: decides the turn.
            on_start: called in the loop when the turn comes.
            done: called in the loop, exactly once, when the thread has finished with the job or will never see it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = _Job(fn, kind=kind, future=future, limit=self._limits[kind], on_start=on_start, done=done)
        if kind is Kind.REQUEST:
            self._waiting.append(job)
        else:
            self._waiting.appendleft(job)
        self._dispatch()
        try:
            return await future
        finally:
            if job in self._waiting:  # whoever waited has gone
                self._waiting.remove(job)
                self._discard(job)
            # With these in it, an error and the frame it came through would keep each other, and the picture, alive.
            del future, job

    async def before_load(self, fn: Callable[[], T]) -> T:
        """Run ``fn`` in a thread of its own: what may take as long as it likes, a download, if it says so.

        It counts as stuck when ``heard`` was not called for as long as a load may take.
        """
        self._last_word_at = self._clock()
        try:
            return await in_daemon_thread(fn, name="prepare")
        finally:
            self._last_word_at = None

    def heard(self) -> None:
        """What runs before the load is getting on."""
        if self._last_word_at is not None:
            self._last_word_at = self._clock()

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._running is not None

    @property
    def started_at(self) -> float:
        """Wall-clock time in seconds at which the running job started; 0 if none runs. The load does not count."""
        return 0.0 if self._running is None or self._running.kind is Kind.LOAD else self._started_at

    @property
    def job_seconds(self) -> float:
        """How long the running job has been running; 0 if none runs. The load does not count: it has its own limit."""
        job = self._running
        return 0.0 if job is None or job.kind is Kind.LOAD else self._clock() - job.started

    @property
    def stuck(self) -> str | None:
        """Why the thread counts as stuck, for a log line and an answer; None if it does not."""
        if (
            self._last_word_at is not None
            and (silent := self._clock() - self._last_word_at) > self._load_timeout
        ):
            return (
                f"the preparation of the load has said nothing for {silent:.0f} s, "
                f"over its limit of {self._load_timeout:g} s"
            )
        job = self._running
        if job is None or (running := self._clock() - job.started) <= job.limit:
            return None
        return f"a {job.kind.name.lower()} has been running for {running:.0f} s, over its limit of {job.limit:g} s"

    def _dispatch(self) -> None:
        if self._running is not None or self._thread is None:
            return
        for job in self._waiting:
            if job.kind is not Kind.REQUEST or self._gate_open:
                break
        else:
            return
        self._waiting.remove(job)
        self._running = job
        job.started = self._clock()
        self._started_at = time.time()
        if job.on_start is not None:
            job.on_start()
        self._inbox.put(job)

    def _finished(self, job: _Job, result: Any, error: BaseException | None) -> None:
        self._running = None
        if job.kind is Kind.REQUEST and error is None:
            seconds = self._clock() - job.started
            self._recent = (
                seconds if self._recent is None else self._recent + SMOOTHING * (seconds - self._recent)
            )
        self._dispatch()  # the device's time is the dearest: the next job first, then the news
        self._discard(job)
        if job.future.done():  # nobody waits any more
            if error is not None:
                _log.warning("an abandoned job failed", kind=job.kind.name.lower(), error=repr(error))
        elif error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    @staticmethod
    def _discard(job: _Job) -> None:
        done, job.done = job.done, None
        if done is not None:
            done()

    def _main(self) -> None:
        assert self._loop is not None  # noqa: S101 - start() sets it before the thread exists
        while (job := self._inbox.get()) is not None:
            result, error = None, None
            try:
                result = job.fn()
            except BaseException as caught:  # noqa: BLE001 - whatever it is belongs to whoever waits for the job
                error = deliverable(caught)
            try:
                self._loop.call_soon_threadsafe(self._finished, job, result, error)
            except RuntimeError:
                return  # the loop is closed: the process is ending
            del job, result, error  # or the last picture would stay in memory until the next one comes
