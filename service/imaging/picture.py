"""A decoded picture, and the strips of rows in which the modules here work on it.

``decode`` makes a ``Picture``, ``compose`` and ``encode`` use it. Work in strips keeps the memory that is needed
beside a picture small, whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.imaging.options import WHITE, Colour

Pixels = npt.NDArray[np.uint8]

STRIP_PIXELS = 1 << 16
"""A strip is as many whole rows as make about this many pixels: what is computed of them fits into a core's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded image, upright."""

    rgb: Pixels
    """H x W x 3, uint8, C-contiguous; sRGB, or in the colour space of ``icc``. Transparent parts of the input are
    composited over ``ground``."""
    alpha: Pixels | None = None
    """H x W, uint8, the input's own transparency; None if it is opaque."""
    icc: bytes | None = None
    """The input's ICC profile, if it is an RGB profile that fits the pixels."""
    ground: Colour = WHITE
    """What shows through the transparent parts, in the colour space of the pixels. It is chosen so that the network can
    see the subject; ``compose`` takes it off again."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.rgb.shape[:2]
        return width, height


def strips(height: int, width: int, *, least: int = 1) -> Iterator[slice]:
    """The rows of each strip, at least so many, from the top of an image to its bottom."""
    rows = max(least, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
