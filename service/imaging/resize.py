"""Pixels in another size, strip by strip: beside the result there is little more than one strip.

``compose`` resizes the part of the input that it shows, and the picture behind it. The strips of a result must fit
together without seams.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.imaging.picture import strips

Array = npt.NDArray[Any]

_REACH = 2  # pixels of the coarser grid to each side that a bicubic filter looks at
_FINEST = 4  # a larger reduction begins with means of whole pixels, so that a filter reads few rows at a time
_MOST = 16  # pixels a side: the means of larger blocks are not exact in Pillow


def resize(pixels: Array, box: tuple[float, float, float, float], size: tuple[int, int]) -> Array:
    """A part of an image in another size: bicubic, with a filter as wide as a reduction needs.

    Nothing outside of the part's pixels has an influence on it. Peak memory: the result, strips of about a megabyte,
    and for a reduction to less than a quarter, a sixteenth of the part.

    Args:
        pixels: H x W or H x W x 3, uint8; or H x W, float32, whose range the filter may overshoot.
        box: left, top, right and bottom of the part, in pixels, with fractions.
        size: (width, height) of the result.

    Returns:
        An array of the same type, C-contiguous.
    """
    left, top, right, bottom = box
    first_column, first_row = math.floor(left), math.floor(top)
    pixels = pixels[first_row : math.ceil(bottom), first_column : math.ceil(right)]
    left, right, top, bottom = left - first_column, right - first_column, top - first_row, bottom - first_row
    if (left, top, right, bottom) == (0, 0, *size):
        return np.array(pixels, order="C")
    while (across := _whole_factor(right - left, size[0])) * (
        down := _whole_factor(bottom - top, size[1])
    ) > 1:
        pixels = _means(pixels, across, down)
        left, right, top, bottom = left / across, right / across, top / down, bottom / down
    return _filtered(pixels, (left, top, right, bottom), size)


def _whole_factor(length: float, wanted: int) -> int:
    return min(max(1, int(length / wanted) // _FINEST), _MOST)


def _means(pixels: Array, across: int, down: int) -> Array:
    """The means of blocks of whole pixels."""
    height, width = -(-pixels.shape[0] // down), -(-pixels.shape[1] // across)
    result = np.empty((height, width, *pixels.shape[2:]), pixels.dtype)
    for rows in strips(height, pixels.shape[1] * down):
        part = np.ascontiguousarray(pixels[rows.start * down : rows.stop * down])
        result[rows] = np.asarray(Image.fromarray(part).reduce((across, down)))
    return result


def _filtered(pixels: Array, box: tuple[float, float, float, float], size: tuple[int, int]) -> Array:
    left, top, right, bottom = box
    right, bottom = min(right, pixels.shape[1]), min(bottom, pixels.shape[0])
    result = np.empty((size[1], size[0], *pixels.shape[2:]), pixels.dtype)
    step = (bottom - top) / size[1]
    reach = math.ceil(_REACH * max(step, 1)) + 1
    for rows in strips(size[1], max(size[0], math.ceil(pixels.shape[1] * step))):
        start, stop = top + rows.start * step, min(top + rows.stop * step, bottom)
        first, last = max(int(start) - reach, 0), min(math.ceil(stop) + reach, pixels.shape[0])
        part = Image.fromarray(np.ascontiguousarray(pixels[first:last]))
        result[rows] = np.asarray(
            part.resize(
                (size[0], rows.stop - rows.start),
                Image.Resampling.BICUBIC,
                (left, start - first, right, stop - first),
            )
        )
    return result
