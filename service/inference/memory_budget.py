"""Whether a picture fits into the memory of the container, alone and beside those that are there already.

``admission`` asks before it lets a picture into the queue. Without a limit every picture fits. A process that exceeds
its container's limit is killed, and every client loses its answer; so a picture that cannot fit is refused in words,
and one that does not fit now is told when to come back.

Each picture has a *demand*: the most that it may still take, by how far it has come. As it goes on, its demand only
falls. So what fits when it is let in fits until its end, whatever the order in which threads do the work. The sum
counts as many pictures at work as there can be: one in the device thread, one in each codec thread, and a probe's,
which nobody refuses and which has threads of its own. Its memory is kept free.

Here all bytes of the service are added up. The figures are those of ``engines.memory_needs`` and of ``imaging``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import NamedTuple

import structlog

from service.engines.memory_needs import MemoryNeeds, foreground_bytes
from service.engines.protocol import ConfigurationError
from service.errors import BadDimensions
from service.imaging import compose, decode, encode
from service.imaging.options import Options
from service.imaging.placement import Size, largest_answer
from service.inference.service_time import Stage, Work


class TooLittleMemory(ConfigurationError):
    """The memory of the container is too small for the engine."""


SMALLEST = 64, 64
"""A picture of this size has to fit."""

PIXEL_BYTES = 4
"""Of a decoded picture: its colours and its transparency."""

HELD_BYTES = 4 + PIXEL_BYTES
"""For each pixel of a picture that is decoded: its pixels, and its mask."""

_log = structlog.get_logger("memory")


class Demand(NamedTuple):
    """The most bytes that one picture may still take."""

    held: int = 0
    """As long as it is there."""
    codec: int = 0
    """More, while a codec thread works for it."""
    network: int = 0
    """More, while the device thread works for it."""


NOTHING = Demand()
WHOLE_WAY = frozenset(Stage)


class MemoryBudget:
    """Compares what pictures take with what the container has.

    Args:
        limit: bytes that the process may take; None if there is no limit.
        model_input_size: the engine's; (width, height) of a picture -> that of the model input.
        codec_threads: that clients' pictures share.
        engine: ``inspyrenet``, ``u2netp``, or ``auto`` while that is not decided.
        least_needs: by its name, what it takes at least, before it is loaded.
        references: sizes of the pictures that probes send beside canaries.
    """

    def __init__(
        self,
        limit: int | None,
        *,
        model_input_size: Callable[[int, int], Size],
        codec_threads: int,
        engine: str,
        least_needs: Mapping[str, MemoryNeeds],
        references: Collection[Size] = (),
    ) -> None:
        self._limit = limit
        self._model_input_size = model_input_size
        self._codec_threads = codec_threads
        self._least_needs = least_needs
        self._references = references
        self._use(least_needs[engine], SMALLEST)

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._limit is not None

    # -- the engine ----------------------------------------------------------------------------------------------

    def check_before_load(self, engine: str) -> None:
        """It is decided which engine will be loaded: from now on its least needs count.

        Args:
            engine: its name.

        Raises:
            TooLittleMemory: it could serve no picture at all. One that refuses all must not call itself ready, and
                the load might be what kills the process.
        """
        self._check(self._least_needs[engine])

    def _check(self, needs: MemoryNeeds) -> None:
        self._use(needs, SMALLEST)
        least = self.bytes_alone(_cut_out(SMALLEST))
        if self._limit is not None and least > self._limit:
            references = " beside the largest reference" if self._references else ""
            raise TooLittleMemory(
                f"the memory limit of this container is {self._limit / 1e9:.1f} GB, and this engine needs "
                f"{least / 1e9:.1f} GB for the smallest picture{references}; give it more (docs/memory.md), or choose "
                "INSPYRENET_ENGINE=u2netp"
            )

    def largest_photograph(self, needs: MemoryNeeds, *, most: int) -> int:
        """Pixels of the largest picture, with sides as 4 to 3, that fits alone; at most ``most``, at least 1.

        Args:
            needs: of the engine.
            most: pixels of a picture, as the settings say.
        """

        def fits(pixels: int) -> bool:
            supposed = copy(self)
            supposed._use(needs, _photograph(pixels))
            return supposed._fits_alone(_cut_out(_photograph(pixels)))

        return _largest(fits, most)

    def engine_settled(self, needs: MemoryNeeds, *, max_pixels: int, places: int) -> None:
        """The engine is loaded, and what it needs will not change. If the limit is tight, a warning says what follows.

        Args:
            needs: of the engine.
            max_pixels: of a picture, as the settings say.
            places: how many pictures may be in memory.

        Raises:
            TooLittleMemory: as ``check_before_load``.
        """
        self._check(needs)
        largest = self.largest_photograph(needs, most=max_pixels)
        self._use(needs, _photograph(largest))
        one = self.demand(_cut_out(_photograph(max_pixels)), WHOLE_WAY)
        if self._limit is not None and self._limit < (full := self._total([one] * places)):
            _log.warning(
                "the memory limit of this container is below what the settings allow: larger pictures are refused with "
                "422, and pictures that do not fit beside those that wait with 429",
                limit_bytes=self._limit,
                largest_photograph_pixels=largest,
                bytes_for_one_of_max_pixels=self._total([one]),
                bytes_for_a_full_queue_of_these=full,
                advice="give the container more memory, or lower INSPYRENET_MAX_PIXELS, INSPYRENET_QUEUE_SIZE or, for "
                "InSPyReNet, INSPYRENET_MAX_MODEL_PIXELS",
            )

    def _use(self, needs: MemoryNeeds, largest: Size) -> None:
        """From now on the engine needs so much, and the canary of probes is the model input of such a photograph."""
        self._needs = needs
        canaries = [self._model_input_size(*largest), *self._references]
        demands = [self.demand(_cut_out(size), WHOLE_WAY) for size in canaries]
        self._probe = Demand(*map(max, zip(*demands, strict=True)))

    # -- pictures ------------------------------------------------------------------------------------------------

    def demand(self, work: Work, ahead: Collection[Stage]) -> Demand:
        """The most that a picture may still take.

        Args:
            work: what is known of it. What is not known counts as the default, so ask again once more is known.
            ahead: the stages that it has not passed, the present one included.
        """
        if not ahead:
            return Demand(work.file_bytes)
        pixels, behind = math.prod(work.size or (0, 0)), math.prod(work.background or (0, 0))
        codec = network = 0
        if Stage.DECODE in ahead:
            # The pixels that come out of it are counted as held already.
            codec = decode.peak_bytes(max(pixels, behind), work.file_bytes) - PIXEL_BYTES * max(
                pixels, behind
            )
        if Stage.FINISH in ahead and work.size is not None:
            codec = max(codec, _finish_bytes(work.size, behind, work.options))
        if Stage.INFER in ahead and work.size is not None:
            model_pixels = math.prod(self._model_input_size(*work.size))
            network = self._needs.network_bytes(model_pixels=model_pixels, pixels=pixels)
        return Demand(work.file_bytes + HELD_BYTES * pixels + PIXEL_BYTES * behind, codec, network)

    def check_alone(self, work: Work) -> None:
        """Make sure that a picture fits while no other is there.

        Args:
            work: what is known of it: its size, at least.

        Raises:
            BadDimensions: it does not.
        """
        if work.size is None or self._fits_alone(work):
            return
        width, height = work.size
        if self._fits_alone(replace(work, file_bytes=0)):
            raise BadDimensions(
                f"A file of {work.file_bytes / 1e6:.1f} MB with a picture of {width} x {height} pixels takes more "
                "memory than this service has. Send the picture in a smaller file."
            )
        if work.background is None:
            raise BadDimensions(
                f"A picture of {width} x {height} pixels takes more memory than this service has. Send it with at most "
                f"{self._largest_like(work)} pixels."
            )
        raise BadDimensions(
            f"A picture of {width} x {height} pixels and its background of {work.background[0]} x "
            f"{work.background[1]} take more memory than this service has. Send both with at most "
            f"{self._largest_like(work)} pixels."
        )

    def fits(self, own: Demand, others: Iterable[Demand]) -> bool:
        """Whether a picture fits beside others; alone it does, or it would have been refused for good."""
        if self._limit is None or own == NOTHING:
            return True
        present = [other for other in others if other != NOTHING]
        return not present or self._total([own, *present]) <= self._limit

    def bytes_alone(self, work: Work) -> int:
        """The most that the process takes while this picture and one of a probe are there."""
        return self._total([self.demand(work, WHOLE_WAY)])

    def _fits_alone(self, work: Work) -> bool:
        return self._limit is None or self.bytes_alone(work) <= self._limit

    def _largest_like(self, work: Work) -> int:
        """Pixels of the largest photograph that fits alone, if the same is asked for; fewer than it has."""

        def fits(pixels: int) -> bool:
            size = _photograph(pixels)
            background = None if work.background is None else size
            return self._fits_alone(replace(work, size=size, background=background))

        return _largest(fits, max(1, math.prod(work.size or (1, 1)) - 1))

    def _total(self, demands: Collection[Demand]) -> int:
        """The most that the process takes with these pictures, and with a probe at the worst moment."""
        probe, threads = self._probe, self._codec_threads
        codecs = sorted((demand.codec for demand in demands), reverse=True)
        busy, next_one = sum(codecs[:threads]), sum(codecs[threads : threads + 1])
        least_busy = codecs[:threads][-1] if codecs else 0

        def beside(demand: Demand) -> int:
            """What the codec threads take while this picture is in the device thread, and so in none of them."""
            return busy - demand.codec + next_one if demand.codec >= least_busy else busy

        on_device = [demand.network + beside(demand) for demand in demands]
        working = max(probe.network + busy, *(probe.codec + each for each in (busy, *on_device)))
        return self._needs.idle + probe.held + sum(demand.held for demand in demands) + working


def _finish_bytes(size: Size, behind: int, options: Options) -> int:
    """What composing and encoding take at most, beside the picture and its mask; the answer's bytes are part of it."""
    pixels, sides = largest_answer(size, options)
    composing = compose.peak_bytes(options, pixels, behind)
    if compose.needs_foreground(options):
        composing += foreground_bytes(pixels)
    answer = compose.channels(options) * pixels
    return max(composing, answer + encode.peak_bytes(options.format, pixels, sides) + answer)


def _cut_out(size: Size) -> Work:
    """What is asked for most."""
    return Work(size=size, options=Options())


def _photograph(pixels: int) -> Size:
    height = max(1, math.isqrt(pixels * 3 // 4))
    return max(1, pixels // height), height


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to ``most`` that fits, if all smaller ones do; at least 1."""
    if fits(most):
        return most
    smaller, larger = 1, most
    while larger - smaller > 1:
        middle = (smaller + larger) // 2
        if fits(middle):
            smaller = middle
        else:
            larger = middle
    return smaller
