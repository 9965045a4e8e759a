"""How long a picture will take, learnt from the pictures before it.

``admission`` asks before it lets a picture in, and every place reports what its jobs took. The time of a job depends
on the number of pixels: those of the model input at the device thread, those of the picture in the codec pool. Measured
on two cores with ``imaging`` alone, the time a pixel does not depend on the size, but on the format: a JPEG decodes at
8 ns a pixel, a WebP at 36, a PNG at 60, an AVIF at 63; a mask as PNG is composed and encoded at 9, a cut-out as PNG at
124, as WebP at 222. So each format, and each output with its format, is learnt by itself.

A change must keep this true: one slow job changes no estimate for long, and no estimate is negative or falls with size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from operator import itemgetter
from statistics import median_low

from service.imaging.options import Options, Output

REMEMBERED = 5
"""Jobs of one class of sizes that count. Their lower median is used, so that up to two slow ones change nothing."""

FLOOR_PIXELS = 1 << 14
"""Smaller jobs count as jobs of this size: their time is mostly what every job costs, whatever its pixels. Taken in
proportion, a picture of one pixel would make photographs look like hours."""

REACH = 4
"""How far beyond the largest measured size a time counts as proved: a wrong proof would refuse what can be served."""

JOBS_OF_A_PROOF = 2
"""A class of sizes with fewer jobs proves nothing: the first job after a load is slow."""

SMOOTHING = 0.3
"""Weight of the newest job in the recent time of any size: about the last five jobs count."""

CONTRADICTION = 2
"""A class that is faster than a smaller one by more than this factor, or slower than a larger one, is out of date."""

LEAST = Options(Output.MASK)
"""What takes least memory of all that can be asked for."""


class Stage(Enum):
    """What a thread does for a picture."""

    DECODE = auto()
    """Codec pool: from bytes to pixels."""
    INFER = auto()
    """Device thread: from pixels to a mask."""
    FINISH = auto()
    """Codec pool: composing and encoding."""


@dataclass(slots=True)
class Work:
    """What is known of the work on one picture; it grows while the request arrives."""

    size: tuple[int, int] | None = None
    """(width, height) of the picture; as stored, until it is decoded."""
    model_input: tuple[int, int] | None = None
    """(width, height) of the model input for a picture of that size."""
    input_format: str | None = None
    """Name of the picture's format."""
    output: Hashable = None
    """What the answer shows, and in which format."""
    options: Options = LEAST
    """What is asked for; what takes least while it is not known."""
    background: tuple[int, int] | None = None
    """(width, height) of the second picture, if there is one."""
    file_bytes: int = 0
    """What is held beside pixels: what it sends or may send, until that is decoded; in the end, the answer."""
    tried: bool = False
    """Whether it is let in although it looks too slow for its deadline, to measure it again."""

    def pixels(self, stage: Stage) -> int | None:
        """What the time of a stage depends on; None if the size is not known."""
        size = self.model_input if stage is Stage.INFER else self.size
        return None if size is None else max(1, size[0] * size[1])

    def kind(self, stage: Stage) -> Hashable:
        """Jobs of the same kind share one estimate; None if the kind is not known yet."""
        match stage:
            case Stage.DECODE:
                return self.input_format
            case Stage.INFER:
                return "model"
            case Stage.FINISH:
                return self.output


class TimeModel:
    """Seconds of a job by its number of pixels, from measured jobs alone.

    It keeps the last jobs of each class of sizes; a class ends where the number of pixels has doubled. Between the
    medians of two classes it interpolates. Beyond the largest, and below the only one, it takes the time as
    proportional to the pixels: that lets small pictures in after large ones, and keeps large ones from being queued by
    the dozen after small ones, before one of them has been measured.
    """

    def __init__(self) -> None:
        self._classes: dict[int, deque[tuple[int, float]]] = {}
        self._typical: list[tuple[int, float]] = []
        """(pixels, median seconds) of each class; both rise."""
        self._fastest: list[tuple[int, float]] = []
        """(pixels, least seconds) of each class with enough jobs; both rise."""

    def note(self, pixels: int, seconds: float) -> None:
        """A job of this size took so long; ``pixels`` is at least 1."""
        pixels = max(pixels, FLOOR_PIXELS)
        newest = pixels.bit_length()
        self._classes.setdefault(newest, deque(maxlen=REMEMBERED)).append((pixels, seconds))
        medians = {size_class: _median(jobs) for size_class, jobs in self._classes.items()}
        now = medians[newest][1]
        sure = len(self._classes[newest]) >= JOBS_OF_A_PROOF  # that this size is slow
        for size_class, (_, median) in medians.items():
            # More pixels do not take less time, so what contradicts the newest measurement has changed since.
            too_fast = sure and size_class > newest and CONTRADICTION * median < now
            too_slow = size_class < newest and median > CONTRADICTION * now
            if too_fast or too_slow:
                del self._classes[size_class]
        self._typical = _rising(medians[size_class] for size_class in self._classes)
        self._fastest = _rising(
            (_median(jobs)[0], min(map(_seconds, jobs)))
            for jobs in self._classes.values()
            if len(jobs) >= JOBS_OF_A_PROOF
        )

    def expected(self, pixels: int) -> float:
        """Seconds that a job of this size will probably take; 0 before the first job."""
        return _interpolate(self._typical, max(pixels, FLOOR_PIXELS))

    def proved(self, pixels: int) -> float:
        """Seconds that a job of this size takes at least, as far as measured sizes say; 0 while they say nothing.

        A job that took long may have been the first of its kind, or disturbed. One that was fast shows what is
        possible.
        """
        if not self._fastest:
            return 0.0
        near = min(max(pixels, FLOOR_PIXELS), REACH * self._fastest[-1][0])
        return min(self.expected(near), _interpolate(self._fastest, near))


