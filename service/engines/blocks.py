"""Blocks of a picture by what its mask says: clear, solid, or soft somewhere.

Most of a cut-out is clear or solid, and there is nothing to compute there. ``unmixing`` and ``service.imaging.compose``
leave those blocks out, so they must agree on what can be seen. This module may import NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from service.engines.protocol import Alpha
from service.native import loops

Blocks = npt.NDArray[np.bool_]
"""One value for each block, in rows and columns of blocks."""

LEAST_VISIBLE = np.float32(1 / 255)
"""Below it, the 8-bit mask is 0."""
LEAST_SOLID = np.float32(254 / 255)
"""From it on, what is behind the foreground changes a pixel by less than a level of 255."""


def shape_of(side: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """The height and width in pixels of the blocks of a picture of that shape.

    They are squares of that side. In a picture that is narrower, they are as much longer, because each costs the same
    few calls, however small it is.
    """
    height, width = shape[:2]
    return side * max(1, side // width), side * max(1, side // height)


def kinds(alpha: Alpha, side: int) -> tuple[Blocks, Blocks]:
    """Which blocks have something that can be seen, and which of those are not solid; ``side`` as for ``shape_of``."""
    height, width = alpha.shape
    down, right = shape_of(side, alpha.shape)
    across = np.arange(0, width, right)
    visible, soft = np.empty((2, -(-height // down), len(across)), bool)
    if loops.available and alpha.flags.c_contiguous:
        loops.block_kinds(alpha, down, right, LEAST_VISIBLE, LEAST_SOLID, visible, soft)
        return visible, visible & soft
    for row in range(len(visible)):
        strip = alpha[row * down : (row + 1) * down]
        visible[row] = np.maximum.reduceat(strip.max(axis=0), across) >= LEAST_VISIBLE
        soft[row] = np.minimum.reduceat(strip.min(axis=0), across) < LEAST_SOLID
    return visible, visible & soft


def joined(visible: Blocks, soft: Blocks, count: int) -> tuple[Blocks, Blocks]:
    """What ``kinds`` finds in blocks whose sides are ``count`` times as long."""
    if count == 1:
        return visible, soft

    def any_of(blocks: Blocks) -> Blocks:
        height, width = (-(-length // count) for length in blocks.shape)
        whole = np.zeros((height * count, width * count), bool)
        whole[: blocks.shape[0], : blocks.shape[1]] = blocks
        some: Blocks = np.logical_or.reduce(whole.reshape(height, count, width, count), axis=(1, 3))
        return some

    larger = any_of(visible)
    return larger, larger & any_of(~visible | soft)


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
    down, right = shape_of(side, shape)
    padded = np.pad(chosen, ((0, 0), (1, 1)))
    edges = np.argwhere(padded[:, 1:] != padded[:, :-1])  # in each row a start, a stop, a start ...
    for (row, start), (_, stop) in edges.reshape(-1, 2, 2).tolist():
        rows = slice(row * down, min((row + 1) * down, shape[0]))
        for first in range(start, stop, LONGEST_RUN):
            yield rows, slice(first * right, min(min(first + LONGEST_RUN, stop) * right, shape[1]))


def rectangles(chosen, side, shape, longest=LONGEST_RUN):
    """What ``parts`` gives, as n x 4: top, bottom, left, right."""
    down, right = shape_of(side, shape)
    padded = np.pad(chosen, ((0, 0), (1, 1)))
    edges = np.argwhere(padded[:, 1:] != padded[:, :-1])
    rows, starts, stops = edges[::2, 0], edges[::2, 1], edges[1::2, 1]
    counts = -(-(stops - starts) // longest)
    which = np.repeat(np.arange(len(rows)), counts)
    number = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    left = starts[which] + number * longest
    stop = np.minimum(left + longest, stops[which])
    row = rows[which]
    return np.stack((row * down, np.minimum((row + 1) * down, shape[0]), left * right, np.minimum(stop * right, shape[1])), axis=1).astype(np.int32)
