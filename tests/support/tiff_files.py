"""Writes TIFF files of any sample layout, byte order and arrangement; Pillow can write only a few.

Tests of the imaging package call ``tiff_file``. It is written from TIFF 6.0 and shares no code with the service.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Field = tuple[int, Sequence[int]]
"""Type (1 BYTE, 3 SHORT, 4 LONG, 5 RATIONAL as pairs) and values."""

NONE, DEFLATE = 1, 8
_LAYOUT = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B"}


def tiff_file(
    samples: Array,
    *,
    photometric: int,
    bits: int = 8,
    order: str = "<",
    sample_format: int = 1,
    extra: Sequence[int] = (),
    compression: int = NONE,
    predictor: int = 1,
    planar: bool = False,
    rows_per_strip: int = 7,
    tile: int = 0,
    subsampling: tuple[int, int] = (1, 1),
    fields: Mapping[int, Field] | None = None,
) -> bytes:
    """A file of one page.

    Args:
        samples: H x W x samples, in values of that many bits, or floats.
        tile: side of square tiles; 0 for strips.
        fields: further tags, or replacements.
    """
    height, width, count = samples.shape
    planes = [samples[..., i : i + 1] for i in range(count)] if planar else [samples]
    parts = [
        _pack(part, bits=bits, order=order, sample_format=sample_format, predictor=predictor)
        if subsampling == (1, 1)
        else _units(part, subsampling)
        for plane in planes
        for part in _parts(plane, rows_per_strip, tile)
    ]
    if compression == DEFLATE:
        parts = [zlib.compress(part) for part in parts]
    where, lengths = (324, 325) if tile else (273, 279)
    tags: dict[int, Field] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * count),
        259: (3, [compression]),
        262: (3, [photometric]),
        277: (3, [count]),
        284: (3, [2 if planar else 1]),
        lengths: (4, [len(part) for part in parts]),
    }
    tags |= {322: (4, [tile]), 323: (4, [tile])} if tile else {278: (4, [rows_per_strip])}
    if predictor != 1:
        tags[317] = (3, [predictor])
    if sample_format != 1:
        tags[339] = (3, [sample_format] * count)
    if extra:
        tags[338] = (3, extra)
    if photometric == 6:
        tags[530] = (3, subsampling)
    return _file(parts, where, tags | dict(fields or {}), order)


def _parts(plane: Array, rows_per_strip: int, tile: int) -> Iterator[Array]:
    height, width = plane.shape[:2]
    if not tile:
        for top in range(0, height, rows_per_strip):
            yield plane[top : top + rows_per_strip]
        return
    padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)), mode="edge")
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield padded[top : top + tile, left : left + tile]


def _pack(part: Array, *, bits: int, order: str, sample_format: int, predictor: int) -> bytes:
    height = len(part)
    if bits not in (8, 16, 32, 64):
        rows = part.reshape(height, -1).astype(np.uint32)
        digits = (rows[..., np.newaxis] >> np.arange(bits - 1, -1, -1, dtype=np.uint32)) & 1
        return np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    kind = {1: "u", 2: "i", 3: "f"}[sample_format]
    values = part.astype(f"{kind}{bits // 8}")
    if predictor == 2:
        values[:, 1:] -= values[:, :-1].copy()
    if predictor == 3:
        by_byte = (
            values.astype(f">f{bits // 8}").reshape(height, -1).view(np.uint8).reshape(height, -1, bits // 8)
        )
        rows = by_byte.swapaxes(1, 2).reshape(height, -1, part.shape[2])
        rows[:, 1:] -= rows[:, :-1].copy()
        return rows.tobytes()
    return values.astype(f"{order}{kind}{bits // 8}").tobytes()


def _units(part: Array, subsampling: tuple[int, int]) -> bytes:
    """YCbCr in units that share their colour samples."""
    across, down = subsampling
    height, width = part.shape[:2]
    part = np.pad(part, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
    blocks = part.reshape(len(part) // down, down, part.shape[1] // across, across, 3).swapaxes(1, 2)
    luma = blocks[..., 0].reshape(*blocks.shape[:2], -1)
    colour = blocks[..., 1:].mean(axis=(2, 3))
    return np.concatenate([luma, np.rint(colour)], axis=2).astype(np.uint8).tobytes()


def _file(parts: Sequence[bytes], where: int, tags: Mapping[int, Field], order: str) -> bytes:
    body = b"II*\0" if order == "<" else b"MM\0*"
    at = 8 + sum(map(len, parts))
    offsets, place = [], 8
    for part in parts:
        offsets.append(place)
        place += len(part)
    at += at % 2
    everything = sorted({where: (4, offsets), **tags}.items())
    table = struct.pack(f"{order}H", len(everything))
    heap, heap_at = b"", at + 2 + 12 * len(everything) + 4
    for tag, (kind, values) in everything:
        packed = struct.pack(f"{order}{len(values)}{_LAYOUT[kind]}", *values)
        count = len(values) // 2 if kind == 5 else len(values)
        if len(packed) > 4:
            packed, heap = (
                struct.pack(f"{order}I", heap_at + len(heap)),
                heap + packed + bytes(len(packed) % 2),
            )
        table += struct.pack(f"{order}HHI", tag, kind, count) + packed.ljust(4, b"\0")
    data = body + struct.pack(f"{order}I", at) + b"".join(parts)
    return data.ljust(at, b"\0") + table + bytes(4) + heap


def chained(*files: bytes) -> bytes:
    """The pages of several files in one, in that order."""
    order = "<" if files[0].startswith(b"II") else ">"
    data = b""
    link: int | None = None
    for file in files:
        base = len(data)
        moved = bytearray(file)
        (start,) = struct.unpack_from(f"{order}I", moved, 4)
        (count,) = struct.unpack_from(f"{order}H", moved, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", moved, at)
            size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}[kind]
            inline = size * values <= 4
            if not inline:
                (offset,) = struct.unpack_from(f"{order}I", moved, at + 8)
                struct.pack_into(f"{order}I", moved, at + 8, offset + base)
            if tag in (273, 324):
                (offset,) = (at + 8,) if inline else struct.unpack_from(f"{order}I", file, at + 8)
                for i in range(values):
                    (place,) = struct.unpack_from(f"{order}I", moved, offset + 4 * i)
                    struct.pack_into(f"{order}I", moved, offset + 4 * i, place + base)
        data += bytes(moved) + bytes(len(moved) % 2)
        if link is not None:
            data = data[:link] + struct.pack(f"{order}I", base + start) + data[link + 4 :]
        link = base + start + 2 + 12 * count
    return data
