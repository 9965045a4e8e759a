"""Whether a picture fits into the memory of the container, alone and beside those that wait already.

``admission`` asks before it lets a picture into the queue. Without a limit every picture fits. The figures are those of
``engines.memory_needs``. A process that exceeds its container's limit is killed, and every client loses its answer; so
a picture that cannot fit is refused in words, and one that does not fit now is told when to come back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import structlog

from service.engines.memory_needs import MemoryNeeds
from service.engines.protocol import ConfigurationError
from service.errors import BadDimensions
from service.imaging.placement import Size

SMALLEST_PIXELS = 64 * 64
"""A picture of so many has to fit."""

_log = structlog.get_logger("memory")


class MemoryBudget:
    """Compares what pictures take with what the container has.

    Args:
        limit: bytes that the process may take; None if there is no limit.
        model_input_size: the engine's; (width, height) of a picture -> that of the model input.
    """

    def __init__(self, limit: int | None, *, model_input_size: Callable[[int, int], Size]) -> None:
        self._limit = limit
        self._model_input_size = model_input_size
        self._needs: MemoryNeeds | None = None

    def check_engine(self, needs: MemoryNeeds) -> None:
        """Make sure that the engine can serve any picture at all: one that refuses all must not call itself ready.

        Raises:
            ConfigurationError: it cannot.
        """
        least = needs.bytes_for(SMALLEST_PIXELS, SMALLEST_PIXELS)
        if self._limit is not None and least > self._limit:
            raise ConfigurationError(
                f"the memory limit of this container is {self._limit / 1e9:.1f} GB, and this engine needs "
                f"{least / 1e9:.1f} GB for the smallest picture; give it more (docs/memory.md), or choose "
                "INSPYRENET_ENGINE=u2netp"
            )

    def engine_loaded(
        self, needs: MemoryNeeds, *, max_pixels: int, places: int, announce: bool = True
    ) -> int:
        """The engine is loaded: from now on its needs count. If the limit is tight, a warning says what follows.

        Args:
            needs: of the engine.
            max_pixels: of a picture, as the settings say.
            places: how many pictures may be in memory.
            announce: whether to warn; not while the needs may still change.

        Returns:
            The pixels of the largest photograph that is accepted.
        """
        self._needs = needs
        largest = self._largest_photograph(max_pixels)
        one = self._alone(_photograph(max_pixels))
        full = one + (places - 1) * needs.per_waiting_pixel * max_pixels
        if announce and self._limit is not None and self._limit < full:
            _log.warning(
                "the memory limit of this container is below what the settings allow: larger pictures are refused with "
                "422, and pictures that do not fit beside those that wait with 429",
                limit_bytes=self._limit,
                largest_photograph_pixels=largest,
                bytes_for_one_of_max_pixels=one,
                bytes_for_a_full_queue_of_these=full,
                advice="give the container more memory, or lower INSPYRENET_MAX_PIXELS, INSPYRENET_QUEUE_SIZE or, for "
                "InSPyReNet, INSPYRENET_MAX_MODEL_PIXELS",
            )
        return largest

    def check_alone(self, size: Size) -> None:
        """Make sure that a picture of this size fits while no other is there.

        Raises:
            BadDimensions: it does not.
        """
        if self._limit is None or self._needs is None or self._alone(size) <= self._limit:
            return
        width, height = size
        raise BadDimensions(
            f"A picture of {width} x {height} pixels takes more memory than this service has. Send it with at most "
            f"{self._largest_photograph(width * height)} pixels."
        )

    def fits_beside(self, size: Size, others: Iterable[Size]) -> bool:
        """Whether a picture of this size fits beside others that wait or are worked on; alone it does.

        The network works on one at a time, so the largest counts with its work, and all others with their pixels.
        """
        if self._limit is None or self._needs is None:
            return True
        pictures = [size, *others]
        working = max(map(self._alone, pictures))
        waiting = sum(map(math.prod, pictures)) - max(map(math.prod, pictures))
        return len(pictures) == 1 or working + self._needs.per_waiting_pixel * waiting <= self._limit

    def _alone(self, size: Size) -> int:
        if self._needs is None:
            raise RuntimeError("the engine is not loaded")
        return self._needs.bytes_for(math.prod(size), math.prod(self._model_input_size(*size)))

    def _largest_photograph(self, most: int) -> int:
        """Pixels of the largest picture, whose sides are as 4 to 3, that fits alone; at most ``most``, at least 1."""
        if self._limit is None or self._alone(_photograph(most)) <= self._limit:
            return most
        fits, too_large = 1, most
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            if self._alone(_photograph(middle)) <= self._limit:
                fits = middle
            else:
                too_large = middle
        return fits


def _photograph(pixels: int) -> Size:
    height = max(1, math.isqrt(pixels * 3 // 4))
    return max(1, pixels // height), height
