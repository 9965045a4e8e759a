"""The functions of ``loops`` in NumPy and OpenCV, for installations without the compiled library.

``loops`` calls them, checks what they get, and documents what each does. They must give what the C functions give:
to the bit where that computes with integers or in a stated order, else within the rounding of float32. They must also
keep no state, because they run on several threads at the same time. Importing this module must not import OpenCV, which
takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Parts = npt.NDArray[np.int32]

_STRIP_PIXELS = 1 << 16


def opencv() -> Any:
    """OpenCV, imported at the first call."""
    import cv2  # noqa: PLC0415  # takes long to import, so it must not happen before the port is open

    return cv2


def block_kinds(
    alpha: Floats, shape: tuple[int, int], seen: Bools, mixed: Bools, *, visible: float, solid: float
) -> None:
    """See ``loops.block_kinds``."""
    down, right = shape
    across = np.arange(0, alpha.shape[1], right)
    for row in range(len(seen)):
        strip = alpha[row * down : (row + 1) * down]
        seen[row] = np.maximum.reduceat(strip.max(axis=0), across) >= np.float32(visible)
        mixed[row] = np.minimum.reduceat(strip.min(axis=0), across) < np.float32(solid)


def any_outside(values: Floats, low: float, high: float) -> bool:
    """See ``loops.any_outside``."""
    return not (values.min() >= low and values.max() <= high)  # true for NaN, too


def survey(mask: Floats, in_row: Bools, in_column: Bools, *, low: float, high: float, visible: float) -> int:
    """See ``loops.survey``."""
    between = 0
    for rows in _strips(mask):
        strip = mask[rows]
        in_column |= strip.max(axis=0) >= np.float32(visible)
        in_row[rows] = strip.max(axis=1) >= np.float32(visible)
        between += int(
            np.count_nonzero(strip >= np.float32(low)) - np.count_nonzero(strip > np.float32(high))
        )
    return between


def _strips(mask: Floats) -> Iterator[slice]:
    """The rows that are computed at once: there is no second array of the mask's size."""
    rows = max(1, _STRIP_PIXELS // mask.shape[1])
    return (slice(top, top + rows) for top in range(0, len(mask), rows))


def mask_levels(mask: Floats, levels: Bytes) -> None:
    """See ``loops.mask_levels``."""
    for rows in _strips(mask):
        clipped = np.clip(mask[rows], 0, 1)
        clipped *= 255
        levels[rows] = clipped


def join_rgba(colours: Bytes, mask: Floats, joined: Bytes) -> None:
    """See ``loops.join_rgba``."""
    cv2 = opencv()
    for rows in _strips(mask):
        levels = np.empty(mask[rows].shape, np.uint8)
        mask_levels(mask[rows], levels)
        cv2.cvtColor(colours[rows], cv2.COLOR_RGB2RGBA, dst=joined[rows])
        cv2.insertChannel(levels, joined[rows], 3)


def blend(target: Bytes, front: Bytes, mask: Floats, parts: Parts) -> None:
    """See ``loops.blend``."""
    cv2 = opencv()
    for part in _slices(parts):
        behind, before, share = target[part], front[part], np.clip(mask[part], 0, 1)
        weight = cv2.merge((share, share, share)).reshape(before.shape)
        shown = cv2.multiply(before, weight, dtype=cv2.CV_32F).reshape(before.shape)
        np.subtract(1, weight, out=weight)
        shown += cv2.multiply(behind, weight, dtype=cv2.CV_32F).reshape(before.shape)
        behind[...] = shown


def _slices(parts: Parts) -> Iterator[tuple[slice, slice]]:
    for top, bottom, left, right in parts.tolist():
        yield slice(top, bottom), slice(left, right)


def reduce(image: Bytes, alpha: Floats, colours: Floats, mask: Floats, reduction: int) -> None:
    """See ``loops.reduce``."""
    small = np.empty((*mask.shape, 3), np.uint8)
    _reduce_plane(image, reduction, small)
    colours[...] = small.transpose(2, 0, 1)
    _reduce_plane(alpha, reduction, mask)


def _reduce_plane(plane: npt.NDArray[Any], reduction: int, result: npt.NDArray[Any]) -> None:
    cv2 = opencv()
    height, width = plane.shape[:2]
    rows, columns = height // reduction, width // reduction
    for to, source in ((np.s_[:rows], np.s_[: rows * reduction]), (np.s_[rows:], np.s_[rows * reduction :])):
        for across, taken in (
            (np.s_[:columns], np.s_[: columns * reduction]),
            (np.s_[columns:], np.s_[columns * reduction :]),
        ):
            part = result[to, across]
            if part.size:
                size = part.shape[1], part.shape[0]
                part[...] = cv2.resize(plane[source, taken], size, interpolation=cv2.INTER_AREA).reshape(
                    part.shape
                )


def enlarge(planes: Floats, result: Floats) -> None:
    """See ``loops.enlarge``."""
    cv2 = opencv()
    size = result.shape[2], result.shape[1]
    for plane, enlarged in zip(planes, result, strict=True):
        enlarged[...] = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR).reshape(enlarged.shape)


