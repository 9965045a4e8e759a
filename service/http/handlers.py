"""One handler for each path; what they need comes in by the constructor."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from metrics import Metrics
from service.engines.protocol import DeviceError, Engine, EngineError, OutOfMemory
from service.errors import DeadlineExceeded, Unavailable
from service.http import body, parameters
from service.http.api_keys import KeyRing
from service.http.middleware import DISCONNECT_STAGE, DISCONNECTED
from service.http.slow_clients import Transfers
from service.imaging.compose import BadMask
from service.imaging.options import Options
from service.inference.pipeline import CutOut, Pipeline, Progress
from service.inference.place import Place
from service.inference.worker import Worker
from service.lifecycle import Lifecycle
from service.settings import Settings
from service.warmup.target import EngineTarget
from supervisor import Snapshot, Supervisor


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
        keys: KeyRing,
        metrics: Metrics,
        transfers: Transfers,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._pipeline = pipeline
        self._worker = worker
        self._target = target
        self._keys = keys
        self._metrics = metrics
        self._transfers = transfers

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Check what needs no body, take a place, read the body, run the picture, write the answer."""
        request[DISCONNECT_STAGE] = "upload"
        await self._keys.check(request)
        if not body.is_multipart(request):  # the fields of a form may complete what the query says
            parameters.parse(request.query.items())
        body.check_declared(request, self._settings.max_upload_bytes)
        if self._worker.taken >= self._worker.capacity:
            self._transfers.make_way()
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

        with self._transfers.transfer(moved=lambda: request.content.total_bytes, end=end) as transfer:
            await body.invite(request)
            received = await body.read(
                request, max_upload_bytes=self._settings.max_upload_bytes, deadline=deadline
            )
        if transfer.gave_way:  # its last bytes came together with the one who needed the place
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
            with self._transfers.transfer(moved=moved, end=end):
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


class Warmth:
    """``/warmup`` and ``/readyz``: what the supervisor knows, in the words of its contract."""

    def __init__(
        self,
        supervisor: Supervisor,
        target: EngineTarget,
        *,
        settings: Settings,
        engine: Engine,
        canary_side: int,
    ) -> None:
        self._supervisor = supervisor
        self._target = target
        self._settings = settings
        self._engine = engine
        self._canary_side = canary_side

    async def get(self, _: web.Request) -> web.Response:
        """The last evidence, at once."""
        return self._answer(self._supervisor.snapshot())

    async def post(self, _: web.Request) -> web.Response:
        """Join the probe under way or start one, and wait for it."""
        return self._answer(await self._supervisor.demand())

    async def readyz(self, _: web.Request) -> web.Response:
        """Whether to send requests here; never runs inference."""
        snapshot = self._supervisor.snapshot()
        ready = self._supervisor.ready
        return _json(
            {"status": "ready" if ready else "not ready", "state": snapshot.state.value},
            status=200 if ready else 503,
            retry_after=None if ready else snapshot.retry_after or 1,
        )

    def _answer(self, snapshot: Snapshot) -> web.Response:
        info = self._target.info
        answer = snapshot.as_dict() | {
            "container_ready": True,
            "endpoint": "/warmup",
            "engine": info.engine if info else self._engine.name,
            "fallback": info.fallback if info else None,
            "fallback_reason": info.fallback_reason if info else None,
            "device": info.device if info else None,
            "precision": info.precision if info else None,
            "precision_reason": info.precision_reason if info else None,
            "mode": info.mode if info else self._settings.mode,
            "resize": info.resize if info else self._settings.resize,
            "weights": info.weights if info else self._settings.weights_kind,
            "weights_note": info.weights_note if info else None,
            "image_size": [self._canary_side, self._canary_side],
            "configured_warmup_size": self._settings.warmup_size,
            "model_input_size": list(self._engine.model_input_size(self._canary_side, self._canary_side)),
        }
        return _json(answer, status=snapshot.http_status, retry_after=snapshot.retry_after)


class Live:
    """``GET /livez``: 503 only for what a restart alone can mend."""

    def __init__(self, worker: Worker, lifecycle: Lifecycle) -> None:
        self._worker = worker
        self._lifecycle = lifecycle

    async def get(self, _: web.Request) -> web.Response:
        """That the event loop answers is most of the proof."""
        if (reason := self._lifecycle.dead or self._worker.stuck) is not None:
            return _json({"status": "dead", "reason": reason}, status=503)
        return _json({"status": "alive"})


class Scrape:
    """``GET /metrics``: Prometheus text, OpenMetrics when asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def get(self, request: web.Request) -> web.Response:
        """Collected beside the loop: it reads /proc, and hundreds of series take milliseconds to write out."""
        try:
            encode, content_type = choose_encoder(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        except (TypeError, ValueError):  # a version that is none: the library compares it all the same
            encode, content_type = choose_encoder("")
        body = await asyncio.to_thread(encode, self._registry)
        response = web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
        response.enable_compression()
        return response


def _json(answer: Mapping[str, Any], *, status: int = 200, retry_after: float | None = None) -> web.Response:
    response = web.json_response(answer, status=status)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    if retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(retry_after)))
    return response
