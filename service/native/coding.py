"""The loops over pixels that write files: filters of PNG, compression, and the parts of WebP.

``imaging`` calls them. Each is a function of the compiled ``library``, or of ``coding_arrays`` where that is missing;
``deflate_block`` is only in the library. What ``loops`` says of its functions is true of these, too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.native import coding_arrays
from service.native.arrays import Bytes
from service.native.checks import checked, place_of
from service.native.coding_arrays import WebpFilter
from service.native.library import LIBRARY, WHY_MISSING

WEBP_BLOCK = 8  # pixels a side; as in webp.c
_MOST_BLOCK = 1 << 24  # bytes; as in deflate.c


def filter_by_paeth(rows: Bytes, above: Bytes, filtered: Bytes, channels: int) -> None:
    """Paeth's filter of PNG: each byte becomes its difference to the one of ``left``, ``up`` and ``corner`` that is
    nearest to ``left + up - corner``.

    Args:
        rows: H x (W * channels).
        above: W * channels; the row before them.
        filtered: H x (1 + W * channels); the result, with the filter's type before each row.
        channels: bytes a pixel.
    """
    count, length = rows.shape
    rows, above = checked(rows, np.uint8, count, length), checked(above, np.uint8, length)
    at = place_of(filtered, np.uint8, count, length + 1)
    if LIBRARY is None:
        coding_arrays.filter_by_paeth(rows, above, filtered, channels)
    else:
        LIBRARY.filter_by_paeth(rows.ctypes.data, above.ctypes.data, at, count, length, channels)


def filter_grey(rows: Bytes, above: Bytes, filtered: Bytes, costs: Bytes) -> None:
    """Paeth's filter, up or none in each row, whichever costs least; arguments as for ``filter_by_paeth``.

    Args:
        rows: H x W.
        above: W.
        filtered: H x (1 + W).
        costs: 256; what each filtered byte costs. The first of two equal filters is taken.
    """
    count, length = rows.shape
    rows, above = checked(rows, np.uint8, count, length), checked(above, np.uint8, length)
    at, costs = place_of(filtered, np.uint8, count, length + 1), checked(costs, np.uint8, 256)
    if LIBRARY is None:
        coding_arrays.filter_grey(rows, above, filtered, costs)
    else:
        room = np.empty(length, np.uint8)
        LIBRARY.filter_grey(
            rows.ctypes.data, above.ctypes.data, at, count, length, costs.ctypes.data, room.ctypes.data
        )


def deflate_block(data: Bytes, state: npt.NDArray[np.uint32], *, channels: int) -> bytes:
    """Compress bytes to a block of a deflate stream (RFC 1951) that is not the last one.

    Args:
        data: 1 to 2^24 bytes.
        state: changed; at first 0, 0, 1: the bits of the stream that belong before the next block's, how many they are,
            and the checksum (Adler-32, RFC 1950) of all data.
        channels: bytes of a pixel.

    Returns:
        The whole bytes of the stream.

    Raises:
        RuntimeError: there is no compiled library.
    """
    if LIBRARY is None:
        raise RuntimeError(WHY_MISSING)
    data, at = checked(data, np.uint8, data.size), place_of(state, np.uint32, 3)
    if not 0 < data.size <= _MOST_BLOCK or channels not in (1, 3, 4) or state[1] > 7:
        raise ValueError(f"{data.size} bytes, {channels} channels, {state[1]} pending bits")
    result, runs = np.empty(2 * data.size + 512, np.uint8), np.empty(2 * (data.size // 5 + 1), np.uint32)
    written = LIBRARY.deflate_block(
        data.ctypes.data, data.size, channels, result.ctypes.data, runs.ctypes.data, at
    )
    return result[:written].tobytes()


def webp_mask(pixels: Bytes, filtered: WebpFilter) -> Bytes:
    """The mask of RGBA pixels as a picture for libwebp's lossless coder, which makes an ALPH chunk of it.

    Args:
        pixels: H x W x 4.
        filtered: how each value is predicted. The first row's neighbours above are 0 for the first column, and for the
            others the prediction is the value to the left.

    Returns:
        H x W x 4: the differences to the predictions in the green channel, 0 in the others. With ``GRADIENT``, the red
        channel marks the odd differences with 255.
    """
    height, width = pixels.shape[:2]
    pixels, image = checked(pixels, np.uint8, height, width, 4), np.empty((height, width, 4), np.uint8)
    if LIBRARY is None:
        coding_arrays.webp_mask(pixels, filtered, image)
    else:
        room = np.empty(3 * width, np.uint8)
        LIBRARY.webp_mask(pixels.ctypes.data, height, width, filtered, image.ctypes.data, room.ctypes.data)
    return image


def webp_colours(pixels: Bytes) -> None:
    """Change the pixels that cannot be seen, so that they cost few bits and do not blur into the others.

    In a block of 8 x 8 with visible pixels they get the mean of those in their square of 2 x 2, which share a chroma,
    or in the block if there are none. A run of blocks without any, in a row of blocks, gets the first pixel of the run.

    Args:
        pixels: H x W x 4, both multiples of 8; changed.
    """
    height, width = pixels.shape[:2]
    at = place_of(pixels, np.uint8, height, width, 4)
    if height % WEBP_BLOCK or width % WEBP_BLOCK:
        raise ValueError(f"{height} x {width} are no whole blocks")
    if LIBRARY is None:
        coding_arrays.webp_colours(pixels, WEBP_BLOCK)
    else:
        LIBRARY.webp_colours(at, height, width)
