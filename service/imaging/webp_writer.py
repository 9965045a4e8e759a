"""Writes WebP files (RFC 9649) of RGBA pixels: lossy colours, and a mask that is exact.

``encode`` calls it. libwebp makes both parts, each as a picture of its own, and this module joins them. libwebp can
make the whole file too, but then it chooses by itself how to code the mask, which Pillow cannot change, and mostly
takes much longer. Two things save that time:

- Most masks are coded as the differences of their pixels to a guess from the neighbours (a gradient, see the RFC).
- Of the three channels that libwebp codes, a mask has only the green one, and decoders ignore the others. The red one
  marks the odd differences. So libwebp finds that a palette takes fewer bits than a second prediction, which would
  take several times as long on large pictures and hardly make them smaller.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.imaging.picture import Pixels

_HAS_MASK, _HAS_PROFILE = 0x10, 0x20
_STORED, _LOSSLESS = 0, 1  # how the mask is coded
_UNFILTERED, _HORIZONTAL, _GRADIENT = 0, 1 << 2, 3 << 2
_FEW_LEVELS = 16  # libwebp packs pixels of so few values, if they are not filtered
_HEADER_OF_STREAM = 5  # bytes of a VP8L stream that a mask's stream lacks: the size
_METHOD = 2  # of libwebp, for both parts; 1 makes colours that are 11 % larger, and is as fast
_EFFORT = 16  # for the mask, 0-100; more makes it no smaller
_STRIP_BYTES = 1 << 17  # a strip and what is computed of it fit into a core's cache
_LEAST_ROWS = 16  # and columns, of a mask for which the filter is chosen
_BLOCK = 8  # pixels a side
_BLOCKS_AT_ONCE = 256

_PIXEL = np.dtype("<u4")
"""The four bytes of a pixel as a number, red lowest."""
_VISIBLE = 1 << 24
"""The smallest number of a pixel whose mask is not 0."""
_ALL_VISIBLE = 0x0101010101010101
_LEVELS = np.arange(256, dtype=_PIXEL)
_GREEN = _LEVELS << 8
_MARKED_GREEN = _GREEN | (_LEVELS & 1) * 255


def write_webp(pixels: Pixels, icc: bytes | None = None, *, quality: int = 90) -> bytes:
    """The file of H x W x 4 (RGBA) pixels, up to 16383 a side, with the profile of their colours.

    Where the mask is 0, a decoder gets other colours than those of ``pixels``. A mask of 255 everywhere is left out.

    Args:
        pixels: uint8.
        icc: the profile; None for none.
        quality: of the colours, 1-100.
    """
    mask = pixels[..., 3]
    height, width = mask.shape
    if mask.min() == 255:
        return _save(np.ascontiguousarray(pixels), width, height, quality=quality, icc_profile=icc)
    colours = _part(_save(_flatten(pixels), width, height, quality=quality), b"VP8 ")
    flags = _HAS_MASK | (_HAS_PROFILE if icc else 0)
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = [_chunk(b"VP8X", struct.pack("<I", flags) + size)]
    if icc:
        chunks.append(_chunk(b"ICCP", icc))
    chunks += _chunk(b"ALPH", _code_mask(mask)), _chunk(b"VP8 ", colours)
    return _chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _part(file: bytes, name: bytes) -> bytes:
    """The body of the only chunk of a file.

    Raises:
        ValueError: the file begins with another chunk.
    """
    found, length = struct.unpack_from("<4sI", file, 12)
    if found != name:
        raise ValueError(f"libwebp wrote the chunk {found!r} where {name!r} belongs")
    return file[20 : 20 + length]


def _save(pixels: Pixels, width: int, height: int, **settings: Any) -> bytes:
    """Pillow's file of the upper left part of pixels in C order, whose fourth channel is ignored."""
    row = 4 * pixels.shape[1]  # not the stride, which says nothing if there is one row
    image = Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", row, 1)
    file = BytesIO()
    image.save(file, format="webp", method=_METHOD, **settings)
    return file.getvalue()


def _code_mask(mask: Pixels) -> bytes:
    """What an ALPH chunk holds of an H x W mask."""
    kind = _choose_filter(mask)
    strips = {_UNFILTERED: _strips, _HORIZONTAL: _filter_by_left, _GRADIENT: _filter_by_gradient}[kind](mask)
    values = _MARKED_GREEN if kind == _GRADIENT else _GREEN
    image, top = np.empty(mask.shape, _PIXEL), 0
    for strip in strips:
        np.take(values, strip, out=image[top : top + len(strip)], mode="clip")
        top += len(strip)
    height, width = mask.shape
    channels = image.view(np.uint8).reshape(height, width, 4)
    file = _save(channels, width, height, lossless=True, quality=_EFFORT)
    stream = _part(file, b"VP8L")[_HEADER_OF_STREAM:]
    if len(stream) >= mask.size:
        return bytes([_STORED | _UNFILTERED]) + mask.tobytes()
    return bytes([_LOSSLESS | kind]) + stream


