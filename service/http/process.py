"""``POST /process``: a picture in, a cut-out out."""

from __future__ import annotations

import asyncio
import math
from contextlib import ExitStack, suppress

from aiohttp import hdrs, web

from metrics import Metrics
from service.engines.protocol import DeviceError, Engine, EngineError, OutOfMemory
from service.errors import DeadlineExceeded, Unavailable
from service.http import body, parameters
from service.http.api_keys import ApiKeys
from service.http.middleware import DISCONNECT_STAGE, DISCONNECTED
from service.http.slow_clients import SlowClients
from service.imaging.compose import BadMask
from service.imaging.options import Options
from service.inference.pipeline import CutOut, Pipeline, Progress
from service.inference.place import Place
from service.inference.worker import Worker
from service.settings import Settings
from service.warmup.target import EngineTarget


class Process:
    """``POST /process``: a picture in, a cut-out out."""

    def __init__(
        self,
        *,
        settings: Settings,
        engine: Engine,
        pipeline: Pipeline,
        worker: Worker,
        target: EngineTarget,
        keys: ApiKeys,
        metrics: Metrics,
        slow_clients: SlowClients,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._pipeline = pipeline
        self._worker = worker
        self._target = target
        self._keys = keys
        self._metrics = metrics
        self._slow_clients = slow_clients

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Check what needs no body, take a place, read the body, run the picture, write the answer."""
        request[DISCONNECT_STAGE] = "upload"
        await self._keys.check(request)
        if not body.is_multipart(request):  # the fields of a form may complete what the query says
            parameters.parse(request.query.items())
        body.check_headers(request, self._settings.max_upload_bytes)
        if self._worker.taken >= self._worker.capacity:
            self._slow_clients.evict_slowest()
        with ExitStack() as holding:
            place = holding.enter_context(self._worker.place())
            received = await self._receive(request, holding)
            wanted = parameters.parse([*request.query.items(), *received.fields])
            place.queue_up()
            progress = Progress()
            # Handed over, not kept: the encoded picture is let go of once it is decoded.
            image, received = received.image, body.Body(b"", ())
            running = self._run(request, image, wanted, place, progress)
            del image
            cut_out = await running
            return await self._respond(request, cut_out, progress, holding)

    async def _receive(self, request: web.Request, holding: ExitStack) -> body.Body:
        """Read the body, at the client's pace as long as nobody waits for the place that ``holding`` gives back."""
        loop = asyncio.get_running_loop()
        deadline = asyncio.timeout(self._settings.read_timeout)

        def end() -> None:
            holding.close()
            with suppress(RuntimeError):  # it expires this very moment, or has not begun
                deadline.reschedule(loop.time())

        with self._slow_clients.watch(moved_bytes=lambda: request.content.total_bytes, end=end) as transfer:
            await body.send_continue(request)
            received = await body.read(
                request, max_upload_bytes=self._settings.max_upload_bytes, deadline=deadline
            )
        if transfer.evicted:  # its last bytes came together with the request that needed the place
            raise body.too_slow()
        return received

    async def _run(
        self, request: web.Request, image: bytes, wanted: Options, place: Place, progress: Progress
    ) -> CutOut:
        request[DISCONNECT_STAGE] = "queue"

        def on_start() -> None:
            request[DISCONNECT_STAGE] = "run"

        run = self._pipeline.run(image, wanted, place=place, progress=progress, on_start=on_start)
        del image
        deadline = asyncio.timeout(self._settings.request_timeout)
        try:
            async with deadline:
                return await run
        except TimeoutError:
            if not deadline.expired():
                raise
            raise DeadlineExceeded(
                f"The deadline of {self._settings.request_timeout:g} s passed "
                f"{'while the picture was being worked on' if progress.running else 'before its turn came'}.",
                retry_after=self._worker.expected_seconds or 1,
            ) from None
        except EngineError as error:
            self._target.note_device_error(error)
            raise _unavailable(error) from error
        except BadMask as error:
            raise Unavailable(
                "The model returned an unusable mask for this picture.", retry_after=30
            ) from error
        finally:
            for stage, seconds in progress.seconds.items():
                self._metrics.stage_duration_seconds.labels(stage=stage).observe(seconds)
            if progress.size is not None:
                self._metrics.input_pixels.observe(math.prod(progress.size))

    async def _respond(
        self, request: web.Request, cut_out: CutOut, progress: Progress, holding: ExitStack
    ) -> web.StreamResponse:
        """Write the answer while the place is still held: its bytes count as memory until they are gone."""
        request[DISCONNECT_STAGE] = "response"
        response = web.Response(body=cut_out.body, content_type=cut_out.content_type)
        response.headers["X-Engine"] = self._engine.name
        response.headers["Server-Timing"] = ", ".join(
            f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in progress.seconds.items()
        )
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        transport, size = request.transport, len(cut_out.body)

        def cut_off() -> None:
            request[DISCONNECTED] = True
            if transport is not None:
                transport.abort()

        def moved() -> int:
            return max(0, size - (transport.get_write_buffer_size() if transport is not None else 0))

        def end() -> None:
            holding.close()
            cut_off()

        try:
            with self._slow_clients.watch(moved_bytes=moved, end=end):
                async with asyncio.timeout(self._settings.request_timeout):
                    await response.prepare(request)
                    await response.write_eof()
        except (ConnectionError, TimeoutError):  # it has gone, or it takes no more
            cut_off()
        return response


def _unavailable(error: EngineError) -> Unavailable:
    if isinstance(error, OutOfMemory):
        return Unavailable(
            "The device had no room for this picture. Send it again, or send it smaller.", retry_after=5
        )
    if isinstance(error, DeviceError) and error.sticky:
        return Unavailable("The device has failed; the service is restarting.", retry_after=30)
    return Unavailable("The engine failed on this picture. Send it again.", retry_after=5)
