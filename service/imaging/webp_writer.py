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
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.imaging.picture import Pixels
from service.native import coding
from service.native.coding import WEBP_BLOCK
from service.native.coding_arrays import WebpFilter

_HAS_MASK, _HAS_PROFILE = 0x10, 0x20
_STORED, _LOSSLESS = 0, 1  # how the mask is coded
_FILTER_BITS = 2  # by which the number of the filter is shifted
_FEW_LEVELS = 16  # libwebp packs pixels of so few values, if they are not filtered
_HEADER_OF_STREAM = 5  # bytes of a VP8L stream that a mask's stream lacks: the size
_METHOD = 2  # of libwebp, for both parts; 1 makes colours that are 11 % larger, and is as fast
_EFFORT = 16  # for the mask, 0-100; 50 makes it 1 to 26 % smaller, in up to twice the time
_ROWS_AT_ONCE = 16  # in which levels are counted
_LEAST_ROWS = 16  # and columns, of a mask for which the filter is chosen


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
    colours = _part(_save(_whole_blocks(pixels), width, height, quality=quality), b"VP8 ")
    flags = _HAS_MASK | (_HAS_PROFILE if icc else 0)
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = [_chunk(b"VP8X", struct.pack("<I", flags) + size)]
    if icc:
        chunks.append(_chunk(b"ICCP", icc))
    chunks += _chunk(b"ALPH", _code_mask(pixels)), _chunk(b"VP8 ", colours)
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


def _code_mask(pixels: Pixels) -> bytes:
    """What an ALPH chunk holds of the mask of H x W x 4 pixels."""
    height, width = pixels.shape[:2]
    mask = pixels[..., 3]
    kind = _choose_filter(mask)
    file = _save(coding.webp_mask(pixels, kind), width, height, lossless=True, quality=_EFFORT)
    stream = _part(file, b"VP8L")[_HEADER_OF_STREAM:]
    if len(stream) >= mask.size:
        return bytes([_STORED]) + mask.tobytes()
    return bytes([_LOSSLESS | kind << _FILTER_BITS]) + stream


def _choose_filter(mask: Pixels) -> WebpFilter:
    """The filter that leaves the least to code, by some of the rows.

    The gradient is best for most masks, none for a mesh of fine hairs, and the pixel to the left for veils.
    """
    if len(mask) < _LEAST_ROWS or mask.shape[1] < _LEAST_ROWS:
        return WebpFilter.GRADIENT
    if _has_few_levels(mask):
        return WebpFilter.UNFILTERED
    step = min(16, len(mask) // _LEAST_ROWS)
    rows = np.stack([mask[start : len(mask) - 2 + start : step] for start in range(3)]).astype(np.int16)
    left = rows[1:, :, 1:] - rows[1:, :, :-1]
    guess = np.clip(rows[1:, :, :-1] + rows[:-1, :, 1:] - rows[:-1, :, :-1], 0, 255)
    bits = {
        WebpFilter.GRADIENT: _bits(rows[1:, :, 1:] - guess),
        WebpFilter.HORIZONTAL: _bits(left),
        WebpFilter.UNFILTERED: _bits(rows[1:, :, 1:]),
    }
    return min(bits, key=lambda kind: bits[kind])


def _bits(pairs: npt.NDArray[np.int16]) -> float:
    """The entropy of the lower row of each pair, of the values that repeat neither the left nor the upper one."""
    here, left, above = pairs[1, :, 1:], pairs[1, :, :-1], pairs[0, :, 1:]
    new = here[(here != left) & (here != above)]
    counts = np.bincount(new & 255, minlength=1)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / max(1, len(new)))).sum())


def _has_few_levels(mask: Pixels) -> bool:
    found = np.zeros(256, np.bool_)
    for start in range(0, len(mask), _ROWS_AT_ONCE):
        found[mask[start : start + _ROWS_AT_ONCE]] = True
        if np.count_nonzero(found) > _FEW_LEVELS:
            return False
    return True


def _whole_blocks(pixels: Pixels) -> Pixels:
    """A copy of as many whole blocks as pixels need, without what cannot be seen.

    libwebp changes almost the same, if it knows the mask.
    """
    height, width = pixels.shape[:2]
    blocks = np.zeros((*(-(-side // WEBP_BLOCK) * WEBP_BLOCK for side in (height, width)), 4), np.uint8)
    blocks[:height, :width] = pixels
    coding.webp_colours(blocks)
    return blocks