def _choose_filter(mask: Pixels) -> int:
    """The filter that leaves the least to code, by some of the rows.

    The gradient is best for most masks, none for a mesh of fine hairs, and the pixel to the left for veils.
    """
    if len(mask) < _LEAST_ROWS or mask.shape[1] < _LEAST_ROWS:
        return _GRADIENT
    counts = sum(np.bincount(strip.reshape(-1), minlength=256) for strip in _strips(mask))
    if np.count_nonzero(counts) <= _FEW_LEVELS:
        return _UNFILTERED
    step = min(16, len(mask) // _LEAST_ROWS)
    rows = np.stack([mask[start : len(mask) - 2 + start : step] for start in range(3)]).astype(np.int16)
    left = rows[1:, :, 1:] - rows[1:, :, :-1]
    guess = np.clip(rows[1:, :, :-1] + rows[:-1, :, 1:] - rows[:-1, :, :-1], 0, 255)
    bits = {
        _GRADIENT: _bits(rows[1:, :, 1:] - guess),
        _HORIZONTAL: _bits(left),
        _UNFILTERED: _bits(rows[1:, :, 1:]),
    }
    return min(bits, key=lambda kind: bits[kind])


def _bits(pairs: npt.NDArray[np.int16]) -> float:
    """The entropy of the lower row of each pair, of the values that repeat neither the left nor the upper one."""
    here, left, above = pairs[1, :, 1:], pairs[1, :, :-1], pairs[0, :, 1:]
    new = here[(here != left) & (here != above)]
    counts = np.bincount(new & 255, minlength=1)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / max(1, len(new)))).sum())


def _strips(mask: Pixels) -> Iterator[Pixels]:
    rows = max(1, _STRIP_BYTES // mask.shape[1])
    for top in range(0, len(mask), rows):
        yield mask[top : top + rows]


def _filter_by_gradient(mask: Pixels) -> Iterator[Pixels]:
    """In strips: the difference of each pixel to left + up - corner, limited to 0-255.

    The first row's is to the left alone, and the first column's to the pixel above.
    """
    last = None
    for here in _strips(mask):
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


def _filter_by_left(mask: Pixels) -> Iterator[Pixels]:
    """In strips: the difference of each pixel to the left one; the first column's is to the pixel above."""
    above = 0
    for here in _strips(mask):
        filtered = here.copy()
        filtered[:, 1:] -= here[:, :-1]
        filtered[1:, 0] -= here[:-1, 0]
        filtered[0, 0] = (int(here[0, 0]) - above) & 255
        above = int(here[-1, 0])
        yield filtered


def _flatten(pixels: Pixels) -> Pixels:
    """A copy whose invisible pixels cost few bits and do not blur into the visible ones.

    In a block with visible pixels they get the mean of those in their square of 2 x 2, which share a chroma, or in the
    block if there are none. A run of blocks without any, in a row of blocks, gets the first pixel of the run. libwebp
    does almost the same if it knows the mask.

    Returns:
        As many whole blocks as ``pixels`` needs, x 4.
    """
    height, width = pixels.shape[:2]
    down, across = -(-height // _BLOCK), -(-width // _BLOCK)
    padded = np.zeros((down * _BLOCK, across * _BLOCK, 4), np.uint8)
    padded[:height, :width] = pixels
    numbers = padded.view(_PIXEL)[..., 0]
    visible = (numbers >= _VISIBLE).view(np.uint64).reshape(down, _BLOCK, across)
    some = np.bitwise_or.reduce(visible, axis=1) != 0
    every = np.bitwise_and.reduce(visible, axis=1) == _ALL_VISIBLE
    blocks = padded.reshape(down, _BLOCK, across, _BLOCK, 4).swapaxes(1, 2)
    for rows, columns in _positions(some & ~every):
        block = blocks[rows, columns].reshape(-1, _BLOCK**2, 4)
        weight = (block[..., 3:] > 0).astype(np.uint32)
        quads = (-1, _BLOCK // 2, 2, _BLOCK // 2, 2)
        totals = (block * weight).reshape(*quads, 4).sum(axis=(2, 4), keepdims=True)
        counts = weight.reshape(*quads, 1).sum(axis=(2, 4), keepdims=True)
        mean = totals.sum(axis=(1, 3), keepdims=True) // counts.sum(axis=(1, 3), keepdims=True)
        fill = np.where(counts > 0, totals // np.maximum(counts, 1), mean).astype(np.uint8)
        np.copyto(block.reshape(*quads, 4), fill, where=weight.reshape(*quads, 1) == 0)
        blocks[rows, columns] = block.reshape(-1, _BLOCK, _BLOCK, 4)
    starts = ~some
    starts[:, 1:] &= some[:, :-1]
    start = np.maximum.accumulate(np.where(starts, np.arange(across), 0), axis=1)
    colours = np.take_along_axis(numbers[::_BLOCK, ::_BLOCK], start, axis=1)
    blocks_of_numbers = numbers.reshape(down, _BLOCK, across, _BLOCK).swapaxes(1, 2)
    for rows, columns in _positions(~some):
        blocks_of_numbers[rows, columns] = colours[rows, columns][:, None, None]
    return padded


def _positions(chosen: npt.NDArray[np.bool_]) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """The rows and columns of the chosen elements, some at a time."""
    rows, columns = np.nonzero(chosen)
    for first in range(0, len(rows), _BLOCKS_AT_ONCE):
        yield rows[first : first + _BLOCKS_AT_ONCE], columns[first : first + _BLOCKS_AT_ONCE]