_pixels: Callable[[tuple[int, float]], int] = itemgetter(0)
_seconds: Callable[[tuple[int, float]], float] = itemgetter(1)


def _median(jobs: Collection[tuple[int, float]]) -> tuple[int, float]:
    return median_low(map(_pixels, jobs)), median_low(map(_seconds, jobs))


def _rising(points: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """The points by size; a size that seems slower than a larger one is as fast as that."""
    rising: list[tuple[int, float]] = []
    fastest = inf
    for pixels, seconds in sorted(points, reverse=True):
        fastest = min(fastest, seconds)
        rising.append((pixels, fastest))
    return rising[::-1]


def _interpolate(points: list[tuple[int, float]], pixels: int) -> float:
    """The seconds at a size; beyond the points, and from zero to a single one, in proportion to the pixels."""
    if not points:
        return 0.0
    largest, longest = points[-1]
    smallest, shortest = points[0]
    if pixels >= largest:
        return longest * pixels / largest
    if pixels > smallest:
        after = bisect_left(points, pixels, key=_pixels)
        return _on_line(points[after - 1], points[after], pixels)
    in_proportion = shortest * pixels / smallest
    return max(in_proportion, _on_line(points[0], points[1], pixels)) if len(points) > 1 else in_proportion


def _on_line(a: tuple[int, float], b: tuple[int, float], pixels: int) -> float:
    return a[1] + (b[1] - a[1]) * (pixels - a[0]) / (b[0] - a[0])


class ServiceTimes:
    """What each stage of a picture takes, by size and kind."""

    def __init__(self) -> None:
        self._models: defaultdict[tuple[Stage, Hashable], TimeModel] = defaultdict(TimeModel)
        self._recent = dict.fromkeys(Stage, 0.0)

    def note(self, work: Work, stage: Stage, seconds: float) -> None:
        """A job took so long, of a picture of any size."""
        recent = self._recent[stage]
        self._recent[stage] = recent + SMOOTHING * (seconds - recent) if recent else seconds
        self.note_size(work, stage, seconds)

    def note_size(self, work: Work, stage: Stage, seconds: float) -> None:
        """The same for a probe: its size says something of other sizes, but it is none of the clients' pictures."""
        pixels, kind = work.pixels(stage), work.kind(stage)
        if pixels is not None and kind is not None:
            self._models[stage, kind].note(pixels, seconds)

    def expected(self, work: Work, stage: Stage) -> float:
        """Seconds that a stage will probably take. If the size or kind is not known: as long as recent pictures."""
        return self._of_size(work, stage, TimeModel.expected) or self._recent[stage]

    def expected_total(self, work: Work) -> float:
        """Seconds from the first stage to the last, if nothing waits."""
        return sum(self.expected(work, stage) for stage in Stage)

    def proved_total(self, work: Work) -> float:
        """Seconds that all stages together take at least, as far as measured sizes say."""
        return sum(self._of_size(work, stage, TimeModel.proved) for stage in Stage)

    def recent(self, stage: Stage) -> float:
        """The recent seconds of a stage, of pictures of any size; 0 before the first."""
        return self._recent[stage]

    def _of_size(self, work: Work, stage: Stage, estimate: Callable[[TimeModel, int], float]) -> float:
        pixels, model = work.pixels(stage), self._models.get((stage, work.kind(stage)))
        return 0.0 if pixels is None or model is None else estimate(model, pixels)
