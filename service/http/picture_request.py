"""The way of a picture through HTTP, whatever contract its request follows: place, body, cut-out, answer.

``app`` makes one ``PictureHandler`` for each contract: ``process`` is the service's own, ``removebg`` and ``rembg``
are those of other services. Each request becomes one ``PictureRequest``, which holds everything that belongs to it. A
place is taken before the body is read and kept until the answer is written: the bound on memory depends on that.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol, TypeVar

from aiohttp import hdrs, web

from metrics import Metrics
from service.engines.protocol import DeviceError, EngineError, OutOfMemory
from service.errors import DeadlineExceeded, DownloadFailed, ServiceError, Unavailable
from service.http import body
from service.http.api_keys import ApiKeys
from service.http.header_watch import HeaderWatch
from service.http.middleware import DISCONNECT_STAGE, DISCONNECTED, SPAN
from service.http.remote_picture import RemotePictures
from service.http.slow_clients import SlowClients
from service.imaging.decode import check_size
from service.imaging.header import Header
from service.imaging.mask import BadMask
from service.imaging.options import Options
from service.imaging.placement import Box
from service.imaging.subject import Subject
from service.inference.admission import Admission
from service.inference.device_errors import DeviceErrors, device_lost
from service.inference.pipeline import (
    CutOut,
    EncodedPicture,
    Pipeline,
    Progress,
    StageEnd,
    join_queue,
)
from service.inference.place import Place
from service.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for."""

    image: EncodedPicture
    options: Options
    background: EncodedPicture | None = None
    """For ``Output.BACKGROUND``."""


