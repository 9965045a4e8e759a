"""The loops over pixels that most of the time around the network goes into.

``imaging`` and ``engines`` call them; those that write files are in ``coding``. Each is a function of the compiled
``library``, or of ``arrays`` where that is missing. Both release the interpreter's lock for nearly all of their time,
and keep no state.

C trusts what it gets, so this module checks the type and the shape of every array. Inputs that are not C-contiguous are
copied, outputs have to be. ``parts`` and ``tiles`` are rectangles of pixels or cells, n x 4: top, bottom, left, right.
"""

from __future__ import annotations

import numpy as np

from service.native import arrays
from service.native.arrays import Bools, Bytes, Floats, Parts
from service.native.checks import checked, place_of, places
from service.native.library import LIBRARY

# As in the C files.
_MOST_REDUCTION, _ALIGNED = 16, 16
_TILE_PLANES, _TILE_ROWS, _TILE_COLUMNS = 11, 32, 128


def _inside(parts: Parts, height: int, width: int) -> Parts:
    """Rectangles that lie within a picture or a grid."""
    parts = checked(parts, np.int32, len(parts), 4)
    if len(parts) and not (
        (parts >= 0).all()
        and (parts[:, 0::2] < parts[:, 1::2]).all()
        and (parts.max(axis=0) <= (height, height, width, width)).all()
    ):
        raise ValueError(f"rectangles that are empty or not inside {height} x {width}")
    return parts


