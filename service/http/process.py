"""``POST /process``: a picture in, a cut-out out.

``app`` registers the handler; each request becomes one ``PictureRequest``, which holds everything that belongs to it. A
place is taken before the body is read and kept until the answer is written: the bound on memory depends on that.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

from aiohttp import hdrs, web

from metrics import Metrics
from service.engines.protocol import DeviceError, EngineError, OutOfMemory
from service.errors import DeadlineExceeded, ServiceError, Unavailable
from service.http import body, parameters
from service.http.api_keys import ApiKeys
from service.http.middleware import DISCONNECT_STAGE, DISCONNECTED
from service.http.slow_clients import SlowClients
from service.imaging.decode import check_size
from service.imaging.header import Header
from service.imaging.mask import BadMask
from service.imaging.options import Options
from service.imaging.placement import Box
from service.imaging.subject import Subject
from service.inference.admission import Admission
from service.inference.device_errors import DeviceErrors, device_lost
from service.inference.pipeline import CutOut, Pipeline, Progress
from service.inference.place import Place
from service.settings import Settings


class ProcessHandler:
    """Answers ``POST /process``.

    Args:
        settings: time and size limits.
        pipeline: makes the cut-out.
        admission: gives the place.
        device_errors: told of failures of the device.
        keys: who may send pictures.
        metrics: stages and input sizes are recorded here.
        slow_clients: ends the slowest transfer when no place is free.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        pipeline: Pipeline,
        admission: Admission,
        device_errors: DeviceErrors,
        keys: ApiKeys,
        metrics: Metrics,
        slow_clients: SlowClients,
    ) -> None:
        self.settings = settings
        self.pipeline = pipeline
        self.admission = admission
        self.device_errors = device_errors
        self.keys = keys
        self.metrics = metrics
        self.slow_clients = slow_clients

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Check what needs no body, take a place, read the body, run the picture, write the answer."""
        request[DISCONNECT_STAGE] = "upload"
        key = await self.keys.check(request)
        if not body.is_multipart(request):  # the fields of a form may complete what the query says
            parameters.check_background(parameters.parse(request.query.items()), given=False)
        body.check_headers(request, self.settings.max_upload_bytes)
        with self.admission.take_place(key=key, make_room=self.slow_clients.evict_slowest) as place:
            return await PictureRequest(self, request, place).answer()


class PictureRequest:
    """One request that holds a place, from the first byte of its body to the last byte of its answer.

    Args:
        handler: what every request shares.
        http: the request; its headers have been checked.
        place: held; the caller releases it.
    """

    def __init__(self, handler: ProcessHandler, http: web.Request, place: Place) -> None:
        self._handler = handler
        self._http = http
        self._place = place
        self._progress = Progress(on_stage=self._record_stage)

    async def answer(self) -> web.StreamResponse:
        """Read the body, run the picture, write the answer."""
        received = await self._receive()
        options = parameters.parse([*self._http.query.items(), *received.fields])
        parameters.check_background(options, given=received.background is not None)
        self._handler.admission.enqueue(self._place, options.work)
        cut_out = await self._run(received, options)
        return await self._respond(cut_out)

    async def _receive(self) -> body.Body:
        """Read the body, at the client's pace as long as no other request needs the place."""
        loop = asyncio.get_running_loop()
        settings = self._handler.settings
        deadline = asyncio.timeout(settings.read_timeout)

        def give_up() -> None:
            self._place.release()
            with suppress(RuntimeError):  # the deadline expires at this very moment, or has not begun
                deadline.reschedule(loop.time())

        content = self._http.content
        with self._handler.slow_clients.watch(
            moved_bytes=lambda: content.total_bytes, end=give_up
        ) as transfer:
            await body.send_continue(self._http)
            received = await body.read(
                self._http,
                max_upload_bytes=settings.max_upload_bytes,
                deadline=deadline,
                on_header=self._header_read,
            )
        if transfer.evicted:  # its last bytes arrived together with the request that needed the place
            raise body.too_slow()
        return received

    def _header_read(self, header: Header) -> None:
        """Refuse a picture while its body is on the way, if its header says that it cannot be served."""
        if header.size is not None:
            check_size(header.size, self._handler.settings.max_pixels)
        self._handler.admission.header_read(self._place, header.format, header.size)

    async def _run(self, received: body.Body, options: Options) -> CutOut:
        self._http[DISCONNECT_STAGE] = "queue"

        def on_start() -> None:
            self._http[DISCONNECT_STAGE] = "run"

        deadline = asyncio.timeout(self._handler.settings.request_timeout)
        try:
            async with deadline:
                return await self._handler.pipeline.run(
                    received.image,
                    options,
                    place=self._place,
                    progress=self._progress,
                    background=received.background,
                    on_start=on_start,
                )
        except TimeoutError:
            if not deadline.expired():
                raise
            raise self._too_late() from None
        except ServiceError:
            raise
        except EngineError as error:
            self._handler.device_errors.report_picture(error, self._progress.size)
            raise _unavailable(error) from error
        except BadMask as error:
            self._handler.device_errors.report_picture(error, self._progress.size)
            raise Unavailable(
                "The model returned an unusable mask for this picture.", retry_after=30
            ) from error
        except Exception as error:
            self._handler.device_errors.report_picture(error, self._progress.size)
            raise
        finally:
            if self._progress.size is not None:
                self._handler.metrics.input_pixels.observe(math.prod(self._progress.size))

    def _too_late(self) -> DeadlineExceeded:
        when = "while the picture was being worked on" if self._progress.running else "before its turn came"
        return DeadlineExceeded(
            f"The deadline of {self._handler.settings.request_timeout:g} s passed {when}.",
            retry_after=self._handler.admission.expected_wait or 1,
        )

    def _record_stage(self, stage: str, seconds: float) -> None:
        """Called when a stage ends, which may be after the client has had its answer or has left."""
        self._handler.metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)

    async def _respond(self, cut_out: CutOut) -> web.StreamResponse:
        """Write the answer while the place is still held: its bytes count as memory until they are gone."""
        self._http[DISCONNECT_STAGE] = "response"
        response = web.Response(body=cut_out.body, content_type=cut_out.content_type)
        response.headers["X-Engine"] = cut_out.made_by.engine
        response.headers["X-Weights"] = cut_out.made_by.weights_id
        response.headers.update(subject_headers(cut_out.subject))
        response.headers["Server-Timing"] = ", ".join(
            f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in self._progress.seconds.items()
        )
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        transport, size = self._http.transport, len(cut_out.body)

        def cut_off() -> None:
            self._http[DISCONNECTED] = True
            if transport is not None:
                transport.abort()

        def moved() -> int:
            return max(0, size - (transport.get_write_buffer_size() if transport is not None else 0))

        def give_up() -> None:
            self._place.release()
            cut_off()

        try:
            with self._handler.slow_clients.watch(moved_bytes=moved, end=give_up):
                async with asyncio.timeout(self._handler.settings.request_timeout):
                    await response.prepare(self._http)
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


def _unavailable(error: EngineError) -> Unavailable:
    if isinstance(error, OutOfMemory):
        return Unavailable(
            "The device had no room for this picture. Send it again, or send it smaller.", retry_after=5
        )
    if isinstance(error, DeviceError) and error.sticky:
        return device_lost()
    return Unavailable("The engine failed on this picture. Send it again.", retry_after=5)