class Contract(Protocol):
    """How a client says what it wants, and what its answer looks like. One object serves all requests."""

    def check_head(self, http: web.Request) -> None:
        """Refuse what needs no body to be refused; called before a place is taken."""
        ...

    async def receive(self, request: PictureRequest) -> Asked:
        """Read the body, with the help of the request: it holds a place, and knows the limits of time."""
        ...

    async def render(self, request: PictureRequest, cut_out: CutOut) -> web.Response:
        """The answer; the headers that every answer with a picture carries are added to it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureParts:
    """What all contracts share."""

    settings: Settings
    """Time and size limits."""
    pipeline: Pipeline
    """Makes the cut-out."""
    admission: Admission
    """Gives the place."""
    device_errors: DeviceErrors
    """Told of failures of the device."""
    keys: ApiKeys
    """Who may send pictures."""
    metrics: Metrics
    """Stages and input sizes are recorded here."""
    slow_clients: SlowClients
    """Ends the slowest transfer when no place is free."""

    def most_body_bytes(self, http: web.Request) -> int:
        """What the body of a request may take: its declared length, or the most that is allowed."""
        if not http.can_read_body:
            return 0
        return self.settings.max_upload_bytes if http.content_length is None else http.content_length


class PictureHandler:
    """Answers the requests of one contract."""

    def __init__(self, contract: Contract, parts: PictureParts) -> None:
        self.contract = contract
        self.parts = parts

    async def answer(self, http: web.Request) -> web.StreamResponse:
        """Check what needs no body, take a place, read the body, run the picture, write the answer."""
        http[DISCONNECT_STAGE] = "upload"
        parts = self.parts
        key = await parts.keys.check(http)
        self.contract.check_head(http)
        with parts.admission.take_place(
            key=key, body_bytes=parts.most_body_bytes(http), make_room=parts.slow_clients.evict_slowest
        ) as place:
            return await PictureRequest(self.contract, parts, http, place).answer()


class PictureRequest:
    """One request that holds a place, from the first byte of its body to the last byte of its answer.

    Args:
        contract: reads the body and makes the answer.
        parts: what every request shares.
        http: the request; its headers have been checked.
        place: held; the caller releases it.
    """

    def __init__(self, contract: Contract, parts: PictureParts, http: web.Request, place: Place) -> None:
        self.http = http
        self._contract = contract
        self._parts = parts
        self._place = place
        self._span = http[SPAN]
        self._progress = Progress(on_stage=self._record_stage)

    async def answer(self) -> web.StreamResponse:
        """Read the body, run the picture, write the answer."""
        asked = await self._contract.receive(self)
        await self._in_time(
            join_queue(
                self._parts.admission, self._place, asked.image, asked.options, background=asked.background
            )
        )
        cut_out = await self._run(asked)
        return await self._respond(await self._contract.render(self, cut_out), cut_out)

    # -- for contracts -------------------------------------------------------------------------------------------

    async def upload(self, read: Callable[[asyncio.Timeout], Awaitable[T]]) -> T:
        """Read the body, at the client's pace as long as no other request needs the place.

        Args:
            read: enters the deadline that it is given, and says what its expiry means.
        """
        content = self.http.content

        async def invited(deadline: asyncio.Timeout) -> T:
            await body.send_continue(self.http)
            return await read(deadline)

        return await self.transfer(invited, moved_bytes=lambda: content.total_bytes)

    async def read_body(self, max_upload_bytes: int, text_fields: Collection[str] | None = None) -> body.Body:
        """Read a form or the bytes of a picture, as every contract reads them that has no limits of its own.

        ``text_fields`` are those of ``body.read``.
        """
        return await self.upload(
            lambda deadline: body.read(
                self.http,
                max_upload_bytes=max_upload_bytes,
                deadline=deadline,
                on_header=self.header_read,
                text_fields=text_fields,
            )
        )

    async def transfer(
        self, read: Callable[[asyncio.Timeout], Awaitable[T]], *, moved_bytes: Callable[[], int]
    ) -> T:
        """Read what comes from outside, at its pace as long as no other request needs the place.

        Args:
            read: as for ``upload``.
            moved_bytes: how much has come so far.
        """
        loop = asyncio.get_running_loop()
        deadline = asyncio.timeout(self._parts.settings.read_timeout)

        def give_up() -> None:
            self._place.release()
            with suppress(RuntimeError):  # the deadline expires at this very moment, or has not begun
                deadline.reschedule(loop.time())

        with self._parts.slow_clients.watch(moved_bytes=moved_bytes, end=give_up) as transfer:
            received = await read(deadline)
        if transfer.evicted:  # its last bytes arrived together with the request that needed the place
            raise body.too_slow()
        return received

    async def fetch(
        self,
        remote: RemotePictures,
        address: str,
        *,
        max_bytes: int,
        on_header: Callable[[Header], None] = lambda _: None,
    ) -> bytes:
        """Fetch a picture by its address, within the time of an upload.

        Raises:
            BadAddress, DownloadFailed, TooLarge: as ``RemotePictures.fetch``; it also fails if it takes too long.
            QueueFull: there is no memory for it.
        """
        self._parts.admission.body_grows(self._place, max_bytes)
        watch, arrived = HeaderWatch(on_header), 0

        def on_bytes(buffer: BytesIO) -> None:
            nonlocal arrived
            arrived = buffer.tell()
            watch.look(buffer)

        async def read(deadline: asyncio.Timeout) -> bytes:
            try:
                async with deadline:
                    return await remote.fetch(
                        address, max_bytes=max_bytes, on_bytes=on_bytes, span=self._span
                    )
            except TimeoutError:
                raise DownloadFailed(
                    "The picture could not be fetched: its host did not send it in time. Send the picture itself."
                ) from None

        return await self.transfer(read, moved_bytes=lambda: arrived)

    def header_read(self, header: Header) -> None:
        """Refuse a picture while its body is on the way, if its header says that it cannot be served."""
        if header.size is not None:
            check_size(header.size, self._parts.settings.max_pixels)
        self._parts.admission.header_read(self._place, header.format, header.size)

    async def beside_loop(self, work: Callable[[], T]) -> T:
        """Run work on many bytes in the codec pool, while the request holds its place.

        Raises:
            DeadlineExceeded: it had not ended in the time that a request has.
            Unavailable: there was not enough memory for it.
            Exception: what ``work`` raises.
        """
        try:
            return await self._in_time(self._place.run_in_codec_pool(work))
        except MemoryError as error:
            raise _unavailable(OutOfMemory("no memory for the bytes of a request")) from error

    # -- the rest of the way -------------------------------------------------------------------------------------

    async def _run(self, asked: Asked) -> CutOut:
        self.http[DISCONNECT_STAGE] = "queue"

        def on_start() -> None:
            self.http[DISCONNECT_STAGE] = "run"

        try:
            return await self._in_time(
                self._parts.pipeline.run(
                    asked.image,
                    asked.options,
                    place=self._place,
                    progress=self._progress,
                    background=asked.background,
                    on_start=on_start,
                )
            )
        except EngineError as error:
            self._parts.device_errors.report_picture(error, self._progress.size)
            raise _unavailable(error) from error
        except BadMask as error:
            self._parts.device_errors.report_picture(error, self._progress.size)
            raise Unavailable(
                "The model returned an unusable mask for this picture.", retry_after=30
            ) from error
        except ServiceError:
            raise
        except Exception as error:
            self._parts.device_errors.report_picture(error, self._progress.size)
            raise
        finally:
            if self._progress.size is not None:
                self._parts.metrics.input_pixels.observe(math.prod(self._progress.size))

    async def _in_time(self, work: Coroutine[object, object, T]) -> T:
        """Await work for a request whose body is in, until its deadline.

        Raises:
            DeadlineExceeded: the deadline has passed.
        """
        deadline = asyncio.timeout(self._parts.settings.request_timeout)
        try:
            async with deadline:
                return await work
        except TimeoutError:
            if not deadline.expired():
                raise
            raise self._too_late() from None

    def _too_late(self) -> DeadlineExceeded:
        when = "while the picture was being worked on" if self._progress.running else "before its turn came"
        return DeadlineExceeded(
            f"The deadline of {self._parts.settings.request_timeout:g} s passed {when}.",
            retry_after=self._parts.admission.expected_wait or 1,
        )

    def _record_stage(self, stage: StageEnd) -> None:
        """Called when a stage ends, which may be after the client has had its answer or has left."""
        self._span.stage(*stage)
        self._parts.metrics.stage_duration_seconds.labels(stage=stage.name).observe(
            stage.seconds, self._span.exemplar
        )

    async def _respond(self, response: web.Response, cut_out: CutOut) -> web.StreamResponse:
        """Write the answer while the place is still held: its bytes count as memory until they are gone."""
        self.http[DISCONNECT_STAGE] = "response"
        response.headers["X-Engine"] = cut_out.made_by.engine
        response.headers["X-Weights"] = cut_out.made_by.weights_id
        response.headers.update(subject_headers(cut_out.subject))
        response.headers["Server-Timing"] = ", ".join(
            f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in self._progress.seconds.items()
        )
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        transport, size = self.http.transport, response.content_length or 0

        def cut_off() -> None:
            self.http[DISCONNECTED] = True
            if transport is not None:
                transport.abort()

        def moved() -> int:
            return max(0, size - (transport.get_write_buffer_size() if transport is not None else 0))

        def give_up() -> None:
            self._place.release()
            cut_off()

        try:
            with self._parts.slow_clients.watch(moved_bytes=moved, end=give_up):
                async with asyncio.timeout(self._parts.settings.request_timeout):
                    await response.prepare(self.http)
                    await response.write_eof()
        except (ConnectionError, TimeoutError):  # the client has gone, or takes no more bytes
            cut_off()
        return response


def subject_headers(subject: Subject) -> dict[str, str]:
    """What an answer says of the subject: its box in the upright input (all 0 if there is none), and the doubts."""
    box = subject.box or Box(0, 0, 0, 0)
    return {
        "X-Foreground-Top": str(box.top),
        "X-Foreground-Left": str(box.left),
        "X-Foreground-Width": str(box.width),
        "X-Foreground-Height": str(box.height),
        "X-Uncertainty": f"{subject.uncertainty:.4f}",
    }


async def picture_response(_: PictureRequest, cut_out: CutOut) -> web.Response:
    """The cut-out itself, for contracts that add nothing to it."""
    return web.Response(body=cut_out.body, content_type=cut_out.content_type)


def _unavailable(error: EngineError) -> Unavailable:
    if isinstance(error, OutOfMemory):
        return Unavailable(
            "The device had no room for this picture. Send it again, or send it smaller.", retry_after=5
        )
    if isinstance(error, DeviceError) and error.sticky:
        return device_lost()
    return Unavailable("The engine failed on this picture. Send it again.", retry_after=5)
