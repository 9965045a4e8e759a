"""Blocks of a picture by what its mask says: clear, solid, or soft somewhere.

Most of a cut-out is clear or solid, and there is nothing to compute there. ``unmixing`` and ``service.imaging.compose``
leave those blocks out, so they must agree on what can be seen. This module may import NumPy and ``native`` only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from service.engines.protocol import Alpha
from service.native import loops
from service.native.arrays import Parts

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
    shape = shape_of(side, alpha.shape)
    visible, soft = loops.block_kinds(alpha, shape, visible=float(LEAST_VISIBLE), solid=float(LEAST_SOLID))
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
    padded = np.zeros((blocks.shape[0] + 2, blocks.shape[1] + 2), bool)
    padded[1:-1, 1:-1] = blocks
    beside = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    around: Blocks = beside[:-2] | beside[1:-1] | beside[2:]
    return around


LONGEST_RUN = 16
"""Blocks that are taken at once at most: what is computed of them stays small in any picture."""


def rectangles(chosen: Blocks, side: int, shape: tuple[int, ...]) -> Parts:
    """Each run of chosen blocks in a row, in a picture of that shape: top, bottom, left, right in pixels."""
    down, right = shape_of(side, shape)
    padded = np.zeros((chosen.shape[0], chosen.shape[1] + 2), bool)
    padded[:, 1:-1] = chosen
    edges = np.argwhere(padded[:, 1:] != padded[:, :-1])  # in each row a start, a stop, a start ...
    rows, starts, stops = edges[::2, 0], edges[::2, 1], edges[1::2, 1]
    counts = -(-(stops - starts) // LONGEST_RUN)  # of the pieces into which a run is divided
    piece = np.arange(counts.sum()) - (np.cumsum(counts) - counts).repeat(counts)
    rows, first = rows.repeat(counts), starts.repeat(counts) + LONGEST_RUN * piece
    last = np.minimum(first + LONGEST_RUN, stops.repeat(counts))
    top, left = rows * down, first * right
    found = (top, np.minimum(top + down, shape[0]), left, np.minimum(last * right, shape[1]))
    return np.stack(found, axis=1).astype(np.int32)


def parts(chosen: Blocks, side: int, shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of ``rectangles``."""
    for top, bottom, left, right in rectangles(chosen, side, shape).tolist():
        yield slice(top, bottom), slice(left, right)
