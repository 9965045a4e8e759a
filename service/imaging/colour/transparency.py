"""The ground on which a transparent picture is shown to the network.

``decode`` chooses the ground and composites, ``compose`` takes it off again. A picture that is already cut out says
nothing about its background, so any ground is right for which its subject can be seen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.imaging.options import WHITE, Colour
from service.imaging.picture import Pixels, strips

_GREY: Colour = (128, 128, 128)
_BLACK: Colour = (0, 0, 0)
GROUNDS = (WHITE, _GREY, _BLACK)

ENOUGH = 64
"""White is the ground if the edges differ from it by this many levels of 255: it is what viewers show."""
_WEAKEST = 0.1
"""The share of the edge whose contrast counts: that of its weakest tenth."""


def choose_ground(colours: Pixels, opacity: Pixels) -> Colour:
    """White, or if the subject's edges would be lost on white, the one of ``GROUNDS`` on which they show best.

    The edge is every visible pixel beside a clear one. A pixel's contrast is the largest difference of a channel.

    Args:
        colours: H x W x 3, the colours of the file, not composited.
        opacity: H x W.
    """
    height, width = opacity.shape
    visible = max(int(opacity.max()) // 2, 1)
    counts = np.zeros((len(GROUNDS), 256), np.int64)
    for rows in strips(height, width):
        top, bottom = max(rows.start - 1, 0), min(rows.stop + 1, height)
        edge = _edge(opacity[top:bottom] >= visible)[rows.start - top : rows.stop - top]
        pixels = colours[rows][edge].astype(np.int16)
        for i, ground in enumerate(GROUNDS):
            contrast = np.abs(pixels - np.array(ground, np.int16)).max(axis=-1, initial=0)
            counts[i] += np.bincount(contrast, minlength=256)
    if not counts[0].sum():
        return WHITE
    weakest = [int(np.searchsorted(count.cumsum(), _WEAKEST * count.sum())) for count in counts]
    return WHITE if weakest[0] >= ENOUGH else GROUNDS[int(np.argmax(weakest))]


def _edge(visible: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The visible pixels with a neighbour above, below, left or right that is not."""
    inner = visible.copy()
    inner[1:] &= visible[:-1]
    inner[:-1] &= visible[1:]
    inner[:, 1:] &= visible[:, :-1]
    inner[:, :-1] &= visible[:, 1:]
    return visible & ~inner


def composite(colours: Pixels, opacity: Pixels, ground: Colour) -> None:
    """Composite in place: c * a + ground * (1 - a), rounded. 16 bits hold the largest sum, 255 * 255 + 127."""
    weight = opacity[..., np.newaxis].astype(np.uint16)
    colours[...] = (colours * weight + np.array(ground, np.uint16) * (255 - weight) + 127) // 255