def block_kinds(
    alpha: Floats, shape: tuple[int, int], *, visible: float, solid: float
) -> tuple[Bools, Bools]:
    """Which blocks of a mask have a pixel from ``visible`` on, and which have one below ``solid``.

    Args:
        alpha: H x W.
        shape: height and width of a block; those at the right and the lower edge may be cut off.
        visible: the least value that can be seen.
        solid: the least value that is solid.
    """
    height, width = alpha.shape
    alpha = checked(alpha, np.float32, height, width)
    seen, mixed = np.empty((2, -(-height // shape[0]), -(-width // shape[1])), np.bool_)
    if LIBRARY is None:
        arrays.block_kinds(alpha, shape, seen, mixed, visible=visible, solid=solid)
    else:
        LIBRARY.block_kinds(
            alpha.ctypes.data, height, width, *shape, visible, solid, seen.ctypes.data, mixed.ctypes.data
        )
    return seen, mixed


def any_outside(values: Floats, low: float, high: float) -> bool:
    """Whether any of H x W values lies outside ``low`` to ``high``, or is none."""
    values = checked(values, np.float32, *values.shape)
    if LIBRARY is None:
        return arrays.any_outside(values, low, high)
    return bool(LIBRARY.any_outside(values.ctypes.data, values.size, low, high))


def survey(mask: Floats, *, low: float, high: float, visible: float) -> tuple[int, Bools, Bools]:
    """How many of H x W values are from ``low`` to ``high``; which rows and columns have one from ``visible`` on."""
    height, width = mask.shape
    mask = checked(mask, np.float32, height, width)
    in_row, in_column = np.zeros(height, np.bool_), np.zeros(width, np.bool_)
    if LIBRARY is None:
        count = arrays.survey(mask, in_row, in_column, low=low, high=high, visible=visible)
    else:
        count = LIBRARY.survey(
            mask.ctypes.data, height, width, low, high, visible, in_row.ctypes.data, in_column.ctypes.data
        )
    return int(count), in_row, in_column


def mask_levels(mask: Floats, levels: Bytes) -> None:
    """Clip H x W values to 0-1, and write them into ``levels`` in levels of 255, truncated."""
    height, width = mask.shape
    mask, at = checked(mask, np.float32, height, width), place_of(levels, np.uint8, height, width)
    if LIBRARY is None:
        arrays.mask_levels(mask, levels)
    else:
        LIBRARY.mask_levels(mask.ctypes.data, at, mask.size)


def join_rgba(colours: Bytes, mask: Floats, joined: Bytes) -> None:
    """Write H x W x 3 colours and an H x W mask (see ``mask_levels``) into ``joined``, H x W x 4."""
    height, width = mask.shape
    colours, mask = checked(colours, np.uint8, height, width, 3), checked(mask, np.float32, height, width)
    at = place_of(joined, np.uint8, height, width, 4)
    if LIBRARY is None:
        arrays.join_rgba(colours, mask, joined)
    else:
        LIBRARY.join_rgba(colours.ctypes.data, mask.ctypes.data, at, mask.size)


def blend(target: Bytes, front: Bytes, mask: Floats, parts: Parts) -> None:
    """Put rectangles of a front over those of ``target``: ``front * mask + target * (1 - mask)``, truncated.

    Args:
        target: H x W x 3; its rows are contiguous, but may lie apart.
        front: H x W x 3.
        mask: H x W, clipped to 0-1.
        parts: rectangles that do not overlap.
    """
    height, width = mask.shape
    front, mask = checked(front, np.uint8, height, width, 3), checked(mask, np.float32, height, width)
    parts = _inside(parts, height, width)
    if (
        target.dtype != np.uint8
        or target.shape != front.shape
        or (width > 1 and target.strides[1] != 3)
        or target.strides[2] != 1
        or not target.flags.writeable
    ):
        raise ValueError(f"a target of {target.dtype}, {target.shape} and strides {target.strides}")
    if LIBRARY is None:
        arrays.blend(target, front, mask, parts)
    else:
        LIBRARY.blend(
            target.ctypes.data,
            target.strides[0],
            front.ctypes.data,
            mask.ctypes.data,
            width,
            parts.ctypes.data,
            len(parts),
        )


def reduce(image: Bytes, alpha: Floats, reduction: int) -> tuple[Floats, Floats]:
    """The means of squares of pixels; those at the right and the lower edge may be cut off.

    Args:
        image: H x W x 3.
        alpha: H x W.
        reduction: pixels a side.

    Returns:
        3 x h x w, in whole levels; h x w.
    """
    height, width = alpha.shape
    image, alpha = checked(image, np.uint8, height, width, 3), checked(alpha, np.float32, height, width)
    shape = -(-height // reduction), -(-width // reduction)
    colours, mask = np.empty((3, *shape), np.float32), np.empty(shape, np.float32)
    if LIBRARY is None or reduction > _MOST_REDUCTION:
        arrays.reduce(image, alpha, colours, mask, reduction)
    else:
        room = np.empty(5 * (width + reduction), np.uint32)
        LIBRARY.reduce(
            image.ctypes.data,
            alpha.ctypes.data,
            height,
            width,
            reduction,
            colours.ctypes.data,
            mask.ctypes.data,
            room.ctypes.data,
        )
    return colours, mask


def enlarge(planes: Floats, size: tuple[int, int]) -> Floats:
    """Planes (n x h x w) in a larger size (height, width), bilinear between the middles of pixels."""
    count, rows, columns = planes.shape
    planes = checked(planes, np.float32, count, rows, columns)
    result = np.empty((count, *size), np.float32)
    if LIBRARY is None:
        arrays.enlarge(planes, result)
    else:
        room = np.empty(5 * size[1], np.uint32)
        LIBRARY.enlarge(planes.ctypes.data, count, rows, columns, result.ctypes.data, *size, room.ctypes.data)
    return result


def enlarge_mask(mask: Floats, size: tuple[int, int]) -> Floats:
    """A mask in another size (height, width), bilinear between its corners, and clipped to 0-1.

    It is ``torch.nn.functional.interpolate`` with ``align_corners=True`` within the rounding of float32. What is no
    number stays so.

    Raises:
        RuntimeError: the library is missing; use PyTorch.
    """
    rows, columns = mask.shape
    mask = checked(mask, np.float32, rows, columns)
    if LIBRARY is None:
        raise RuntimeError("enlarge_mask needs the compiled library")
    result = np.empty(size, np.float32)
    room = np.empty(5 * size[1], np.uint32)
    LIBRARY.enlarge_mask(mask.ctypes.data, rows, columns, result.ctypes.data, *size, room.ctypes.data)
    return result


def relax(
    start: Floats,
    colours: Floats,
    alpha: Floats,
    tiles: Parts,
    *,
    sweeps: int,
    smoothness: tuple[float, float],
    momentum: float,
) -> Floats:
    """Move F and B towards the minimum in tiles of a grid, in that many sweeps.

    Let ``b = 1 - a``, ``m`` the weighted mean of the neighbours' F, ``n`` that of their B, and ``s`` the sum of the
    weights. Then ``(a F + b B - I)^2 + s (F - m)^2 + s (B - n)^2`` is minimal for ``F = m + a r`` and ``B = n + b r``,
    where ``r = (I - a m - b n) / (s + a^2 + b^2)``. From the second sweep on, a cell moves ``momentum`` times as far
    from where it was two sweeps ago.

    Each tile is solved with a margin of as many cells as there are sweeps. A cell learns of its neighbours with each
    sweep, so the tile's own cells become what solving the whole grid would give.

    Args:
        start: 2 x 3 x H x W: F and B.
        colours: 3 x H x W.
        alpha: H x W.
        tiles: rectangles of cells.
        sweeps: at least 1.
        smoothness: the weight of a neighbour, and what a unit of difference in alpha adds to it.
        momentum: 1 for none.

    Returns:
        2 x 3 x H x W; outside of the tiles, what ``start`` is.
    """
    height, width = alpha.shape
    start = checked(start, np.float32, 2, 3, height, width)
    colours, alpha = checked(colours, np.float32, 3, height, width), checked(alpha, np.float32, height, width)
    tiles = _inside(tiles, height, width)
    everywhere = len(tiles) == 1 and tuple(tiles[0]) == (0, height, 0, width)
    result = np.empty_like(start) if everywhere else start.copy()
    if LIBRARY is None:
        arrays.relax(
            start, colours, alpha, result, tiles, sweeps=sweeps, smoothness=smoothness, momentum=momentum
        )
    else:
        row = _TILE_COLUMNS + 2 * sweeps + 2 + _ALIGNED
        room = np.empty(_TILE_PLANES * (_TILE_ROWS + 2 * sweeps + 3) * row + _ALIGNED, np.float32)
        inputs = places(start, colours, alpha, result)
        weights = *smoothness, momentum
        LIBRARY.relax(*inputs, height, width, *places(tiles), len(tiles), sweeps, *weights, *places(room))
    return result


def unmix(
    image: Bytes,
    alpha: Floats,
    result: Bytes,
    *,
    grid: Floats,
    reduction: int,
    parts: Parts,
    smoothness: float,
) -> None:
    """Write the foreground's colours in some rectangles: F from a grid, corrected so that each pixel composites to the
    picture.

    That is ``F + g (I - a F - (1 - a) B)`` with ``g = a / (a^2 + (1 - a)^2)``.

    Args:
        image: H x W x 3.
        alpha: H x W.
        result: H x W x 3.
        grid: 2 x 3 x h x w: F and B; they are interpolated.
        reduction: pixels a cell.
        parts: rectangles of pixels.
        smoothness: is added to the divisor of ``g``.
    """
    height, width = alpha.shape
    image, alpha = checked(image, np.uint8, height, width, 3), checked(alpha, np.float32, height, width)
    grid = _given_grid(grid, reduction, height, width)
    at, parts = place_of(result, np.uint8, height, width, 3), _inside(parts, height, width)
    if LIBRARY is None:
        arrays.unmix(image, alpha, result, grid=grid, reduction=reduction, parts=parts, smoothness=smoothness)
    else:
        LIBRARY.unmix(
            image.ctypes.data,
            alpha.ctypes.data,
            at,
            width,
            grid.ctypes.data,
            *grid.shape[2:],
            reduction,
            parts.ctypes.data,
            len(parts),
            smoothness,
        )


def continue_colours(result: Bytes, *, grid: Floats, reduction: int, parts: Parts) -> None:
    """Write F from a grid in some rectangles; arguments as for ``unmix``."""
    height, width = result.shape[:2]
    grid, parts = _given_grid(grid, reduction, height, width), _inside(parts, height, width)
    at = place_of(result, np.uint8, height, width, 3)
    if LIBRARY is None:
        arrays.continue_colours(result, grid=grid, reduction=reduction, parts=parts)
    else:
        LIBRARY.continue_colours(
            grid.ctypes.data, *grid.shape[2:], reduction, at, width, parts.ctypes.data, len(parts)
        )


def _given_grid(grid: Floats, reduction: int, height: int, width: int) -> Floats:
    return checked(grid, np.float32, 2, 3, -(-height // reduction), -(-width // reduction))
