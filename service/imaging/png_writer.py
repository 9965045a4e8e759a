"""Writes PNG files (W3C Recommendation, third edition), of 8 bits: grey, RGB or RGBA.

``encode`` and the canary call it. Beside the pixels it must need only a strip of rows and the file, which may be there
twice while it grows. A decoder must get back every pixel to the bit.

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

from service.imaging import deflate
from service.imaging.picture import Pixels
from service.native import coding

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_PAETH = 4
_DISTANCES = np.minimum(np.arange(256), 256 - np.arange(256))
_COSTS = np.where(_DISTANCES > 0, np.rint(16 * (2 + np.log2(1 + _DISTANCES))), 0).astype(np.uint8)
"""Of each filtered byte: about how many sixteenths of a bit it costs, by its distance to 0, which costs nothing."""
_LONGEST_ROW = 12 << 15  # bytes that are filtered at once; whole pixels of every kind
_STRIP_BYTES = {1: 1 << 16, 3: 1 << 17, 4: 1 << 17}
"""By channels. A strip and what is computed of it fit into a core's cache. Each becomes a block of the stream, and
short blocks make smaller files of a mask, whose parts differ more."""


def write_png(pixels: Pixels, icc: bytes | None = None) -> bytes:
    """The file of H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA) pixels, with the profile of their colours."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    file = BytesIO()
    file.write(_SIGNATURE)
    _write_chunk(file, b"IHDR", struct.pack(">2I5B", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0))
    if icc is not None:
        _write_chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    stream = deflate.stream(channels)
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
    file.write(struct.pack(">I", zlib.crc32(body, zlib.crc32(name))))


def _filter(pixels: Pixels, width: int, channels: int) -> Iterator[Pixels]:
    """The filtered rows in pieces, each valid until the next one."""
    length = width * channels
    above: Pixels = np.broadcast_to(np.uint8(0), length)
    if length > _LONGEST_ROW:
        for row in pixels:
            yield np.full(1, _PAETH, np.uint8)
            here = row.reshape(-1)
            for start in range(0, length, _LONGEST_ROW):
                yield _filter_part(here, above, slice(start, min(start + _LONGEST_ROW, length)), channels)
            above = here
        return
    count = max(1, _STRIP_BYTES[channels] // length)
    room = np.empty((min(count, len(pixels)), 1 + length), np.uint8)
    for top in range(0, len(pixels), count):
        strip = pixels[top : top + count].reshape(-1, length)
        filtered = room[: len(strip)]
        if channels == 1:
            coding.filter_grey(strip, above, filtered, _COSTS)
        else:
            coding.filter_by_paeth(strip, above, filtered, channels)
        yield filtered
        above = strip[-1]


def _filter_part(here: Pixels, above: Pixels, part: slice, channels: int) -> Pixels:
    """A part of one row by Paeth's filter, without the filter's type."""
    padded = np.zeros((2, channels + part.stop - part.start), np.uint8)  # with the pixel to the left
    before = slice(max(0, part.start - channels), part.stop)
    for to, row in zip(padded, (above, here), strict=True):
        taken = row[before]
        to[len(to) - len(taken) :] = taken
    filtered = np.empty((1, 1 + padded.shape[1]), np.uint8)
    coding.filter_by_paeth(padded[1:], padded[0], filtered, channels)
    return filtered[0, 1 + channels :]
