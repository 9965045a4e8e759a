"""Admission: decides which requests get a place in memory, and which are refused at once.

``http.process`` takes places for clients, ``warmup.target`` for probes. A request gets a place without waiting, or is
refused, before a byte of its body is read. So the bodies, pixels and results in memory must stay bounded together. When
its body has arrived, the request joins the queue, unless the work ahead of it would take longer than its deadline
allows. ``device_thread`` gives the turns.

Everything runs in the event loop's thread, so there are no locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from service.errors import Draining, QueueFull, ServiceError
from service.inference.codec_pool import CodecPool
from service.inference.device_thread import DeviceThread
from service.inference.jobs import Kind
from service.inference.place import Place, State

SMOOTHING = 0.3
"""Weight of the newest job in the recent service time: about the last five jobs count."""

HEADROOM = 0.8
"""Share of the deadline that the expected wait and run may take. The estimate does not include decoding and encoding,
and the picture may be larger than the recent ones."""


def draining() -> Draining:
    """The error for work that does not fit into the grace."""
    return Draining(
        "The service is shutting down. Send the request again: another instance answers.", retry_after=1
    )


class Admission:
    """Hands out places, and refuses work that could not be done in time.

    Args:
        device_thread: gives the turns; its gate follows ``open`` and ``refuse``.
        codec_pool: decodes, composes and encodes beside it.
        queue_size: requests that may hold a place besides the one that runs.
        request_timeout: seconds; a request is refused if its expected wait and run exceed ``HEADROOM`` of it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        device_thread: DeviceThread,
        codec_pool: CodecPool,
        queue_size: int,
        request_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue_size = queue_size
        self.capacity = queue_size + 1
        self.service_seconds = 0.0
        """The recent running time of one request's job; 0 before the first."""
        self._device_thread = device_thread
        self._codec_pool = codec_pool
        self._request_timeout = request_timeout
        self._clock = clock
        self._places: set[Place] = set()
        self._refusal: Callable[[], ServiceError] | None = None
        self._refuses_for_good = False
        self._drain_until: float | None = None

    def take_place(self) -> Place:
        """Take a place at once; use it as a context manager.

        Raises:
            QueueFull: no place is free, or the work that waits already would outlast the deadline.
            Draining: the service is ending and the work would not fit the grace.
            Unavailable: the engine cannot serve; the error is the one given to ``refuse``.
        """
        self._check_refusal()
        if len(self._places) >= self.capacity:
            raise QueueFull(
                "Every place in the queue is taken. Wait as long as Retry-After says, then send it again.",
                retry_after=max(1.0, self.service_seconds),
            )
        self._check_wait()
        place = Place(
            codec_pool=self._codec_pool,
            device_thread=self._device_thread,
            kind=Kind.REQUEST,
            on_free=self._places.discard,
            on_device_seconds=self._note_service_time,
        )
        self._places.add(place)
        return place

    def probe_place(self, on_running: Callable[[bool], None] = lambda _: None) -> Place:
        """A place that does not count, for a probe: a full queue must not keep probes from running.

        Args:
            on_running: as for ``Place``.
        """
        return Place(
            codec_pool=self._codec_pool,
            device_thread=self._device_thread,
            kind=Kind.PROBE,
            on_free=lambda _: None,
            on_device_seconds=lambda _: None,
            on_running=on_running,
        )

    def enqueue(self, place: Place) -> None:
        """The body has arrived: the request joins the queue.

        Raises:
            QueueFull: the work ahead would outlast the deadline.
            Draining: the work ahead would outlast the grace.
            Unavailable: the engine can no longer serve.
        """
        self._check_refusal()
        self._check_wait()
        place.state = State.QUEUED

    # -- what is taken -------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return len(self._places) >= self.capacity

    @property
    def taken(self) -> int:
        """Places that are taken now, by clients and probes."""
        return len(self._places)

    @property
    def clients(self) -> int:
        """Requests that still wait for their answer, including those whose upload has not finished."""
        return sum(1 for place in self._places if place.state is not State.RELEASED)

    @property
    def owed(self) -> int:
        """Requests whose body has arrived and whose answer has not been sent."""
        return sum(
            1 for place in self._places if place.state in {State.QUEUED, State.FINISHING, State.ANSWERING}
        )

    @property
    def queue_depth(self) -> int:
        """Accepted pictures whose turn at the device thread has not come; at most ``queue_size``.

        The scrape's thread reads it too, hence the copy: the set may change meanwhile.
        """
        return min(self.queue_size, sum(place.waits_for_turn for place in tuple(self._places)))

    @property
    def expected_seconds(self) -> float:
        """How long the admitted work will keep the device thread: its number of jobs times the recent service time."""
        return self.service_seconds * sum(1 for place in self._places if place.needs_device)

    # -- whether requests are served -----------------------------------------------------------------------------

    def open(self) -> None:
        """The engine has passed its proofs: requests get their turns. No effect once requests are refused for good."""
        if self._refuses_for_good:
            return
        self._refusal = None
        self._device_thread.open_gate()

    def refuse(self, make_error: Callable[[], ServiceError], *, for_good: bool = False) -> None:
        """The engine cannot serve: end every request whose mask is not there yet, and refuse new ones, with this error.

        Args:
            make_error: makes the error.
            for_good: a later ``open`` changes nothing; only a new process serves again.
        """
        self._device_thread.close_gate()
        self._refusal = make_error
        self._refuses_for_good = self._refuses_for_good or for_good
        for place in tuple(self._places):
            if place.state in {State.UPLOADING, State.QUEUED}:
                place.interrupt(make_error)

    def drain(self, seconds: float) -> None:
        """Admit only work that fits into the grace of ``seconds`` from now."""
        self._drain_until = self._clock() + seconds
        if not self._device_thread.gate_open:
            self.abandon(draining)

    def abandon(self, make_error: Callable[[], ServiceError]) -> None:
        """End every request whose answer is not yet being written with this error."""
        for place in tuple(self._places):
            place.interrupt(make_error)

    def _check_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

    def _check_wait(self) -> None:
        expected = self.expected_seconds
        if self._drain_until is not None:
            left = self._drain_until - self._clock()
            if not self._device_thread.gate_open or expected + self.service_seconds > left:
                raise draining()
        elif expected and (excess := expected + self.service_seconds - HEADROOM * self._request_timeout) > 0:
            raise QueueFull(
                f"The expected wait of {expected:.0f} s would outlast the deadline of {self._request_timeout:g} s. "
                "Wait as long as Retry-After says, then send it again.",
                retry_after=max(1.0, excess),
            )

    def _note_service_time(self, seconds: float) -> None:
        if self.service_seconds == 0.0:
            self.service_seconds = seconds
        else:
            self.service_seconds += SMOOTHING * (seconds - self.service_seconds)
