"""TIFF directories, as far as needed: the orientation in an EXIF block, and a TIFF cleaned down to its pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_VALUES = 1 << 17
"""Numbers in one tag: strips, tiles, palette. One strip a row is the most that encoders write, and each becomes
several Python objects in the decoder."""

MIN_TILE_LIMIT = 1024
"""A tile may be this long and wide in an image of any size; above, no larger than the image needs."""

# The tags that say how to read the pixels (TIFF 6.0): ImageWidth, ImageLength, Compression, Photometric, FillOrder,
# SamplesPerPixel, RowsPerStrip, PlanarConfiguration, T4/T6Options, Predictor, TileWidth, TileLength, JPEGProc,
# YCbCrPositioning ...
_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323
_SINGLE = {_WIDTH, _LENGTH, 259, 262, 266, 277, 278, 284, 292, 293, 317, _TILE_WIDTH, _TILE_LENGTH, 512, 531}
# ... BitsPerSample, Strip/TileOffsets and ByteCounts, ColorMap, ExtraSamples, SampleFormat, JPEG tables, YCbCr.
_LISTS = {258, 273, 279, 320, 324, 325, 338, 339, 347, 513, 514, 519, 520, 521, 529, 530, 532}
_ORIENTATION, _PROFILE = 274, 34675

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
"""Type -> size of one value."""
_LAYOUTS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Type -> ``struct`` layout, of the unsigned integers."""
_OPAQUE = {1, 2, 6, 7}
"""Types that decoders keep as bytes."""
_NO_TYPE = 0


class Malformed(Exception):
    """The structure of a file is broken, or built to be expensive."""


@dataclass(frozen=True, slots=True)
class _Entry:
    at: int
    tag: int
    type: int
    length: int
    """Of the data, in bytes."""
    count: int
    offset: int
    """Where the data stands: in the entry itself if it is small, else where that points."""


class _Directory:
    """The first directory of a TIFF file or an EXIF block; iterating gives its entries."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
        if not self._order:
            raise Malformed
        (version,) = self.read("H", 2)
        if version not in (42, 43):
            raise Malformed
        self._big = version == 43
        self.pointer_bytes = 8 if self._big else 4
        self._entry_bytes = 20 if self._big else 12
        (start,) = self.read(self._pointer, 8 if self._big else 4)
        (count,) = self.read("Q" if self._big else "H", start)
        self._first = start + (8 if self._big else 2)
        self.end = self._first + count * self._entry_bytes
        """Where the entries end and the pointer to the next directory stands."""
        if self.end > len(data):
            raise Malformed

    @property
    def _pointer(self) -> str:
        return "Q" if self._big else "I"

    def read(self, layout: str, at: int) -> tuple[int, ...]:
        if at > len(self._data):  # offsets of 64 bits are more than struct takes
            raise Malformed
        return struct.unpack_from(self._order + layout, self._data, at)

    def __iter__(self) -> Iterator[_Entry]:
        for at in range(self._first, self.end, self._entry_bytes):
            tag, kind, count = self.read("HH" + self._pointer, at)
            length = count * _BYTES.get(kind, 0)
            offset = at + self._entry_bytes - self.pointer_bytes
            if length > self.pointer_bytes:
                (offset,) = self.read(self._pointer, offset)
            yield _Entry(at, tag, kind, length, count, offset)

    def number(self, entry: _Entry) -> int:
        """The value of an entry that holds a single unsigned integer."""
        if entry.count != 1 or entry.type not in _LAYOUTS:
            raise Malformed
        return self.read(_LAYOUTS[entry.type], entry.offset)[0]


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1-8, that an EXIF block (with or without its ``Exif`` prefix) asks for; 1 if none or broken."""
    try:
        directory = _Directory(exif.removeprefix(b"Exif\0\0"))
        for entry in directory:
            if entry.tag == _ORIENTATION:
                return _valid_orientation(directory.number(entry))
    except (Malformed, struct.error):
        pass  # many cameras and editors write broken EXIF; the picture is what matters
    return 1


def _valid_orientation(value: int) -> int:
    return value if 1 <= value <= 8 else 1


def pixels_only(data: bytes) -> tuple[bytes, tuple[int, int], int]:
    """Clean a TIFF down to its first image: no further directories, no tag but the profile and what the pixels need.

    What is left cannot surprise a decoder: every tag lies within the file, no list is long, no tile is larger than
    the image needs.

    Returns:
        the cleaned file, of the same length; (width, height) as stored, 0 where missing; the orientation, 1-8.

    Raises:
        Malformed: what is needed lies outside the file, or is built to be expensive.
        struct.error: the file ends early.
    """
    directory = _Directory(data)
    cleaned = bytearray(data)
    directory.read("I" if directory.pointer_bytes == 4 else "Q", directory.end)
    cleaned[directory.end : directory.end + directory.pointer_bytes] = bytes(directory.pointer_bytes)
    numbers: dict[int, int] = {}
    orientation = 1
    total = 0
    for entry in directory:
        inside = entry.offset + entry.length <= len(data)
        wanted = entry.tag in _SINGLE or entry.tag in _LISTS or (entry.tag == _PROFILE and inside)
        if not wanted:
            struct.pack_into("H", cleaned, entry.at + 2, _NO_TYPE)
            if entry.tag == _ORIENTATION and entry.count == 1 and entry.type in _LAYOUTS:
                orientation = _valid_orientation(directory.number(entry))
            continue
        total += entry.length
        if not inside or total > len(data) or (entry.type not in _OPAQUE and entry.count > MAX_VALUES):
            raise Malformed
        if entry.tag in _SINGLE:
            numbers.setdefault(entry.tag, directory.number(entry))
    width, length = numbers.get(_WIDTH, 0), numbers.get(_LENGTH, 0)
    # A decoder buffers one whole tile.
    for side, tile in ((width, _TILE_WIDTH), (length, _TILE_LENGTH)):
        if numbers.get(tile, 0) > max(side + 15, MIN_TILE_LIMIT):  # tiles are multiples of 16
            raise Malformed
    return bytes(cleaned), (width, length), orientation
