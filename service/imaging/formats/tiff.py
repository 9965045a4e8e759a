"""TIFF (TIFF 6.0, BigTIFF): directories of tags that point to strips or tiles of pixels.

The copy has one directory, with the tags that the pixels need and the ICC profile. It must not surprise a decoder:
every tag lies within the file, no list is long, and no tile is larger than the image needs.
"""

from __future__ import annotations

import struct
from itertools import islice

from PIL.TiffImagePlugin import TiffImageFile

from service.imaging.formats.exif import ORIENTATION_TAG, valid_orientation
from service.imaging.formats.file_format import HEADER_STEPS, FileFormat, Malformed, StrippedFile
from service.imaging.formats.tiff_directory import Directory

MAX_VALUES = 1 << 17
"""Numbers in one tag: strips, tiles, palette. Encoders write at most one strip a row, and each number becomes several
Python objects in the decoder."""

MAX_TILE_SIDE = 1024
"""A tile may have this side in an image of any size. A larger tile must be no larger than the image needs."""

# Tags with one number: ImageWidth, ImageLength, Compression, Photometric, FillOrder, SamplesPerPixel, RowsPerStrip,
# PlanarConfiguration, T4/T6Options, Predictor, TileWidth, TileLength, JPEGProc, YCbCrPositioning.
_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323
_NUMBERS = {_WIDTH, _LENGTH, 259, 262, 266, 277, 278, 284, 292, 293, 317, _TILE_WIDTH, _TILE_LENGTH, 512, 531}
# Tags with lists: BitsPerSample, Strip/TileOffsets and ByteCounts, ColorMap, ExtraSamples, SampleFormat, JPEG tables,
# YCbCr.
_LISTS = {258, 273, 279, 320, 324, 325, 338, 339, 347, 513, 514, 519, 520, 521, 529, 530, 532}
_KEPT_TAGS = _NUMBERS | _LISTS
_PROFILE = 34675

_KEPT_AS_BYTES = {1, 2, 6, 7}
"""Types whose values a decoder does not turn into Python objects one by one."""
_NO_TYPE = 0
"""Decoders skip an entry of this type."""


def _matches(data: bytes) -> bool:
    return data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def _strip(data: bytes) -> StrippedFile:
    directory = Directory(data)
    cleaned = bytearray(data)
    directory.read_pointer(directory.end)  # raises if the file ends before it
    cleaned[directory.end : directory.end + directory.pointer_bytes] = bytes(directory.pointer_bytes)
    numbers: dict[int, int] = {}
    orientation = 1
    total = 0
    for entry in directory:
        inside = entry.offset + entry.length <= len(data)
        if entry.tag not in _KEPT_TAGS and not (entry.tag == _PROFILE and inside):
            struct.pack_into("H", cleaned, entry.at + 2, _NO_TYPE)
            if entry.tag == ORIENTATION_TAG and entry.is_number:
                orientation = valid_orientation(directory.number(entry))
            continue
        total += entry.length
        too_many = entry.count > MAX_VALUES and entry.type not in _KEPT_AS_BYTES
        if not inside or total > len(data) or too_many:
            raise Malformed
        if entry.tag in _NUMBERS:
            numbers.setdefault(entry.tag, directory.number(entry))
    width, length = numbers.get(_WIDTH, 0), numbers.get(_LENGTH, 0)
    for side, tile in ((width, _TILE_WIDTH), (length, _TILE_LENGTH)):
        # The decoder allocates one whole tile. Sides of tiles are multiples of 16.
        if numbers.get(tile, 0) > max(side + 15, MAX_TILE_SIDE):
            raise Malformed
    return StrippedFile(bytes(cleaned), (width, length), orientation)


def _header_size(data: bytes) -> tuple[int, int]:
    """Only if the directory is at the beginning; many encoders write it behind the pixels."""
    directory = Directory(data)
    numbers: dict[int, int] = {}
    for entry in islice(directory, HEADER_STEPS):
        if entry.tag in (_WIDTH, _LENGTH):
            numbers.setdefault(entry.tag, directory.number(entry))
    if len(numbers) < 2:
        raise Malformed
    return numbers[_WIDTH], numbers[_LENGTH]


TIFF = FileFormat("TIFF", _matches, _strip, TiffImageFile, header_size=_header_size)
