"""Writes PNG files (W3C Recommendation, third edition), of 8 bits: grey, RGB or RGBA.

``encode`` and the canary call it. Beside the pixels and the file, it must need only a strip of rows, and a decoder must
get back every pixel to the bit.

The filters were chosen by measurement: for colours Paeth's, because on photographs it makes smaller files than any
other, and as small as the best of all in each row; for a mask, whose rows are mostly constant, none, up or Paeth's,
whichever leaves a row that costs less.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import numpy.typing as npt

from service.imaging import deflate
from service.imaging.picture import Pixels
from service.native import loops

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_STREAMS = {1: deflate.for_masks, 3: deflate.for_pictures, 4: deflate.for_cut_outs}
_NONE, _UP, _PAETH = 0, 2, 4
_DISTANCES = np.minimum(np.arange(256), 256 - np.arange(256))
_BITS = np.where(_DISTANCES > 0, np.rint(16 * (2 + np.log2(1 + _DISTANCES))), 0).astype(np.uint8)
"""Of each filtered byte: about how many sixteenths of a bit it costs, by its distance to 0, which costs nothing."""
_LONGEST_ROW = 12 << 15  # bytes that are filtered at once; whole pixels of every kind
_STRIP_BYTES = 1 << 17  # a strip and what is computed of it fit into a core's cache


def write_png(pixels: Pixels, icc: bytes | None = None) -> bytes:
    """The file of H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA) pixels, with the profile of their colours."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    file = BytesIO()
    file.write(_SIGNATURE)
    _write_chunk(file, b"IHDR", struct.pack(">2I5B", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0))
    if icc is not None:
        _write_chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    stream = _STREAMS[channels]()
    for filtered in _filter(pixels, width, channels):
        _write_data(file, stream.compress(filtered.data))
    _write_data(file, stream.flush())
    _write_chunk(file, b"IEND", b"")
    return file.getvalue()


def _write_data(file: BytesIO, data: bytes) -> None:
    if data:
        _write_chunk(file, b"IDAT", data)


def _write_chunk(file: BytesIO, name: bytes, body: bytes) -> None:
    file.write(struct.pack(">I", len(body)) + name)
    file.write(body)
    file.write(struct.pack(">I", deflate.crc32(body, deflate.crc32(name))))


def _filter(pixels: Pixels, width: int, channels: int) -> Iterator[Pixels]:
    """The filtered rows in pieces, each valid until the next one."""
    length = width * channels
    if length <= _LONGEST_ROW:
        rows = max(1, _STRIP_BYTES // length)
        if loops.available:
            above = np.zeros(length, np.uint8)
            out = np.empty((rows, 1 + length), np.uint8)
            for top in range(0, len(pixels), rows):
                strip = pixels[top : top + rows].reshape(-1, length)
                loops.filter_by_paeth(strip, above, out, channels) if channels > 1 else loops.filter_grey(strip, above, out, _BITS)
                above = strip[-1]
                yield out[:len(strip)]
            return
        filter_rows = _Filter(rows, width, channels)
        for top in range(0, len(pixels), rows):
            yield filter_rows(pixels[top : top + rows].reshape(-1, length))
        return
    above: Pixels = np.broadcast_to(np.uint8(0), length)
    for row in pixels:
        yield np.full(1, _PAETH, np.uint8)
        here = row.reshape(-1)
        for start in range(0, length, _LONGEST_ROW):
            yield _filter_part(here, above, slice(start, min(start + _LONGEST_ROW, length)), channels)
        above = here


def _filter_part(here: Pixels, above: Pixels, part: slice, channels: int) -> Pixels:
    """A part of one row by Paeth's filter, without the filter's type."""
    padded = np.zeros((2, channels + part.stop - part.start), np.uint8)
    before = slice(max(0, part.start - channels), part.stop)
    for to, row in zip(padded, (above, here), strict=True):
        taken = row[before]
        to[len(to) - len(taken) :] = taken
    filtered = np.empty((1, 1 + part.stop - part.start), np.uint8)
    _filter_by_paeth(padded, filtered, channels)
    return filtered[0, 1:]


class _Filter:
    """Filters the rows of one picture, strip by strip from its top; each result begins with the filter's type.

    Args:
        rows: the most that a strip has.
        width: pixels.
        channels: bytes a pixel.
    """

    def __init__(self, rows: int, width: int, channels: int) -> None:
        self._channels = channels
        # Row 0 is the last one of the strip above. To the left of each row are as many zeros as a pixel has bytes.
        self._padded = np.zeros((rows + 1, channels + width * channels), np.uint8)
        self._filtered = np.empty((rows, 1 + width * channels), np.uint8)

    def __call__(self, strip: Pixels) -> Pixels:
        """Filter H x (W * channels) bytes.

        Returns:
            H x (1 + W * channels); valid until the next call.
        """
        padded, filtered = self._padded[: len(strip) + 1], self._filtered[: len(strip)]
        padded[1:, self._channels :] = strip
        if self._channels == 1:
            _filter_grey(padded, filtered)
        else:
            _filter_by_paeth(padded, filtered, self._channels)
        self._padded[0] = padded[-1]
        return filtered


def _filter_grey(padded: Pixels, filtered: Pixels) -> None:
    """None, up or Paeth's in each row."""
    _filter_by_paeth(padded, filtered, 1)
    here = padded[1:, 1:]
    least = _cost(filtered[:, 1:])
    for kind, candidate in ((_UP, here - padded[:-1, 1:]), (_NONE, here)):
        cost = _cost(candidate)
        better = cost < least
        filtered[better, 0] = kind
        filtered[better, 1:] = candidate[better]
        least = np.minimum(cost, least)


def _cost(rows: Pixels) -> npt.NDArray[np.int32]:
    """About how long each row becomes."""
    import cv2  # noqa: PLC0415  # takes long to import, so it must not happen before the port is open

    bits = cv2.LUT(rows, _BITS).reshape(rows.shape)
    costs: npt.NDArray[np.int32] = cv2.reduce(bits, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    return costs


def _filter_by_paeth(padded: Pixels, filtered: Pixels, channels: int) -> None:
    """Paeth's filter: each byte becomes its difference to the one of ``left``, ``up`` and ``corner`` that is nearest to
    ``left + up - corner``.

    If the corner lies between the two, and at least twice as far from one as from the other, that is the farther one,
    else the corner itself; if it does not lie between them, it is the one that is farther from the corner.
    """
    row = padded.shape[1]
    flat = padded.reshape(-1)  # in one dimension, short rows cost no more than long ones
    here, left = flat[row + channels :], flat[row:-channels]
    up, corner = flat[channels:-row], flat[: -row - channels]
    lower, upper = np.minimum(left, up), np.maximum(left, up)
    above = np.maximum(corner, lower)
    above -= lower  # how far the corner is above the lower one; 0 if it is below it
    below = upper - np.minimum(upper, corner, out=lower)
    take_lower = np.negative(((above >> 1) >= below).view(np.uint8))  # 255 where it is so
    take_upper = np.negative(((below >> 1) >= above).view(np.uint8))
    difference = np.subtract(here, corner, out=lower)
    difference += np.bitwise_and(above, take_lower, out=take_lower)
    difference -= np.bitwise_and(below, take_upper, out=take_upper)
    filtered[:, 0] = _PAETH
    # The difference of a row's first pixel comes after those of the padding before it, which nobody needs.
    last = difference[-(row - channels) :]
    filtered[-1, 1:] = last
    filtered[:-1, 1:] = difference[: -(row - channels)].reshape(-1, row)[:, : row - channels]
