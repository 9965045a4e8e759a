"""Admission: decides which requests get a place in memory, and which are refused at once.

``http.process`` takes places for clients, ``warmup.target`` for probes. A request gets a place without waiting, or is
refused, before a byte of its body is read. So the bodies, pixels and results in memory must stay bounded together. It
is asked again whether it can be served in time whenever more is known of it: when the header of its picture is there,
when its body has arrived and it joins the queue, and when its picture turns out to have another size than its header
said. ``device_thread`` gives the turns.

The expected wait is the work of those who are in the queue already, at the device thread or in the codec pool,
whichever takes longer. Probes are ahead of everybody at the device thread. Uploads are not ahead of anybody: turns go
by the time at which a body is complete.

Everything runs in the event loop's thread, so there are no locks.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from functools import partial

from service.errors import Draining, QueueFull, ServiceError
from service.imaging.options import Options
from service.imaging.placement import Size
from service.inference.codec_pool import CodecPool
from service.inference.device_thread import DeviceThread
from service.inference.jobs import Kind
from service.inference.memory_budget import Demand, MemoryBudget
from service.inference.place import WHOLE_WAY, Place, State
from service.inference.return_times import ReturnTimes
from service.inference.service_time import ServiceTimes, Stage, Work
from service.inference.too_slow import TooSlow

HEADROOM = 0.8
"""Share of the deadline that the expected wait and the work on the picture may take. Estimates are not exact."""


def draining() -> Draining:
    """The error for work that does not fit into the grace."""
    return Draining(
        "The service is shutting down. Send the request again: another instance answers.", retry_after=1
    )


def _same(error: ServiceError) -> ServiceError:
    return error


class Admission:
    """Hands out places, and refuses work that could not be done in time.

    Args:
        device_thread: gives the turns; its gate follows ``open`` and ``refuse``.
        codec_pool: decodes, composes and encodes beside it.
        queue_size: requests that may hold a place besides the one that runs.
        request_timeout: seconds; a request is refused if its expected wait and work exceed ``HEADROOM`` of it.
        model_input_size: the engine's; (width, height) of a picture -> that of the model input.
        memory: what fits into the container.
        clock: monotonic seconds.
        uniform: a random number between 0 and 1, for the spread of ``Retry-After``.
    """

    def __init__(
        self,
        *,
        device_thread: DeviceThread,
        codec_pool: CodecPool,
        queue_size: int,
        request_timeout: float,
        model_input_size: Callable[[int, int], Size],
        memory: MemoryBudget,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self.queue_size = queue_size
        self.capacity = queue_size + 1
        self.times = ServiceTimes()
        self.memory = memory
        self._device_thread = device_thread
        self._codec_pool = codec_pool

        self._request_timeout = request_timeout
        self._model_input_size = model_input_size
        self._clock = clock
        self._returns = ReturnTimes(places=self.capacity, clock=clock, uniform=uniform)
        # A set in order: behind the uploads are the places whose bodies are in, as they came in.
        self._places: dict[Place, None] = {}
        self._probes: set[Place] = set()
        self._refusal: Callable[[], ServiceError] | None = None
        self._refuses_for_good = False
        self._refused_size: Callable[[Size], ServiceError | None] | None = None
        self._too_slow = TooSlow(
            self.times,
            deadline=request_timeout,
            aim=HEADROOM * request_timeout,
            model_input_size=model_input_size,
            clock=clock,
        )
        self._drain_until: float | None = None
        self._freed = asyncio.Event()

    def take_place(
        self, *, key: Hashable = None, body_bytes: int = 0, make_room: Callable[[], None] = lambda: None
    ) -> Place:
        """Take a place at once; use it as a context manager.

        Args:
            body_bytes: the most that its body takes while it comes in.
            key: whose request it is; with the same API key the same. None if no keys are configured.
            make_room: called if every place is taken and the request would otherwise be served; it may free one.

        Raises:
            QueueFull: no place is free, or the work that waits already would outlast the deadline, or there is no
                memory for the body, or the key holds its share of the places while another key waits.
            Draining: the service is ending and the work would not fit the grace.
            Unavailable: the engine cannot serve; the error is the one given to ``refuse``.
        """
        self._check_refusal()
        self._check_share(key)
        # Its size is not known yet. It may be small, so while there is room it is asked for its header. But nobody
        # loses a place to a newcomer that has no chance if it is like those before it.
        typical = self.times.expected_total(Work())
        own = typical if self.full or self._drain_until is not None else 0.0
        self._check_wait(key, self.expected_wait, own)
        if self.full or not self._has_memory(Demand(body_bytes)):
            make_room()
        if self.full:
            raise QueueFull(
                "Every place in the queue is taken. Wait as long as Retry-After says, then send it again.",
                retry_after=self._return_time(key),
            )
        if not self._has_memory(Demand(body_bytes)):
            raise self._no_memory(key)
        place = Place(
            codec_pool=self._codec_pool,
            device_thread=self._device_thread,
            kind=Kind.REQUEST,
            on_free=self._place_freed,
            on_size=self._picture_decoded,
            on_seconds=self.times.note,
            key=key,
        )
        place.work.file_bytes = body_bytes
        self._places[place] = None
        self._returns.served(key)
        return place

    def probe_place(self, on_running: Callable[[bool], None] = lambda _: None) -> Place:
        """A place that does not count, for a probe: a full queue must not keep probes from running.

        No size is refused to a probe, because a probe has to find out when a size can be served again.

        Args:
            on_running: as for ``Place``.
        """
        place = Place(
            codec_pool=self._codec_pool,
            device_thread=self._device_thread,
            kind=Kind.PROBE,
            on_free=self._probes.discard,
            on_size=self._note_size,
            on_seconds=self.times.note_size,
            on_running=on_running,
        )
        self._probes.add(place)
        return place

    def body_grows(self, place: Place, body_bytes: int) -> None:
        """More of the request's body comes in from elsewhere.

        Raises:
            QueueFull: there is no memory for it.
        """
        if not self._has_memory(Demand(place.work.file_bytes + body_bytes), besides=place):
            raise self._no_memory(place.key)
        place.work.file_bytes += body_bytes

    def size_read(self, place: Place, size: Size) -> None:
        """The size of the picture is known; it counts from ``enqueue`` on."""
        self._note_size(place, *size)

    def header_read(self, place: Place, input_format: str, size: Size | None) -> None:
        """The header of the picture is there: from now on its size is known, if the header says it.

        Args:
            place: held by the request.
            input_format: name of the picture's format.
            size: at least 1 x 1; None if the header does not say it.

        Raises:
            BadDimensions: at the measured speed, the work on this picture alone takes longer than its deadline.
            QueueFull: the wait and the work on this picture together do.
            Draining: they would outlast the grace.
            Unavailable: pictures of this size are refused for the time being.
        """
        place.work.input_format = input_format
        if size is not None:
            self._note_size(place, *size)
            self._check_work(place, complete=False)

    def enqueue(
        self,
        place: Place,
        options: Options | None = None,
        *,
        background: Size | None = None,
        file_bytes: int = 0,
    ) -> None:
        """The body has arrived: the request joins the queue.

        Args:
            place: held by the request.
            options: what is asked for.
            background: the size of the second picture, if there is one.
            file_bytes: of its pictures.

        Raises:
            BadDimensions, QueueFull, Draining, Unavailable: as ``header_read``, and if the engine cannot serve.
        """
        self._check_refusal()
        work = place.work
        work.file_bytes, work.background = file_bytes, background
        if options is not None:
            work.options, work.output = options, options.work
        self._check_work(place, complete=True)
        place.state = State.QUEUED
        if place in self._places:  # it has not been released meanwhile
            self._places[place] = self._places.pop(place)

    # -- what is taken -------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return len(self._places) >= self.capacity

    @property
    def taken(self) -> int:
        """Places that are taken now; probes do not count."""
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
    def expected_wait(self) -> float:
        """Seconds that a request which joined the queue now would wait for those ahead of it.

        The device thread and the codec pool work side by side, so the busier one of them counts. The scrape's thread
        reads it too, hence the copy: the set may change meanwhile.
        """
        return self._wait_behind(tuple(self._places))

    def _wait_behind(self, places: Iterable[Place]) -> float:
        """Seconds until the work of these places, and that of the probes at the device thread, is done."""
        device = codecs = 0.0
        for probe in tuple(self._probes):
            device += self._device_seconds(probe)
        for place in places:
            device += self._device_seconds(place)
            if place.state is State.QUEUED and not place.decoded:
                codecs += self.times.expected(place.work, Stage.DECODE)
            if place.state in {State.QUEUED, State.FINISHING}:
                codecs += self.times.expected(place.work, Stage.FINISH)
        return max(device, codecs / self._codec_pool.threads)

    def _device_seconds(self, place: Place) -> float:
        """What is left of its work at the device thread."""
        if not place.needs_device:
            return 0.0
        seconds = self.times.expected(place.work, Stage.INFER)
        return max(0.0, seconds - self._device_thread.job_seconds) if place.on_device else seconds

    # -- whether requests are served -----------------------------------------------------------------------------

    def open(self) -> None:
        """The engine has passed its proofs: requests get their turns. No effect once requests are refused for good."""
        if self._refuses_for_good:
            return
        self._refusal = None
        self._refuse_what_does_not_fit()
        self._device_thread.open_gate()

    def hold(self) -> None:
        """The engine is loaded and being proved: requests wait for ``open``. No effect once refused for good."""
        if not self._refuses_for_good:
            self._refusal = None

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

    def limit_sizes(self, refused: Callable[[Size], ServiceError | None] | None) -> None:
        """Refuse some sizes for the time being, also to requests that wait for their turn.

        Args:
            refused: (width, height) of a model input -> the error with which such a picture is refused, or None if
                it is served. Until the picture is decoded its sides may be swapped, because a header says how it is
                stored; so until then it is refused only if both orientations are. None instead of a function: every
                size is served again.
        """
        self._refused_size = refused
        for place in tuple(self._places):
            waits = place.state in {State.UPLOADING, State.QUEUED} and not place.on_device
            if waits and (error := self._size_refusal(place)) is not None:
                place.interrupt(partial(_same, error))

    def drain(self, seconds: float) -> None:
        """Admit only work that fits into the grace of ``seconds`` from now."""
        self._drain_until = self._clock() + seconds
        if not self._device_thread.gate_open:
            self.abandon(draining)

    def place_freed(self) -> asyncio.Event:
        """Set as soon as a place is given back from now on."""
        return self._freed

    def abandon(self, make_error: Callable[[], ServiceError]) -> None:
        """End every request whose answer is not yet being written with this error."""
        for place in tuple(self._places):
            place.interrupt(make_error)

    def _check_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

    def _size_refusal(self, place: Place) -> ServiceError | None:
        """The error for a size that is refused. Until the picture is decoded, both of its orientations must be."""
        size = place.work.size
        if self._refused_size is None or size is None:
            return None
        error = self._refused_size(self._model_input_size(*size))
        if error is None or place.decoded:
            return error
        return error if self._refused_size(self._model_input_size(*reversed(size))) is not None else None

    def _note_size(self, place: Place, width: int, height: int) -> None:
        place.work.size = width, height
        place.work.model_input = self._model_input_size(width, height)

    def _picture_decoded(self, place: Place, width: int, height: int) -> None:
        claimed = place.work.size
        self._note_size(place, width, height)
        if claimed in {(width, height), (height, width)}:
            if (error := self._size_refusal(place)) is not None:
                raise error
        else:
            # Those whose pictures are not decoded yet get their turns behind it.
            ahead = [other for other in self._places if other.decoded and other is not place]
            self._check_work(place, complete=True, wait=self._wait_behind(ahead))

    def _place_freed(self, place: Place) -> None:
        self._places.pop(place, None)
        self._freed.set()
        self._freed = asyncio.Event()
        if place.work.tried:
            self._too_slow.trial_ended(place.worked_seconds)

    def _check_share(self, key: Hashable) -> None:
        """No key may hold more than half of the places while a request with another key waits for one."""
        if key is None or not self._returns.another_waits(key):
            return
        if sum(1 for place in self._places if place.key == key) >= max(1, self.capacity // 2):
            raise QueueFull(
                "Requests with your API key hold half of the places, and requests with other keys wait for one. "
                "Wait as long as Retry-After says, then send it again.",
                retry_after=self._return_time(key),
            )

    def _check_work(self, place: Place, *, complete: bool, wait: float | None = None) -> None:
        """Whether the request can be served in time, by all that is known of it.

        Args:
            complete: whether its body is in.
            wait: seconds that it waits for those ahead; the expected wait if not given.
        """
        if (error := self._size_refusal(place)) is not None:
            raise error
        self._check_memory(place, complete=complete)
        if wait is None:
            wait = self.expected_wait
        trial = self._too_slow.check(place.work, idle=not wait, complete=complete)
        self._check_wait(place.key, wait, self.times.expected_total(place.work), trial=trial)

    def _check_memory(self, place: Place, *, complete: bool) -> None:
        """Whether the picture fits into memory, alone and beside those that are there already.

        Until its body is in, only the most that its file may have is known, which is no reason to refuse it for good.
        """
        self.memory.check_alone(place.work if complete else replace(place.work, file_bytes=0))
        if not self._has_memory(self.memory.demand(place.work, place.ahead or WHOLE_WAY), besides=place):
            raise self._no_memory(place.key)

    def _has_memory(self, demand: Demand, *, besides: Place | None = None) -> bool:
        """Whether this much fits beside all pictures that are there; ``besides`` is its own place, if it has one."""
        others = (self.memory.demand(it.work, it.ahead) for it in self._places if it is not besides)
        return self.memory.fits(demand, others)

    def _no_memory(self, key: Hashable) -> QueueFull:
        return QueueFull(
            "The pictures that wait already leave no memory for this one. Wait as long as Retry-After says, then send "
            "it again.",
            retry_after=self._return_time(key),
        )

    def _refuse_what_does_not_fit(self) -> None:
        """What the engine needs is known now: of those that waited for it, the first that fit stay."""
        demands = {place: self.memory.demand(place.work, place.ahead) for place in self._places}
        kept = [demand for place, demand in demands.items() if place.state is not State.QUEUED]
        for place in [place for place in demands if place.state is State.QUEUED]:
            try:
                self.memory.check_alone(place.work)
                if not self.memory.fits(demands[place], kept):
                    raise self._no_memory(place.key)
            except ServiceError as error:
                place.interrupt(partial(_same, error))
            else:
                kept.append(demands[place])

    def _check_wait(self, key: Hashable, wait: float, own: float, *, trial: bool = False) -> None:
        """Whether the work ahead and ``own`` seconds of work fit the deadline, or the grace while draining."""
        if self._drain_until is not None:
            left = self._drain_until - self._clock()
            if not self._device_thread.gate_open or wait + own > left:
                raise draining()
        elif wait and not trial and (excess := wait + own - HEADROOM * self._request_timeout) > 0:
            work = f" and the {own:.1f} s that such a picture takes" if own else ""
            raise QueueFull(
                f"The expected wait of {wait:.1f} s{work} would outlast the deadline of {self._request_timeout:g} s. "
                "Wait as long as Retry-After says, then send it again.",
                retry_after=self._return_time(key, not_before=min(wait, excess)),
            )

    def _return_time(self, key: Hashable, *, not_before: float | None = None) -> float:
        """When a client that is refused now should come back; see ``ReturnTimes``."""
        codecs = self.times.recent(Stage.DECODE) + self.times.recent(Stage.FINISH)
        seconds = max(self.times.recent(Stage.INFER), codecs / self._codec_pool.threads)
        return self._returns.book(key, seconds=seconds, not_before=not_before)
