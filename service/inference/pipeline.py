"""Bytes in, bytes out: the one path that every picture takes, a client's and a probe's.

decode (pool) -> wait for a turn -> infer (GPU thread) -> compose, encode (pool)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from service.engines.protocol import Alpha, Engine, OutOfMemory
from service.imaging import compose, decode, encode
from service.imaging.options import Options
from service.imaging.picture import Picture
from service.inference.place import Kind, Place

T = TypeVar("T")

STAGES = ("queue", "decode", "infer", "compose", "encode")


@dataclass(slots=True)
class Progress:
    """How far a picture has come; readable at any time, also after a failure or a client's departure."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Running time by stage, for the stages that have ended."""
    running: bool = False
    """Whether it has had its turn at the GPU thread."""
    size: tuple[int, int] | None = None
    """Width and height in pixels, once decoded."""
    model_input_size: tuple[int, int] | None = None
    """Width and height fed to the network, once decoded."""

    @property
    def running_seconds(self) -> float:
        """Time spent working, without the waiting."""
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
        data: bytes,
        options: Options,
        *,
        place: Place,
        progress: Progress,
        kind: Kind = Kind.REQUEST,
        on_start: Callable[[], None] | None = None,
    ) -> CutOut:
        """One picture, start to finish.

        Args:
            data: an encoded image. Dropped once decoded: callers should keep no reference of their own.
            options: what is asked for.
            place: held until every thread that works on this picture has ended.
            progress: filled as the work goes on.
            kind: decides the turn.
            on_start: called in the loop when its turn at the GPU thread comes.

        Raises:
            ServiceError: the picture or the wish cannot be met; see ``service.errors``.
            EngineError: the engine failed, or there was no memory, on the device or beside it.
            compose.BadMask: the engine returned something that is no mask of this picture.
        """
        running = self._run(data, options, place=place, progress=progress, kind=kind, on_start=on_start)
        del data
        try:
            return await running
        except MemoryError as error:
            raise OutOfMemory("the process could not get the memory it asked for") from error

    async def _run(
        self,
        data: bytes,
        options: Options,
        *,
        place: Place,
        progress: Progress,
        kind: Kind,
        on_start: Callable[[], None] | None,
    ) -> CutOut:
        engine = self._engine
        picture = await place.in_pool(progress.timed("decode", _Decode(data, self._max_pixels, options)))
        del data
        height, width = picture.rgb.shape[:2]
        progress.size = (width, height)
        progress.model_input_size = engine.model_input_size(width, height)

        waiting_since = time.perf_counter()

        def start() -> None:
            progress.seconds["queue"] = time.perf_counter() - waiting_since
            progress.running = True
            if on_start is not None:
                on_start()

        def infer() -> Alpha:
            return engine.infer(picture.rgb)

        alpha = await place.in_gpu_thread(progress.timed("infer", infer), kind=kind, on_start=start)

        def finish() -> bytes:
            image = progress.timed(
                "compose", lambda: compose.compose(picture, alpha, options, engine.foreground)
            )()
            return progress.timed("encode", lambda: encode.encode(image, options.format, picture.icc))()

        body = await place.in_pool(finish)
        return CutOut(body, options.format.content_type)


class _Decode:
    """Decoding as a callable that lets go of the bytes as soon as it has run."""

    def __init__(self, data: bytes, max_pixels: int, options: Options) -> None:
        self._data: bytes | None = data
        self._max_pixels = max_pixels
        self._options = options

    def __call__(self) -> Picture:
        data, self._data = self._data, None
        assert data is not None  # noqa: S101 - runs once
        picture = decode.decode(data, max_pixels=self._max_pixels)
        height, width = picture.rgb.shape[:2]
        encode.check_output_size(width, height, self._options.format)
        return picture
