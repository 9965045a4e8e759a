"""The stages of one picture, from bytes to bytes; clients' pictures and canaries use the same code.

decode (codec pool) -> wait for a turn -> infer (device thread) -> compose, encode (codec pool)

``http.process`` and ``warmup.target`` call it. Each stage must drop its input before the next one begins, because the
bound on memory depends on that. A stage may outlast the call, because a thread cannot be cancelled: its duration and a
failure of the device are reported when it ends, whether anybody still waits for it or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from service.engines.protocol import Alpha, Engine, EngineError, EngineInfo, OutOfMemory
from service.errors import ServiceError
from service.host.out_of_memory import says_no_memory
from service.imaging import compose, decode, encode
from service.imaging.options import Options
from service.imaging.picture import Picture, Pixels
from service.inference.device_errors import DeviceErrors
from service.inference.jobs import JobEnd
from service.inference.place import Place
from service.inference.service_time import Stage

T = TypeVar("T")


class EncodedPicture:
    """The bytes of an image file, to be taken once.

    Whoever passes a picture on keeps this object, but not its bytes: they are freed as soon as they are decoded.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    @property
    def decodes_alone(self) -> bool:
        """Whether no other such picture may be decoded at the same time; the file's first bytes tell."""
        return self._data is not None and decode.decodes_alone(self._data)

    def take(self) -> bytes:
        """The bytes; this object no longer refers to them.

        Raises:
            RuntimeError: they were taken before.
        """
        data, self._data = self._data, None
        if data is None:
            raise RuntimeError("the picture was taken before")
        return data


class StageTimes:
    """Running times of the stages of one job, in seconds.

    The thread of the job writes them. The event loop may read them once the job has ended, and not before.
    """

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, stage: str, fn: Callable[[], T]) -> Callable[[], T]:
        """``fn``, its running time recorded as that of ``stage``, also if it fails."""

        def run() -> T:
            start = time.perf_counter()
            try:
                return fn()
            finally:
                self.seconds[stage] = time.perf_counter() - start

        return run


@dataclass(slots=True)
class Progress:
    """How far a picture has come; readable at any time, also after a failure or a client's departure.

    Everything here is read and written in the event loop only. So no thread can change it while it is read.
    """

    on_stage: Callable[[str, float], None] = lambda stage, seconds: None  # noqa: ARG005 - the names are the contract
    """Called with each stage that has ended and its seconds, also if the picture's client has left by then."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Running time by stage, for the stages that have ended."""
    running: bool = False
    """Whether it has had its turn at the device thread."""
    size: tuple[int, int] | None = None
    """Width and height in pixels, once decoded."""

    @property
    def running_seconds(self) -> float:
        """Time spent working, without the time spent waiting."""
        return sum(seconds for stage, seconds in self.seconds.items() if stage != "queue")

    def add(self, stage: str, seconds: float) -> None:
        """A stage has ended."""
        self.seconds[stage] = seconds
        self.on_stage(stage, seconds)

    def job_ended(self, times: StageTimes, _: JobEnd) -> None:
        """A job has ended; its stages count."""
        for stage, seconds in times.seconds.items():
            self.add(stage, seconds)


@dataclass(frozen=True, slots=True)
class CutOut:
    """A finished picture."""

    body: bytes
    content_type: str
    made_by: EngineInfo
    """The engine and the weights that made its mask."""


class Pipeline:
    """Runs pictures through an engine.

    Args:
        engine: makes the mask.
        max_pixels: width x height of an input, refused from its header before it is decoded.
        device_errors: told of failures of the device that come when nobody waits for the picture any more. All others
            are raised.
    """

    def __init__(self, engine: Engine, *, max_pixels: int, device_errors: DeviceErrors) -> None:
        self._engine = engine
        self._max_pixels = max_pixels
        self._device_errors = device_errors

    async def run(
        self,
        encoded: EncodedPicture,
        options: Options,
        *,
        place: Place,
        progress: Progress,
        on_start: Callable[[], None] | None = None,
    ) -> CutOut:
        """One picture, start to finish.

        Args:
            encoded: taken when it is decoded.
            options: what is asked for.
            place: held until every thread that works on this picture has ended.
            progress: filled as the work goes on.
            on_start: called in the event loop when its turn at the device thread comes.

        Raises:
            ServiceError: the picture or the options cannot be served; see ``service.errors``.
            EngineError: the engine failed, or there was no memory, on the device or beside it.
            compose.BadMask: the engine returned something that is no mask of this picture.
        """
        try:
            return await self._run(encoded, options, place, progress, on_start)
        except (ServiceError, EngineError):
            raise
        except Exception as error:
            if not says_no_memory(error):
                raise
            raise OutOfMemory("the process could not get the memory it asked for") from error

    async def _run(
        self,
        encoded: EncodedPicture,
        options: Options,
        place: Place,
        progress: Progress,
        on_start: Callable[[], None] | None,
    ) -> CutOut:
        engine = self._engine
        decoding, inferring, finishing = StageTimes(), StageTimes(), StageTimes()

        def decode_picture() -> Picture:
            picture = decode.decode(encoded.take(), max_pixels=self._max_pixels)
            encode.check_output_size(*picture.size, options.format)
            return picture

        picture = await place.run_in_codec_pool(
            decoding.timed("decode", decode_picture),
            stage=Stage.DECODE,
            size_of=lambda decoded: decoded.size,
            alone=encoded.decodes_alone,
            on_end=partial(progress.job_ended, decoding),
        )
        progress.size = picture.size
        place.note_size(*picture.size)
        waiting_since = time.perf_counter()

        def start() -> None:
            progress.add("queue", time.perf_counter() - waiting_since)
            progress.running = True
            if on_start is not None:
                on_start()

        def infer() -> tuple[Alpha, EngineInfo]:
            alpha, made_by = engine.infer(picture.rgb), engine.info
            if made_by is None:
                raise RuntimeError("an engine that is not loaded made a mask")
            return alpha, made_by

        def inferred(end: JobEnd) -> None:
            progress.job_ended(inferring, end)
            if end.abandoned and end.error is not None:
                self._device_errors.report_picture(end.error, progress.size)

        alpha, made_by = await place.run_on_device(
            inferring.timed("infer", infer), on_start=start, on_end=inferred
        )

        def compose_pixels() -> Pixels:
            return compose.compose(picture, alpha, options, engine.foreground)

        def finish() -> bytes:
            pixels = finishing.timed("compose", compose_pixels)()
            return finishing.timed("encode", lambda: encode.encode(pixels, options.format, picture.icc))()

        body = await place.run_in_codec_pool(
            finish, stage=Stage.FINISH, on_end=partial(progress.job_ended, finishing)
        )
        return CutOut(body, options.format.content_type, made_by)
