"""A place: the right to hold one request's body, pixels and result in memory, and the way from it to the threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future as ConcurrentFuture
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from service.errors import ServiceError
from service.inference.threads import contained

if TYPE_CHECKING:
    from service.inference.worker import Worker

T = TypeVar("T")


class Kind(Enum):
    """What a job is, which decides its turn."""

    LOAD = auto()
    """Runs however cold the engine is."""
    PROBE = auto()
    """Next in turn after the running job; needs a loaded engine only because it is sent after the load."""
    REQUEST = auto()
    """In order of arrival, once the gate is open."""


class Place:
    """The right to hold one request in memory. Use it as a context manager, in the task that serves the request.

    Leaving the context gives the place back as soon as every thread that still works for it has ended.
    """

    __slots__ = (
        "_cancelling",
        "_counted",
        "_holds",
        "_interruption",
        "_task",
        "_worker",
        "accepted",
        "left",
        "queued",
        "served",
    )

    def __init__(self, worker: Worker, *, counted: bool) -> None:
        self._worker = worker
        self._counted = counted
        self._holds = 0
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._interruption: Callable[[], ServiceError] | None = None
        self.accepted = False
        """The body is in: the picture is owed an answer."""
        self.queued = False
        """True from the moment the body is in until the GPU thread is done with it: work that others wait for."""
        self.served = False
        """The GPU thread is done with it."""
        self.left = False
        """Nobody waits any more; what keeps the place is a thread that cannot be stopped."""

    def __enter__(self) -> Place:
        self._task = asyncio.current_task()
        if self._task is not None:
            self._cancelling = self._task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left = True
        task, self._task = self._task, None
        self._settle()
        # As asyncio.timeout does it: a cancellation by anybody else, a client that leaves, stays what it is.
        if (
            self._interruption is not None
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise self._interruption() from None

    def queue_up(self) -> None:
        """The body is in: join the work that is waited for.

        Raises:
            QueueFull: what is ahead would outlast the deadline.
            Draining: what is ahead would outlast the grace.
            Unavailable: the engine cannot serve any more.
        """
        if not self._counted:
            return
        self._worker.check_wait()
        self.accepted = self.queued = True

    def interrupt(self, make_error: Callable[[], ServiceError]) -> None:
        """Whoever waits gets this error instead of a picture; too late once the answer is being written."""
        answering = self.served and self._holds == 0
        if self._task is None or answering or self._interruption is not None:
            return
        self._interruption = make_error
        self._task.cancel()

    async def in_pool(self, fn: Callable[..., T], *args: Any) -> T:
        """Run ``fn`` beside the GPU thread (decoding, composing, encoding), holding the place until it ends."""
        future = self._worker.pool.submit(contained(fn), *args)
        loop = asyncio.get_running_loop()
        self._holds += 1

        def ended(_: ConcurrentFuture[T]) -> None:
            # RuntimeError: the loop is closed, the process is ending and nobody counts places any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._let_go)

        future.add_done_callback(ended)
        try:
            return await asyncio.wrap_future(future)
        finally:
            del future  # an error and the frame it came through would keep each other, and the picture, alive

    async def in_gpu_thread(
        self, fn: Callable[[], T], *, kind: Kind = Kind.REQUEST, on_start: Callable[[], None] | None = None
    ) -> T:
        """Wait for a turn and run ``fn`` in the GPU thread, holding the place until it ends."""
        self._holds += 1
        return await self._worker.run(fn, kind=kind, on_start=on_start, done=self._served)

    def _served(self) -> None:
        self.queued = False
        self.served = True
        self._let_go()

    def _let_go(self) -> None:
        self._holds -= 1
        self._settle()

    def _settle(self) -> None:
        if self.left and self._holds == 0 and self._counted:
            self._counted = False  # given back exactly once
            self._worker.give_back(self)
