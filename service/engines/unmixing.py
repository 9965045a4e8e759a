"""Colour unmixing: the colours of the foreground along soft edges, without the background's share.

Every engine's ``foreground`` calls it, on several threads at the same time. So it must keep no state. Importing this
module imports OpenCV, so it must not be imported before the port is open. The arithmetic is in ``native.loops``.

Every pixel is a mixture ``I = a F + (1 - a) B`` of foreground F and background B. The method finds the smoothest F and
B that explain the picture, after Germer, Uelwer, Conrad and Harmeling, "Fast Multi-Level Foreground Estimation" (ICPR
2020, equation 4). It works on a series of grids, from a few cells to finer ones. Three changes make it more exact
and several times faster:

* The finest grid has a quarter of the picture's sides. From there, F and B are interpolated, and each pixel is
  corrected so that it composites to ``I`` (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021, equation
  7).
* All pixels are updated at the same time, and momentum speeds up the convergence (second-order Richardson iteration;
  Golub and Varga 1961).
* Edges of the mask count only a hundredth in the smoothness, so that a thin strand keeps the colours of its own pixels.

Most of a picture is solid or clear (``blocks``). Solid blocks keep the picture's colours, and large grids are solved
only where a block is soft. Clear pixels continue the colours of what is beside them, so far that a picture which is
scaled to a thumbnail without regard to its mask gets no dark edges. Farther away they are black, which makes files
smaller.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.engines import blocks, out_of_memory
from service.engines.blocks import Blocks
from service.engines.protocol import RGB, Alpha
from service.native import loops
from service.native.arrays import Parts

Planes = npt.NDArray[np.float32]
"""... x h x w, float32; the range of colours is 0 to 255."""

_REDUCTION = 4  # how many times shorter the sides of the finest grid are than the picture's
_MIN_SIDE = 64  # pixels of the finest grid's long side, if the picture has that many
_MAX_GRID_PIXELS = 1 << 20  # of the finest grid, for pictures of any size: limits its memory to 200 MB
_MAX_ROW = 1 << 15  # pixels

_BLOCK = 16  # cells of a grid a side: what is solved and corrected, or left out, at once
_LEAST_CONTINUATION = 16  # pixels
_THUMBNAIL = 128  # pixels of the long side
_COARSEST_SIDE = 8  # cells: from one end of it to the other, colours spread in half of its sweeps
_WHOLE_GRID = 1 << 16  # cells up to which a grid is solved as one

_SMOOTHNESS = 1e-5, 0.01  # the weight of a neighbour, and what a unit of difference in alpha adds to it
_MOMENTUM = 1.6
_SWEEPS = 4
_COARSE_SIDE, _COARSE_SWEEPS = 64, 16  # small grids cost little, and determine the colours far from any edge


@out_of_memory.main_memory()
def estimate_foreground(image: RGB, alpha: Alpha) -> RGB:
    """The colours of the foreground alone.

    Args:
        image: H x W x 3.
        alpha: H x W.

    Returns:
        H x W x 3; equal to ``image`` where alpha is 1, and a smooth continuation where it is 0 beside something that
        can be seen. Farther away, where nobody can see it, black.

    Raises:
        OutOfMemory: there was not enough main memory.
    """
    if image.shape[1] > _MAX_ROW > image.shape[0]:  # a row of blocks has at least the height of one
        upright = estimate_foreground(
            np.ascontiguousarray(image.swapaxes(0, 1)), np.ascontiguousarray(alpha.swapaxes(0, 1))
        )
        return np.ascontiguousarray(upright.swapaxes(0, 1))
    reduction = _reduction(*alpha.shape)
    side = reduction * _BLOCK
    fine = _continuation(alpha.shape, side)
    visible, soft = blocks.kinds(alpha, fine)
    beside = blocks.grown(visible) & ~visible
    result = np.zeros_like(image)
    for rows, columns in blocks.parts(visible & ~soft, fine, alpha.shape):
        result[rows, columns] = image[rows, columns]
    if not (soft.any() or beside.any()):
        return result
    _, solved = blocks.joined(visible, soft, side // fine)
    grid = _solve(*loops.reduce(image, alpha, reduction), solved)
    loops.unmix(
        image,
        alpha,
        result,
        grid=grid,
        reduction=reduction,
        parts=blocks.rectangles(soft, fine, alpha.shape),
        smoothness=_SMOOTHNESS[0],
    )
    loops.continue_colours(
        result, grid=grid, reduction=reduction, parts=blocks.rectangles(beside, fine, alpha.shape)
    )
    return result


def _continuation(shape: tuple[int, ...], side: int) -> int:
    """How many pixels colours continue at least: ``side`` or the quotient of it and a power of two."""
    fine, least = side, max(_LEAST_CONTINUATION, max(shape) / _THUMBNAIL)
    if min(shape) < side:  # the blocks of a narrow picture are no squares
        return side
    while fine % 2 == 0 and fine // 2 >= least:
        fine //= 2
    return fine


def _reduction(height: int, width: int) -> int:
    """How many times shorter the sides of the finest grid are."""
    reduction = max(1, min(_REDUCTION, max(height, width) // _MIN_SIDE))
    while -(-height // reduction) * -(-width // reduction) > _MAX_GRID_PIXELS:
        reduction *= 2
    return reduction


def _solve(colours: Planes, alpha: Planes, chosen: Blocks) -> Planes:
    """F and B, 2 x 3 x h x w, of a picture whose colours are 3 x h x w, exact in those blocks of its finest grid."""
    grids = [(colours, alpha, chosen)]
    while max(alpha.shape) > _COARSEST_SIDE:
        size = (alpha.shape[0] + 1) // 2, (alpha.shape[1] + 1) // 2
        colours, alpha = np.stack([_shrink(plane, size) for plane in colours]), _shrink(alpha, size)
        grids.append((colours, alpha, _needed_below(grids[-1][2], size)))
    finest_colours, finest_alpha, _ = grids[0]
    sides = [_mean(finest_colours, finest_alpha > 0.9), _mean(finest_colours, finest_alpha < 0.1)]
    solution = np.stack(sides)[:, :, None, None]
    for colours, alpha, needed in reversed(grids):
        start = loops.enlarge(solution.reshape(6, *solution.shape[2:]), alpha.shape)
        solution = loops.relax(
            start.reshape(2, 3, *alpha.shape),
            colours,
            alpha,
            _tiles(needed, alpha.shape),
            sweeps=_SWEEPS if max(alpha.shape) > _COARSE_SIDE else _COARSE_SWEEPS,
            smoothness=_SMOOTHNESS,
            momentum=_MOMENTUM,
        )
    return solution


def _tiles(needed: Blocks, size: tuple[int, int]) -> Parts:
    """What of a grid is solved at once: all of a small one, else those blocks.

    The cells around a block are solved too, because the pixels at its edge are interpolated from them.
    """
    height, width = size
    if height * width <= _WHOLE_GRID or max(size) <= _COARSE_SIDE or min(size) <= _BLOCK:
        return np.array([[0, height, 0, width]], np.int32)
    tiles = blocks.rectangles(needed, _BLOCK, size) + np.array([-1, 1, -1, 1], np.int32)
    return np.clip(tiles, 0, np.array([height, height, width, width], np.int32))


def _needed_below(chosen: Blocks, size: tuple[int, int]) -> Blocks:
    """The blocks of the next coarser grid (of that size) from which those blocks and their margins are enlarged."""
    grown = blocks.grown(chosen)
    needed = np.zeros((-(-size[0] // _BLOCK), -(-size[1] // _BLOCK)), bool)
    for part in (grown[::2, ::2], grown[1::2, ::2], grown[::2, 1::2], grown[1::2, 1::2]):
        needed[: part.shape[0], : part.shape[1]] |= part
    return needed


def _mean(colours: Planes, chosen: npt.NDArray[np.bool_]) -> Planes:
    total: Planes = colours.reshape(3, -1) @ chosen.reshape(-1).astype(np.float32)
    total /= max(1, int(np.count_nonzero(chosen)))
    return total


def enlarge_rows(grid: Planes, strip: slice, height: int, width: int) -> Planes:
    """Some rows of planes (h x w x 3) enlarged to ``height`` x ``width``; the division into strips does not matter."""
    position = (np.arange(strip.start, strip.stop, dtype=np.float32) + np.float32(0.5)) * (
        len(grid) / height
    ) - 0.5
    position = np.clip(position, 0, len(grid) - 1)
    above = position.astype(np.intp)
    below = np.minimum(above + 1, len(grid) - 1)
    share = (position - above).astype(np.float32)[:, None, None]
    mixed = grid[above] + share * (grid[below] - grid[above])
    enlarged: Planes = cv2.resize(mixed, (width, len(mixed)), interpolation=cv2.INTER_LINEAR)
    return enlarged.reshape(len(mixed), width, 3)


def _shrink(plane: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    smaller: npt.NDArray[Any] = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA)
    return smaller.reshape(*size, *plane.shape[2:])
