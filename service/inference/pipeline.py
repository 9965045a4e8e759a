"""The stages of one picture, from bytes to bytes; clients' pictures and canaries use the same code.

decode (codec pool) -> wait for a turn -> infer (device thread) -> compose, encode (codec pool)

``http.process`` and ``warmup.target`` call it. Each stage must drop its input before the next one begins, because the
bound on memory depends on that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from service.engines.protocol import Alpha, Engine, EngineError, OutOfMemory
from service.errors import ServiceError
from service.host.out_of_memory import is_out_of_memory
from service.imaging import compose, decode, encode
from service.imaging.options import Options
from service.imaging.picture import Picture, Pixels
from service.inference.place import Place

T = TypeVar("T")


class EncodedPicture:
    """The bytes of an image file, to be taken once.

    Whoever passes a picture on keeps this object, but not its bytes: they are freed as soon as they are decoded.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    def take(self) -> bytes:
        """The bytes; this object no longer refers to them.

        Raises:
            RuntimeError: they were taken before.
        """
        data, self._data = self._data, None
        if data is None:
            raise RuntimeError("the picture was taken before")
        return data


@dataclass(slots=True)
class Progress:
    """How far a picture has come; readable at any time, also after a failure or a client's departure."""

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

    def timed(self, stage: str, fn: Callable[[], T]) -> Callable[[], T]:
        """``fn``, its running time recorded as that of ``stage``, in whatever thread it runs."""

        def run() -> T:
            start = time.perf_counter()
            try:
                return fn()
            finally:
                self.seconds[stage] = time.perf_counter() - start

        return run


@dataclass(frozen=True, slots=True)
class CutOut:
    """A finished picture."""

    body: bytes
    content_type: str


class Pipeline:
    """Runs pictures through an engine.

    Args:
        engine: makes the mask.
        max_pixels: width x height of an input, refused from its header before it is decoded.
    """

    def __init__(self, engine: Engine, *, max_pixels: int) -> None:
        self._engine = engine
        self._max_pixels = max_pixels

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
            if not is_out_of_memory(error):
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

        def decode_picture() -> Picture:
            picture = decode.decode(encoded.take(), max_pixels=self._max_pixels)
            height, width = picture.rgb.shape[:2]
            encode.check_output_size(width, height, options.format)
            return picture

        picture = await place.run_in_codec_pool(progress.timed("decode", decode_picture))
        height, width = picture.rgb.shape[:2]
        progress.size = (width, height)
        waiting_since = time.perf_counter()

        def start() -> None:
            progress.seconds["queue"] = time.perf_counter() - waiting_since
            progress.running = True
            if on_start is not None:
                on_start()

        def infer() -> Alpha:
            return engine.infer(picture.rgb)

        alpha = await place.run_on_device(progress.timed("infer", infer), on_start=start)

        def compose_pixels() -> Pixels:
            return compose.compose(picture, alpha, options, engine.foreground)

        def finish() -> bytes:
            pixels = progress.timed("compose", compose_pixels)()
            return progress.timed("encode", lambda: encode.encode(pixels, options.format, picture.icc))()

        return CutOut(await place.run_in_codec_pool(finish), options.format.content_type)
