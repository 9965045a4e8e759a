"""Blocks of a picture by what its mask says: clear, solid, or soft somewhere.

Most of a cut-out is clear or solid, and there is nothing to compute there. ``unmixing`` and ``service.imaging.compose``
leave those blocks out, so they must agree on what can be seen. This module may import NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from service.engines.protocol import Alpha

Blocks = npt.NDArray[np.bool_]
"""One value for each block, in rows and columns of blocks."""

LEAST_VISIBLE = np.float32(1 / 255)
"""Below it, the 8-bit mask is 0."""
LEAST_SOLID = np.float32(254 / 255)
"""From it on, what is behind the foreground changes a pixel by less than a level of 255."""


def kinds(alpha: Alpha, side: int) -> tuple[Blocks, Blocks]:
    """Which blocks of side x side pixels have something that can be seen, and which of those are not solid."""
    height, width = alpha.shape
    across = np.arange(0, width, side)
    visible, soft = np.empty((2, -(-height // side), len(across)), bool)
    for row in range(len(visible)):
        strip = alpha[row * side : (row + 1) * side]
        visible[row] = np.maximum.reduceat(strip.max(axis=0), across) >= LEAST_VISIBLE
        soft[row] = np.minimum.reduceat(strip.min(axis=0), across) < LEAST_SOLID
    return visible, visible & soft


def grown(blocks: Blocks) -> Blocks:
    """The blocks and those around them."""
    padded = np.pad(blocks, 1)
    beside = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    around: Blocks = beside[:-2] | beside[1:-1] | beside[2:]
    return around


LONGEST_RUN = 16
"""Blocks that are taken at once at most: what is computed of them stays small in any picture."""


def parts(chosen: Blocks, side: int, shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of pixels of each run of chosen blocks in a row, in a picture of that shape."""
    padded = np.pad(chosen, ((0, 0), (1, 1)))
    edges = np.argwhere(padded[:, 1:] != padded[:, :-1])  # in each row a start, a stop, a start ...
    for (row, start), (_, stop) in edges.reshape(-1, 2, 2).tolist():
        rows = slice(row * side, min((row + 1) * side, shape[0]))
        for first in range(start, stop, LONGEST_RUN):
            yield rows, slice(first * side, min(min(first + LONGEST_RUN, stop) * side, shape[1]))
