"""A place: the right to hold one request's body, pixels and result in memory.

``admission`` hands places out. The task that serves the request uses its place as a context manager, and sends its work
to the threads through it. The place must stay taken until the last thread that works for the request has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from service.errors import ServiceError
from service.inference.codec_pool import CodecPool
from service.inference.device_thread import DeviceThread
from service.inference.jobs import JobEnd, Kind, OnEnd
from service.inference.service_time import Stage, Work

T = TypeVar("T")


class State(Enum):
    """How far the request that holds a place has come."""

    UPLOADING = auto()
    """Its body is on the way in."""
    QUEUED = auto()
    """Its body is in: it is decoded, waits for the device thread, or runs there."""
    FINISHING = auto()
    """The device thread is done with it: it is composed and encoded."""
    ANSWERING = auto()
    """Its answer is written."""
    RELEASED = auto()
    """It has ended. A thread that still works for it keeps the place taken until it ends too."""


WHOLE_WAY = frozenset(Stage)
AFTER_DECODING = frozenset({Stage.INFER, Stage.FINISH})


class _Thread(Enum):
    CODEC = auto()
    DEVICE = auto()


class Place:
    """The right to hold one request in memory, and its way to the threads.

    Args:
        codec_pool: decodes, composes and encodes.
        device_thread: computes masks.
        kind: decides the turn at the device thread, and the threads of the codec pool.
        on_free: called once, when the request has ended and no thread works for it any more.
        on_size: called when the picture is decoded, with its size in pixels; may raise to refuse it.
        on_seconds: called with the running time of each job that did not fail.
        key: whose request it is: requests with the same API key have the same; None without keys.
        on_running: called in the event loop with True when a thread begins to work for the request, and with False when
            that thread has ended. In between, it waits for nothing; outside, it waits or no work is left.
    """

    __slots__ = (
        "_cancelling",
        "_codec_pool",
        "_device_thread",
        "_had_turn",
        "_interruption",
        "_kind",
        "_on_free",
        "_on_running",
        "_on_seconds",
        "_on_size",
        "_task",
        "_working",
        "decoded",
        "key",
        "on_device",
        "state",
        "work",
        "worked_seconds",
    )

    def __init__(
        self,
        *,
        codec_pool: CodecPool,
        device_thread: DeviceThread,
        kind: Kind,
        on_free: Callable[[Place], None],
        on_size: Callable[[Place, int, int], None],
        on_seconds: Callable[[Work, Stage, float], None],
        key: Hashable = None,
        on_running: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.state = State.UPLOADING
        self.key = key
        self.work = Work()
        """What is known of its picture."""
        self.decoded = False
        """Whether its picture is decoded."""
        self.on_device = False
        """Whether its job runs in the device thread now."""
        self.worked_seconds = 0.0
        """How long threads have worked for it, failed jobs included."""
        self._codec_pool = codec_pool
        self._device_thread = device_thread
        self._kind = kind
        self._on_free = on_free
        self._on_size = on_size
        self._on_seconds = on_seconds
        self._on_running = on_running
        self._had_turn = False
        self._working: _Thread | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._interruption: Callable[[], ServiceError] | None = None

    def __enter__(self) -> Place:
        self._task = asyncio.current_task()
        if self._task is not None:
            self._cancelling = self._task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self.release()
        # As in asyncio.timeout: only a cancellation that interrupt() asked for becomes its error. A cancellation by
        # anybody else, such as a client that leaves, stays a cancellation.
        if (
            self._interruption is not None
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise self._interruption() from None

    @property
    def waits_for_turn(self) -> bool:
        """Whether its picture is accepted and its turn at the device thread has not come yet."""
        return self.state is State.QUEUED and not self._had_turn

    @property
    def needs_device(self) -> bool:
        """Whether its job is still ahead of, or in, the device thread, so that others have to wait for it."""
        return self.state is State.QUEUED or self._working is _Thread.DEVICE

    @property
    def ahead(self) -> frozenset[Stage]:
        """The stages that its picture has not passed, the present one included; none while its body is on the way."""
        match self.state, self._working:
            case State.QUEUED, _:
                return AFTER_DECODING if self.decoded else WHOLE_WAY
            case (State.FINISHING, _):
                return frozenset({Stage.FINISH})
            case _, _Thread.DEVICE:
                return frozenset({Stage.INFER})
            case _, _Thread.CODEC:
                return frozenset({Stage.FINISH if self.decoded else Stage.DECODE})
            case _:
                return frozenset()

    def interrupt(self, make_error: Callable[[], ServiceError]) -> None:
        """End the request with this error instead of a picture; does nothing once its answer is being written.

        It also does nothing after the device thread has ended and before the codec pool begins: the request's task is
        about to run. If the device was lost, that task reports it, which interrupts all requests, and must not cancel
        itself.
        """
        between_threads = self.state is State.FINISHING and self._working is None
        too_late = between_threads or self.state in {State.ANSWERING, State.RELEASED}
        if too_late or self._task is None or self._interruption is not None:
            return
        self._interruption = make_error
        self._task.cancel()

    def release(self) -> None:
        """The request has ended: give the place back as soon as no thread works for it. Idempotent."""
        if self.state is not State.RELEASED:
            self.state = State.RELEASED
            self._free_if_unused()

    def note_size(self, width: int, height: int) -> None:
        """The picture is decoded and has this size.

        Raises:
            ServiceError: it is refused by its size, which is now certain.
        """
        self.decoded = True
        self.work.file_bytes = 0
        self._on_size(self, width, height)

    async def run_in_codec_pool(
        self,
        fn: Callable[..., T],
        *args: Any,
        stage: Stage | None = None,
        size_of: Callable[[T], tuple[int, int]] | None = None,
        alone: bool = False,
        on_end: OnEnd | None = None,
    ) -> T:
        """Run ``fn`` (decoding, composing, encoding) beside the device thread, holding the place until it ends.

        Args:
            fn: the job.
            args: for ``fn``.
            stage: as what its running time counts; None if it says nothing of other pictures.
            size_of: the (width, height) of the picture that ``fn`` returned. Its running time counts for that size and
                not for the one that the header claimed: a false header must not spoil what is expected of others.
            alone: never run it beside another such job.
            on_end: called in the event loop, exactly once, when the thread has finished it or will never see it; also
                if the request has ended before.
        """
        self._working = _Thread.CODEC
        sizes: list[tuple[int, int]] = []  # written by the thread, read once it has ended

        def job() -> T:
            result = fn(*args)
            if size_of is not None:
                sizes.append(size_of(result))
            return result

        return await self._codec_pool.run(
            job,
            kind=self._kind,
            alone=alone,
            on_start=partial(self._on_running, True),  # noqa: FBT003 - it has one argument
            on_end=partial(self._codec_ended, stage, sizes, on_end),
        )

    async def run_on_device(
        self, fn: Callable[[], T], *, on_start: Callable[[], None] | None = None, on_end: OnEnd | None = None
    ) -> T:
        """Wait for a turn and run ``fn`` in the device thread, holding the place until it ends.

        Args:
            fn: the job.
            on_start: called in the event loop when the turn comes.
            on_end: as for ``run_in_codec_pool``.
        """
        self._working = _Thread.DEVICE
        return await self._device_thread.run(
            fn,
            kind=self._kind,
            on_start=partial(self._device_began, on_start),
            on_end=partial(self._device_ended, on_end),
        )

    # The state changes before the result is delivered: the request's next step finds its thread ended.

    def _codec_ended(
        self, stage: Stage | None, sizes: Sequence[tuple[int, int]], on_end: OnEnd | None, end: JobEnd
    ) -> None:
        if self.state is State.FINISHING:
            self.state = State.ANSWERING
        if stage is not None:
            self._note_seconds(replace(self.work, size=sizes[0]) if sizes else self.work, stage, end)
        self._thread_ended(on_end, end)

    def _device_began(self, on_start: Callable[[], None] | None) -> None:
        self._had_turn = self.on_device = True
        self._on_running(True)  # noqa: FBT003 - it has one argument
        if on_start is not None:
            on_start()

    def _device_ended(self, on_end: OnEnd | None, end: JobEnd) -> None:
        if self.state is State.QUEUED:
            self.state = State.FINISHING
        self.on_device = False
        self._note_seconds(self.work, Stage.INFER, end)
        self._thread_ended(on_end, end)

    def _note_seconds(self, work: Work, stage: Stage, end: JobEnd) -> None:
        if end.seconds is not None and end.error is None:
            self._on_seconds(work, stage, end.seconds)

    def _thread_ended(self, on_end: OnEnd | None, end: JobEnd) -> None:
        self._working = None
        if end.seconds is not None:
            self.worked_seconds += end.seconds
            self._on_running(False)  # noqa: FBT003 - it has one argument
        self._free_if_unused()
        if on_end is not None:
            on_end(end)

    def _free_if_unused(self) -> None:
        if self.state is State.RELEASED and self._working is None:
            self._on_free(self)