def relax(
    start: Floats,
    colours: Floats,
    alpha: Floats,
    result: Floats,
    tiles: Parts,
    *,
    sweeps: int,
    smoothness: tuple[float, float],
    momentum: float,
) -> None:
    """See ``loops.relax``."""
    height, width = alpha.shape
    for top, bottom, left, right in tiles.tolist():
        above, before = max(top - sweeps, 0), max(left - sweeps, 0)
        part = np.s_[above : min(bottom + sweeps, height), before : min(right + sweeps, width)]
        solved = _relax(
            start[..., *part],
            colours[..., *part],
            alpha[part],
            sweeps=sweeps,
            smoothness=smoothness,
            momentum=momentum,
        )
        own = solved[..., top - above : bottom - above, left - before : right - before]
        result[..., top:bottom, left:right] = own


def _relax(
    start: Floats,
    colours: Floats,
    alpha: Floats,
    *,
    sweeps: int,
    smoothness: tuple[float, float],
    momentum: float,
) -> Floats:
    """F and B (2 x 3 x h x w) of a whole grid."""
    # A border of one pixel gives every pixel four neighbours. All arrays have it, and are used in one dimension, where
    # a neighbour is always the same distance away: what is computed of the border is overwritten before each sweep.
    border = ((1, 1), (1, 1))
    weights, total = _neighbour_weights(alpha, smoothness)
    alpha, colours = np.pad(alpha, border), np.pad(colours, ((0, 0), *border))
    down = alpha.shape[1]
    first, stop = down + 1, alpha.size - down - 1
    inner = slice(first, stop)
    alpha = alpha.ravel()[inner]
    clear = 1 - alpha
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
        if sweep > 0:
            moved -= newest
            moved *= np.float32(momentum)
            moved += newest
        moved.clip(0, 255, out=newest)
        current, older = older, current
    return current[..., 1:-1, 1:-1]


def _neighbour_weights(alpha: Floats, smoothness: tuple[float, float]) -> tuple[Floats, Floats]:
    """The weights of each pixel's left, right, upper and lower neighbour, and their sum.

    Returns:
        The weights, 4 x (h + 2) x (w + 2) with a border, scaled so that they add up to 1; their sum before that.
    """
    height, width = alpha.shape
    weights = np.full((4, height + 2, width + 2), np.float32(smoothness[0]))
    inner = weights[:, 1:-1, 1:-1]
    across = np.abs(np.diff(alpha, axis=1)) * np.float32(smoothness[1])
    down = np.abs(np.diff(alpha, axis=0)) * np.float32(smoothness[1])
    inner[0, :, 1:] += across
    inner[1, :, :-1] += across
    inner[2, 1:] += down
    inner[3, :-1] += down
    total: Floats = weights.sum(axis=0)
    weights /= total
    return weights, total


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
    """With ``D = F - B``, the formula needs fewer operations as ``B + (1 - g a) D + g (I - B)``."""
    cv2 = opencv()
    front, behind = (np.ascontiguousarray(planes.transpose(1, 2, 0)) for planes in grid)
    for part in _slices(parts):
        mask = alpha[part]
        g = mask / (mask * mask + (1 - mask) * (1 - mask) + np.float32(smoothness))
        keep = 1 - g * mask
        f, b = (_enlarge_part(planes, part, reduction) for planes in (front, behind))
        missing = cv2.subtract(image[part], b, dtype=cv2.CV_32F).reshape(f.shape)
        missing *= cv2.merge((g, g, g)).reshape(f.shape)
        f -= b
        f *= cv2.merge((keep, keep, keep)).reshape(f.shape)
        f += b
        # rounds and saturates
        result[part] = cv2.add(f, missing, dtype=cv2.CV_8U).reshape(f.shape)


def continue_colours(result: Bytes, *, grid: Floats, reduction: int, parts: Parts) -> None:
    """See ``loops.continue_colours``."""
    cv2 = opencv()
    front = np.ascontiguousarray(grid[0].transpose(1, 2, 0))
    for part in _slices(parts):
        enlarged = _enlarge_part(front, part, reduction)
        result[part] = cv2.add(enlarged, 0, dtype=cv2.CV_8U).reshape(enlarged.shape)


def _enlarge_part(grid: Floats, part: tuple[slice, slice], reduction: int) -> Floats:
    """Some pixels of planes (h x w x 3) enlarged so many times; the division into parts does not matter."""
    cv2 = opencv()
    taken, inside = [], []
    for pixels, cells in zip(part, grid.shape, strict=False):
        first, last = max(pixels.start // reduction - 1, 0), min(-(-pixels.stop // reduction) + 1, cells)
        taken.append(slice(first, last))  # with what the interpolation reaches
        inside.append(slice(pixels.start - first * reduction, pixels.stop - first * reduction))
    small = grid[taken[0], taken[1]]
    size = small.shape[1] * reduction, small.shape[0] * reduction
    enlarged: Floats = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return enlarged.reshape(size[1], size[0], 3)[inside[0], inside[1]]
