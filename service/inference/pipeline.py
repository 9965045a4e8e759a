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
from typing import NamedTuple, TypeVar

from service.engines.protocol import Engine, EngineError, EngineInfo, Mask, OutOfMemory
from service.errors import BadDimensions, NoSubject, ServiceError
from service.host.out_of_memory import says_no_memory
from service.imaging import compose, decode, encode
from service.imaging.header import HEADER_BYTES, read_header
from service.imaging.mask import check_mask, keep_only
from service.imaging.options import Options
from service.imaging.picture import Picture, Pixels
from service.imaging.placement import Placement, Size, reduced_size, region_box
from service.imaging.placement import place as placed
from service.imaging.subject import Subject, measure
from service.inference.admission import Admission
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

    def __len__(self) -> int:
        """How many they are; 0 once they are taken."""
        return len(self._data or b"")

    def header_size(self) -> Size | None:
        """The size that the first bytes say; None if they do not say it."""
        header = read_header((self._data or b"")[:HEADER_BYTES])
        return None if header is None else header.size

    def size(self) -> Size:
        """The size of the upright picture, from whatever part of the file says it; takes too long for the event loop.

        Raises:
            ServiceError: as ``upright_size``.
        """
        return decode.upright_size(self._data or b"")

    def take(self) -> bytes:
        """The bytes; this object no longer refers to them.

        Raises:
            RuntimeError: they were taken before.
        """
        data, self._data = self._data, None
        if data is None:
            raise RuntimeError("the picture was taken before")
        return data


async def join_queue(
    admission: Admission,
    place: Place,
    image: EncodedPicture,
    options: Options,
    *,
    background: EncodedPicture | None = None,
) -> None:
    """The body of a request is in: tell admission what it holds and what is asked for.

    Under a memory limit no picture may be let in whose size nobody knows. So where its first bytes do not say it, a
    codec thread looks for it; no pixel is decoded.

    Raises:
        ServiceError: as ``Admission.enqueue``, and if the size of a picture cannot be read.
    """

    async def size_of(picture: EncodedPicture) -> Size | None:
        size = picture.header_size()
        if size is None and admission.memory.is_limited:
            size = await place.run_in_codec_pool(picture.size)
        return size

    if place.work.size is None and (size := await size_of(image)) is not None:
        admission.size_read(place, size)
    admission.enqueue(
        place,
        options,
        background=None if background is None else await size_of(background),
        file_bytes=len(image) + (0 if background is None else len(background)),
    )


class StageEnd(NamedTuple):
    """A stage that has ended."""

    name: str
    began: float
    """By ``time.perf_counter``."""
    seconds: float
    error: str = ""
    """The class of the error with which it failed."""


class StageTimes:
    """When the stages of one job began, and their running times.

    The thread of the job writes them. The event loop may read them once the job has ended, and not before.
    """

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended: list[StageEnd] = []

    def timed(self, stage: str, fn: Callable[[], T]) -> Callable[[], T]:
        """``fn``, its running time recorded as that of ``stage``, also if it fails."""

        def run() -> T:
            start, error = time.perf_counter(), ""
            try:
                return fn()
            except BaseException as caught:
                error = type(caught).__name__
                raise
            finally:
                self.ended.append(StageEnd(stage, start, time.perf_counter() - start, error))

        return run


@dataclass(slots=True)
class Progress:
    """How far a picture has come; readable at any time, also after a failure or a client's departure.

    Everything here is read and written in the event loop only. So no thread can change it while it is read.
    """

    on_stage: Callable[[StageEnd], None] = lambda _: None
    """Called with each stage that has ended, also if the picture's client has left by then."""
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

    def add(self, stage: StageEnd) -> None:
        """A stage has ended."""
        self.seconds[stage.name] = stage.seconds
        self.on_stage(stage)

    def job_ended(self, times: StageTimes, _: JobEnd) -> None:
        """A job has ended; its stages count."""
        for stage in times.ended:
            self.add(stage)


@dataclass(frozen=True, slots=True)
class CutOut:
    """A finished picture."""

    body: bytes
    content_type: str
    made_by: EngineInfo
    """The engine and the weights that made its mask."""
    size: Size
    """Of the answer."""
    subject: Subject
    """What was found in the input."""
    confidence: float
    """0-1: how sure the engine is that there is a foreground at all; see ``service.engines.protocol.Mask``."""


class _Sent(NamedTuple):
    image: EncodedPicture
    background: EncodedPicture | None

    @property
    def decodes_alone(self) -> bool:
        return any(each is not None and each.decodes_alone for each in self)


