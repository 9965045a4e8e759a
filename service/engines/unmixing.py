"""Colour unmixing: the colours of the foreground along soft edges, without the background's share.

Every engine's ``foreground`` calls it, on several threads at the same time. So it must keep no state. NumPy and OpenCV
release the interpreter lock, and nothing has to be compiled. Importing this module imports OpenCV, so it must not be
imported before the port is open.

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

Planes = npt.NDArray[np.float32]
"""... x h x w, float32; the range of colours is 0 to 255."""

_REDUCTION = 4  # how many times shorter the sides of the finest grid are than the picture's
_MIN_SIDE = 64  # pixels of the finest grid's long side, if the picture has that many
_MAX_GRID_PIXELS = 1 << 20  # of the finest grid, for pictures of any size: limits its memory to 200 MB
_MAX_ROW = 1 << 15  # pixels

_BLOCK = 16  # cells of a grid a side: what is solved and corrected, or left out, at once
_MARGIN = 5  # cells around a block: one more than sweeps, see _relax_blocks
_BLOCKS_AT_ONCE = 16  # what is computed of them fits into a core's cache
_LEAST_CONTINUATION = 16  # pixels
_THUMBNAIL = 128  # pixels of the long side
_COARSEST_SIDE = 8  # cells: from one end of it to the other, colours spread in half of its sweeps
_WHOLE_GRID = 1 << 16  # cells up to which a grid is solved as one

_SMOOTHNESS = np.float32(1e-5)
_EDGE_SMOOTHNESS = np.float32(0.01)
_MOMENTUM = np.float32(1.6)
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
    seen, mixed = blocks.kinds(alpha, fine)
    visible, soft = blocks.joined(seen, mixed, side // fine)
    result = np.zeros_like(image)
    for rows, columns in blocks.parts(visible & ~soft, side, alpha.shape):
        result[rows, columns] = image[rows, columns]
    beside = blocks.grown(visible) & ~visible
    if not (soft.any() or beside.any()):
        return result
    if loops.available:
        colours, mask = loops.reduce(image, alpha, reduction)
    else:
        colours = np.ascontiguousarray(_reduced(image, reduction).transpose(2, 0, 1)).astype(np.float32)
        mask = _reduced(alpha, reduction)
    solution = _solve(colours, mask, soft)
    if loops.available:
        loops.unmix(image, alpha, result, solution, reduction, blocks.rectangles(soft, side, alpha.shape), _SMOOTHNESS)
        loops.unmix(image, None, result, solution, reduction, blocks.rectangles(beside, side, alpha.shape), _SMOOTHNESS)
        filled = (soft | beside).repeat(side // fine, axis=0).repeat(side // fine, axis=1)
        far = filled[: len(seen), : seen.shape[1]] & ~blocks.grown(seen)
        for rows, columns in blocks.parts(far, fine, alpha.shape):
            result[rows, columns] = 0
        return result
    front, behind = solution
    front, behind = (np.ascontiguousarray(planes.transpose(1, 2, 0)) for planes in (front, behind))
    for rows, columns in blocks.parts(soft, side, alpha.shape):
        result[rows, columns] = _correct(
            image[rows, columns],
            alpha[rows, columns],
            _enlarge_part(front, rows, columns, reduction),
            _enlarge_part(behind, rows, columns, reduction),
        )
    for rows, columns in blocks.parts(beside, side, alpha.shape):
        result[rows, columns] = cv2.add(_enlarge_part(front, rows, columns, reduction), 0, dtype=cv2.CV_8U)
    filled = (soft | beside).repeat(side // fine, axis=0).repeat(side // fine, axis=1)
    far = filled[: len(seen), : seen.shape[1]] & ~blocks.grown(seen)
    for rows, columns in blocks.parts(far, fine, alpha.shape):
        result[rows, columns] = 0
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


def _reduced(plane: npt.NDArray[Any], reduction: int) -> npt.NDArray[Any]:
    """The means of squares of pixels; those at the right and the lower edge may be cut off."""
    height, width = plane.shape[:2]
    rows, columns = height // reduction, width // reduction
    result = np.empty((-(-height // reduction), -(-width // reduction), *plane.shape[2:]), plane.dtype)
    for to, source in ((np.s_[:rows], np.s_[: rows * reduction]), (np.s_[rows:], np.s_[rows * reduction :])):
        for across, taken in (
            (np.s_[:columns], np.s_[: columns * reduction]),
            (np.s_[columns:], np.s_[columns * reduction :]),
        ):
            part = result[to, across]
            if part.size:
                part[...] = _shrink(plane[source, taken], part.shape[:2])
    return result


def _solve(colours: Planes, alpha: Planes, chosen: Blocks) -> tuple[Planes, Planes]:
    """F and B, 3 x h x w each, of a picture whose colours are 3 x h x w, exact in those blocks of its finest grid."""
    grids = [(colours, alpha, chosen)]
    while max(alpha.shape) > _COARSEST_SIDE:
        size = (alpha.shape[0] + 1) // 2, (alpha.shape[1] + 1) // 2
        colours, alpha = np.stack([_shrink(plane, size) for plane in colours]), _shrink(alpha, size)
        grids.append((colours, alpha, _needed_below(grids[-1][2], size)))
    finest_colours, finest_alpha, _ = grids[0]
    sides = [_mean(finest_colours, finest_alpha > 0.9), _mean(finest_colours, finest_alpha < 0.1)]
    solution = np.stack(sides)[:, :, None, None]
    for colours, alpha, needed in reversed(grids):
        sweeps = _SWEEPS if max(alpha.shape) > _COARSE_SIDE else _COARSE_SWEEPS
        solution = _enlarge(solution, alpha.shape)
        if loops.available:
            whole = alpha.size <= _WHOLE_GRID or sweeps >= _MARGIN or min(alpha.shape) <= _BLOCK
            result = solution.copy()
            if whole and max(alpha.shape) <= _COARSE_SIDE:
                tiles = np.array([[0, alpha.shape[0], 0, alpha.shape[1]]], np.int32)
            else:
                if whole: needed = np.ones((-(-alpha.shape[0] // _BLOCK), -(-alpha.shape[1] // _BLOCK)), bool)
                tiles = blocks.rectangles(needed, _BLOCK, alpha.shape, 4) + np.array([-1,1,-1,1], np.int32)
                tiles = np.clip(tiles, 0, np.array([alpha.shape[0]]*2+[alpha.shape[1]]*2)).astype(np.int32)
            loops.relax(solution, colours, alpha, result, tiles, sweeps, _SMOOTHNESS, _EDGE_SMOOTHNESS, _MOMENTUM)
            solution = result
        elif alpha.size <= _WHOLE_GRID or sweeps >= _MARGIN or min(alpha.shape) <= _BLOCK:
            solution = _relax(solution[:, :, None], colours[:, None], alpha[None], sweeps)[:, :, 0]
        else:
            _relax_blocks(solution, colours, alpha, needed, sweeps)
    return solution


def _needed_below(chosen: Blocks, size: tuple[int, int]) -> Blocks:
    """The blocks of the next coarser grid (of that size) from which those blocks and their margins are enlarged."""
    grown = blocks.grown(chosen)
    needed = np.zeros((-(-size[0] // _BLOCK), -(-size[1] // _BLOCK)), bool)
    for part in (grown[::2, ::2], grown[1::2, ::2], grown[::2, 1::2], grown[1::2, 1::2]):
        needed[: part.shape[0], : part.shape[1]] |= part
    return needed


def _relax_blocks(solution: Planes, colours: Planes, alpha: Planes, chosen: Blocks, sweeps: int) -> None:
    """What ``_relax`` does, in those blocks only, in place.

    Each is taken with a margin. A cell learns of its neighbours with each sweep, so after as many sweeps, all but the
    outermost cells are what solving the whole grid would give. The cells around a block are kept too, because the
    pixels at its edge are interpolated from them.
    """
    height, width = alpha.shape
    shape = min(_BLOCK + 2 * _MARGIN, height), min(_BLOCK + 2 * _MARGIN, width)
    rows, columns = np.nonzero(chosen)
    tops = np.clip(rows * _BLOCK - _MARGIN, 0, height - shape[0])
    lefts = np.clip(columns * _BLOCK - _MARGIN, 0, width - shape[1])
    start, seen, mask = (
        np.lib.stride_tricks.sliding_window_view(planes, shape, axis=(-2, -1))
        for planes in (solution.copy(), colours, alpha)
    )
    for first in range(0, len(rows), _BLOCKS_AT_ONCE):
        some = slice(first, first + _BLOCKS_AT_ONCE)
        at = tops[some], lefts[some]
        relaxed = _relax(start[:, :, *at], seen[:, *at], mask[at], sweeps)
        for number, (row, column, top, left) in enumerate(zip(rows[some], columns[some], *at, strict=True)):
            y, x = max(row * _BLOCK - 1, 0), max(column * _BLOCK - 1, 0)
            bottom, right = min((row + 1) * _BLOCK + 1, height), min((column + 1) * _BLOCK + 1, width)
            solution[..., y:bottom, x:right] = relaxed[
                :, :, number, y - top : bottom - top, x - left : right - left
            ]


def _mean(colours: Planes, chosen: npt.NDArray[np.bool_]) -> Planes:
    total: Planes = colours.reshape(3, -1) @ chosen.reshape(-1).astype(np.float32)
    total /= max(1, int(np.count_nonzero(chosen)))
    return total


def _relax(start: Planes, colours: Planes, alpha: Planes, sweeps: int) -> Planes:
    """Move F and B (2 x 3 x n x h x w) towards the minimum on n grids of one size, in that many sweeps.

    Let ``b = 1 - a``, ``m`` the weighted mean of the neighbours' F, ``n`` that of their B, and ``s`` the sum of the
    weights. Then ``(a F + b B - I)^2 + s (F - m)^2 + s (B - n)^2`` is minimal for ``F = m + a r`` and ``B = n + b r``,
    where ``r = (I - a m - b n) / (s + a^2 + b^2)``.
    """
    # A border of one pixel gives every pixel four neighbours. All arrays have it, and are used in one dimension, where
    # a neighbour is always the same distance away: what is computed of the border is overwritten before each sweep.
    border = ((0, 0), (1, 1), (1, 1))
    weights, total = _neighbour_weights(alpha)
    alpha, colours = np.pad(alpha, border), np.pad(colours, ((0, 0), *border))
    down = alpha.shape[2]
    first, stop = down + 1, alpha.size - down - 1
    inner = slice(first, stop)
    alpha, clear = alpha.ravel()[inner], 1 - alpha.ravel()[inner]
    gain = 1 / (total.ravel()[inner] + alpha * alpha + clear * clear)
    front_gain, back_gain = gain * alpha, gain * clear
    colours = colours.reshape(3, -1)[:, inner]
    neighbours = [
        (slice(first + step, stop + step), weight[inner])
        for step, weight in zip((-1, 1, -down, down), weights.reshape(4, -1), strict=True)
    ]
    current = np.pad(start, ((0, 0), (0, 0), *border))
    older = current.copy()
    moved, product = np.empty((2, 2, 3, stop - first), np.float32)
    for sweep in range(sweeps):
        current[..., 0, :], current[..., -1, :] = current[..., 1, :], current[..., -2, :]
        current[..., 0], current[..., -1] = current[..., 1], current[..., -2]
        flat = current.reshape(2, 3, -1)
        np.multiply(flat[..., neighbours[0][0]], neighbours[0][1], out=moved)
        for place, weight in neighbours[1:]:
            moved += np.multiply(flat[..., place], weight, out=product)
        residual = np.multiply(moved[0], alpha, out=product[0])
        residual += np.multiply(moved[1], clear, out=product[1])
        np.subtract(colours, residual, out=residual)
        np.multiply(residual, back_gain, out=product[1])
        residual *= front_gain
        moved += product
        # The oldest solution gives way to the newest; there is no other copy of either.
        newest = older.reshape(2, 3, -1)[..., inner]
        if sweep > 0:  # momentum: previous + 1.6 (moved - previous)
            moved -= newest
            moved *= _MOMENTUM
            moved += newest
        moved.clip(0, 255, out=newest)
        current, older = older, current
    return current[..., 1:-1, 1:-1]


def _neighbour_weights(alpha: Planes) -> tuple[Planes, Planes]:
    """The weights of each pixel's left, right, upper and lower neighbour, and their sum.

    Args:
        alpha: n x h x w.

    Returns:
        The weights, 4 x n x (h + 2) x (w + 2) with a border, scaled so that they add up to 1; their sum before that.
    """
    grids, height, width = alpha.shape
    weights = np.full((4, grids, height + 2, width + 2), _SMOOTHNESS)
    inner = weights[..., 1:-1, 1:-1]
    across = np.abs(np.diff(alpha, axis=2)) * _EDGE_SMOOTHNESS
    down = np.abs(np.diff(alpha, axis=1)) * _EDGE_SMOOTHNESS
    inner[0, ..., 1:] += across
    inner[1, ..., :-1] += across
    inner[2, :, 1:] += down
    inner[3, :, :-1] += down
    total: Planes = weights.sum(axis=0)
    weights /= total
    return weights, total


def _correct(image: RGB, alpha: Alpha, front: Planes, behind: Planes) -> RGB:
    """Correct F so that each pixel composites to the picture; overwrites ``front``.

    The result is ``F + g (I - a F - (1 - a) B)`` with ``g = a / (a^2 + (1 - a)^2)``. With ``D = F - B``, it needs fewer
    operations in the form ``B + (1 - g a) D + g (I - B)``.
    """
    g = alpha / (alpha * alpha + (1 - alpha) * (1 - alpha) + _SMOOTHNESS)
    keep = 1 - g * alpha
    missing = cv2.subtract(image, behind, dtype=cv2.CV_32F).reshape(image.shape)
    missing *= cv2.merge((g, g, g)).reshape(image.shape)
    front -= behind
    front *= cv2.merge((keep, keep, keep)).reshape(image.shape)
    front += behind
    corrected: RGB = cv2.add(front, missing, dtype=cv2.CV_8U)  # rounds and saturates
    return corrected.reshape(image.shape)


def _enlarge_part(grid: Planes, rows: slice, columns: slice, reduction: int) -> Planes:
    """Some pixels of planes (h x w x 3) enlarged so many times; the division into parts does not matter."""
    taken, inside = [], []
    for part, cells in zip((rows, columns), grid.shape, strict=False):
        first, last = max(part.start // reduction - 1, 0), min(-(-part.stop // reduction) + 1, cells)
        taken.append(slice(first, last))  # with what the interpolation reaches
        inside.append(slice(part.start - first * reduction, part.stop - first * reduction))
    small = grid[taken[0], taken[1]]
    size = small.shape[1] * reduction, small.shape[0] * reduction
    enlarged: Planes = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return enlarged.reshape(size[1], size[0], 3)[inside[0], inside[1]]


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


def _enlarge(planes: Planes, size: tuple[int, int]) -> Planes:
    enlarged = np.empty((*planes.shape[:2], *size), np.float32)
    for index in np.ndindex(planes.shape[:2]):
        enlarged[index] = cv2.resize(planes[index], size[::-1], interpolation=cv2.INTER_LINEAR).reshape(size)
    return enlarged
