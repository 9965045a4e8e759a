"""The functions of ``coding`` in NumPy and OpenCV, for installations without the compiled library.

``coding`` calls them, checks what they get, and documents what each does. They must give the bytes that the C functions
give. What ``arrays`` says of its functions is true of these, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from service.native.arrays import Bytes, opencv

_NONE, _UP, _PAETH = 0, 2, 4
_STRIP_BYTES = 1 << 17
_BLOCKS_AT_ONCE = 256

_PIXEL = np.dtype("<u4")
"""The four bytes of a pixel as a number, red lowest."""
_VISIBLE = 1 << 24
"""The smallest number of a pixel whose mask is not 0."""
_ALL_VISIBLE = 0x0101010101010101
_LEVELS = np.arange(256, dtype=_PIXEL)
_GREEN = _LEVELS << 8
_MARKED_GREEN = _GREEN | (_LEVELS & 1) * 255


class WebpFilter(IntEnum):
    """How the values of a mask are predicted; the numbers are those of an ALPH chunk (RFC 9649, 2.7.1.2)."""

    UNFILTERED = 0
    HORIZONTAL = 1
    """The value to the left; in the first column the one above."""
    GRADIENT = 3
    """Left + above - corner, limited to 0-255."""


def filter_by_paeth(rows: Bytes, above: Bytes, filtered: Bytes, channels: int) -> None:
    """If the corner lies between left and up, and at least twice as far from one as from the other, the nearest is the
    farther one, else the corner itself; if it does not lie between them, it is the one that is farther from the corner.
    """
    padded = np.zeros((len(rows) + 1, channels + rows.shape[1]), np.uint8)
    padded[0, channels:] = above
    padded[1:, channels:] = rows
    row = padded.shape[1]
    flat = padded.reshape(-1)  # in one dimension, short rows cost no more than long ones
    here, left = flat[row + channels :], flat[row:-channels]
    up, corner = flat[channels:-row], flat[: -row - channels]
    lower, upper = np.minimum(left, up), np.maximum(left, up)
    over = np.maximum(corner, lower)
    over -= lower  # how far the corner is above the lower one; 0 if it is below it
    under = upper - np.minimum(upper, corner, out=lower)
    take_lower = np.negative(((over >> 1) >= under).view(np.uint8))  # 255 where it is so
    take_upper = np.negative(((under >> 1) >= over).view(np.uint8))
    difference = np.subtract(here, corner, out=lower)
    difference += np.bitwise_and(over, take_lower, out=take_lower)
    difference -= np.bitwise_and(under, take_upper, out=take_upper)
    filtered[:, 0] = _PAETH
    # The difference of a row's first pixel comes after those of the padding before it, which nobody needs.
    last = difference[-(row - channels) :]
    filtered[-1, 1:] = last
    filtered[:-1, 1:] = difference[: -(row - channels)].reshape(-1, row)[:, : row - channels]


def filter_grey(rows: Bytes, above: Bytes, filtered: Bytes, costs: Bytes) -> None:
    """See ``coding.filter_grey``."""
    filter_by_paeth(rows, above, filtered, 1)
    least = _cost(filtered[:, 1:], costs)
    ups = rows - np.concatenate((above[np.newaxis], rows[:-1]))
    for kind, candidate in ((_UP, ups), (_NONE, rows)):
        cost = _cost(candidate, costs)
        better = cost < least
        filtered[better, 0] = kind
        filtered[better, 1:] = candidate[better]
        least = np.minimum(cost, least)


def _cost(rows: Bytes, costs: Bytes) -> npt.NDArray[np.int32]:
    """About how long each row becomes."""
    cv2 = opencv()
    bits = cv2.LUT(rows, costs).reshape(rows.shape)
    sums: npt.NDArray[np.int32] = cv2.reduce(bits, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    return sums


def webp_mask(pixels: Bytes, filtered: WebpFilter, image: Bytes) -> None:
    """See ``coding.webp_mask``."""
    mask, numbers = pixels[..., 3], image.view(_PIXEL)[..., 0]
    strips, values, top = _strips(mask), _GREEN, 0
    if filtered is WebpFilter.HORIZONTAL:
        strips = _filter_by_left(strips)
    elif filtered is WebpFilter.GRADIENT:
        strips, values = _filter_by_gradient(strips), _MARKED_GREEN
    for strip in strips:
        np.take(values, strip, out=numbers[top : top + len(strip)], mode="clip")
        top += len(strip)


def _strips(mask: Bytes) -> Iterator[Bytes]:
    rows = max(1, _STRIP_BYTES // mask.shape[1])
    for top in range(0, len(mask), rows):
        yield mask[top : top + rows]


def _filter_by_gradient(strips: Iterator[Bytes]) -> Iterator[Bytes]:
    last = None
    for here in strips:
        above = np.concatenate([here[:1] if last is None else last, here[:-1]])
        guess = np.empty(here.shape, np.int16)
        guess[:, 0] = above[:, 0]
        np.subtract(here[:, :-1], above[:, :-1], out=guess[:, 1:], dtype=np.int16)
        guess[:, 1:] += above[:, 1:]
        np.clip(guess, 0, 255, out=guess)
        if last is None:
            guess[0, 0] = 0
            guess[0, 1:] = here[0, :-1]
        last = here[-1:]
        yield here - guess.astype(np.uint8)


def _filter_by_left(strips: Iterator[Bytes]) -> Iterator[Bytes]:
    above = 0
    for here in strips:
        filtered = here.copy()
        filtered[:, 1:] -= here[:, :-1]
        filtered[1:, 0] -= here[:-1, 0]
        filtered[0, 0] = (int(here[0, 0]) - above) & 255
        above = int(here[-1, 0])
        yield filtered


def webp_colours(pixels: Bytes, side: int) -> None:
    """See ``coding.webp_colours``; ``side`` is that of a block in pixels, 8."""
    height, width = pixels.shape[:2]
    down, across, half = height // side, width // side, side // 2
    numbers = pixels.view(_PIXEL)[..., 0]
    visible = (numbers >= _VISIBLE).view(np.uint64).reshape(down, side, across)
    some = np.bitwise_or.reduce(visible, axis=1) != 0
    every = np.bitwise_and.reduce(visible, axis=1) == _ALL_VISIBLE
    blocks = pixels.reshape(down, side, across, side, 4).swapaxes(1, 2)
    for rows, columns in _positions(some & ~every):
        block = blocks[rows, columns].reshape(-1, side**2, 4)
        weight = (block[..., 3:] > 0).astype(np.uint32)
        quads = (-1, half, 2, half, 2)
        totals = (block * weight).reshape(*quads, 4).sum(axis=(2, 4), keepdims=True)
        counts = weight.reshape(*quads, 1).sum(axis=(2, 4), keepdims=True)
        mean = totals.sum(axis=(1, 3), keepdims=True) // counts.sum(axis=(1, 3), keepdims=True)
        fill = np.where(counts > 0, totals // np.maximum(counts, 1), mean).astype(np.uint8)
        np.copyto(block.reshape(*quads, 4), fill, where=weight.reshape(*quads, 1) == 0)
        blocks[rows, columns] = block.reshape(-1, side, side, 4)
    starts = ~some
    starts[:, 1:] &= some[:, :-1]
    start = np.maximum.accumulate(np.where(starts, np.arange(across), 0), axis=1)
    colours = np.take_along_axis(numbers[::side, ::side], start, axis=1)
    blocks_of_numbers = numbers.reshape(down, side, across, side).swapaxes(1, 2)
    for rows, columns in _positions(~some):
        blocks_of_numbers[rows, columns] = colours[rows, columns][:, None, None]


def _positions(chosen: npt.NDArray[np.bool_]) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """The rows and columns of the chosen elements, some at a time."""
    rows, columns = np.nonzero(chosen)
    for first in range(0, len(rows), _BLOCKS_AT_ONCE):
        yield rows[first : first + _BLOCKS_AT_ONCE], columns[first : first + _BLOCKS_AT_ONCE]