class _Decoded(NamedTuple):
    picture: Picture
    background: Picture | None

    @property
    def size(self) -> Size:
        return self.picture.size


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
        self.max_pixels = max_pixels
        self._device_errors = device_errors

    async def run(
        self,
        encoded: EncodedPicture,
        options: Options,
        *,
        place: Place,
        progress: Progress,
        background: EncodedPicture | None = None,
        on_start: Callable[[], None] | None = None,
    ) -> CutOut:
        """One picture, start to finish.

        Args:
            encoded: taken when it is decoded.
            options: what is asked for.
            background: the picture behind the foreground; given if and only if the options ask for one.
            place: held until every thread that works on this picture has ended.
            progress: filled as the work goes on.
            on_start: called in the event loop when its turn at the device thread comes.

        Raises:
            ServiceError: the picture or the options cannot be served; see ``service.errors``. If the background is at
                fault, the message says so.
            EngineError: the engine failed, or there was no memory, on the device or beside it.
            BadMask: the engine returned something that is no mask of this picture.
        """
        try:
            return await self._run(_Sent(encoded, background), options, place, progress, on_start)
        except (ServiceError, EngineError):
            raise
        except Exception as error:
            if not says_no_memory(error):
                raise
            raise OutOfMemory("the process could not get the memory it asked for") from error

    async def _run(
        self,
        sent: _Sent,
        options: Options,
        place: Place,
        progress: Progress,
        on_start: Callable[[], None] | None,
    ) -> CutOut:
        decoding, inferring = StageTimes(), StageTimes()
        decoded = await place.run_in_codec_pool(
            decoding.timed("decode", lambda: self._decode(sent, options)),
            stage=Stage.DECODE if sent.background is None else None,  # the time of two says nothing of one
            size_of=lambda done: done.size,
            alone=sent.decodes_alone,
            on_end=partial(progress.job_ended, decoding),
        )
        progress.size = decoded.size
        place.note_size(*decoded.size)
        waiting_since = time.perf_counter()

        def start() -> None:
            progress.add(StageEnd("queue", waiting_since, time.perf_counter() - waiting_since))
            progress.running = True
            if on_start is not None:
                on_start()

        def infer() -> tuple[Mask, EngineInfo]:
            mask, made_by = self._engine.infer(decoded.picture.rgb), self._engine.info
            if made_by is None:
                raise RuntimeError("an engine that is not loaded made a mask")
            return mask, made_by

        def inferred(end: JobEnd) -> None:
            progress.job_ended(inferring, end)
            if end.abandoned and end.error is not None:
                self._device_errors.report_picture(end.error, progress.size)

        mask, made_by = await place.run_on_device(
            inferring.timed("infer", infer), on_start=start, on_end=inferred
        )
        finishing = StageTimes()
        body, size, subject = await place.run_in_codec_pool(
            lambda: self._finish(decoded, mask, options, finishing),
            stage=Stage.FINISH,
            on_end=partial(progress.job_ended, finishing),
        )
        place.work.file_bytes = len(body)
        return CutOut(body, options.format.content_type, made_by, size, subject, mask.confidence)

    def _decode(self, sent: _Sent, options: Options) -> _Decoded:
        """Decode what was sent, and refuse what can never become an answer before the device works for it."""
        picture = decode.decode(sent.image.take(), max_pixels=self.max_pixels)
        decoded = _Decoded(picture, None)
        if not options.depends_on_subject:
            encode.check_output_size(*reduced_size(decoded.size, options), options.format)
        if options.roi is not None:
            region_box(decoded.size, options.roi)
        if sent.background is None:
            return decoded
        try:
            return _Decoded(picture, decode.decode(sent.background.take(), max_pixels=self.max_pixels))
        except ServiceError as error:
            raise type(error)(f"The background cannot be used. {error.message}") from error

    def _finish(
        self, decoded: _Decoded, mask: Mask, options: Options, times: StageTimes
    ) -> tuple[bytes, Size, Subject]:
        """Compose and encode the answer."""
        picture = decoded.picture

        def compose_pixels() -> tuple[Pixels, Subject]:
            subject, placement = self._find_subject(decoded, mask, options)
            pixels = compose.compose(
                picture,
                mask.alpha,
                options,
                self._engine.foreground,
                placement=placement,
                background=decoded.background,
            )
            return pixels, subject

        pixels, subject = times.timed("compose", compose_pixels)()
        body = times.timed(
            "encode", lambda: encode.encode(pixels, options.format, picture.icc, quality=options.quality)
        )()
        return body, (pixels.shape[1], pixels.shape[0]), subject

    def _find_subject(self, decoded: _Decoded, mask: Mask, options: Options) -> tuple[Subject, Placement]:
        check_mask(decoded.picture, mask.alpha)
        if options.roi is not None:
            keep_only(mask.alpha, region_box(decoded.size, options.roi))
        subject = measure(decoded.picture, mask.alpha, options)
        if options.needs_subject and (subject.box is None or not mask.is_sure):
            raise NoSubject("No subject was found in the picture: nothing in it stands out from the rest.")
        placement = placed(decoded.size, subject.box, options)
        width, height = placement.canvas
        if width * height > self.max_pixels:
            raise BadDimensions(
                f"With this margin the answer would be {width} x {height} = {width * height} pixels; at most "
                f"{self.max_pixels} are allowed. Ask for a smaller margin, or for a size."
            )
        encode.check_output_size(width, height, options.format)
        return subject, placement
