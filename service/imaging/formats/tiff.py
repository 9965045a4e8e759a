"""TIFF (TIFF 6.0, BigTIFF): directories of tags that point to strips or tiles of pixels.

The copy has the directory of one page, with the tags that the pixels need and the ICC profile. It must not surprise a
decoder: every tag lies within the file, no list is long, and no tile is larger than the image needs. What was
compressed without loss is interpreted in ``tiff_samples``; JPEG, fax and WebP inside a TIFF are left to Pillow.
"""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL.TiffImagePlugin import TiffImageFile

from service.imaging.formats.exif import ORIENTATION_TAG, valid_orientation
from service.imaging.formats.file_format import HEADER_STEPS, FileFormat, Malformed, StrippedFile
from service.imaging.formats.tiff_directory import Directory, Entry
from service.imaging.formats.tiff_pages import first_page, is_full_page
from service.imaging.formats.tiff_samples import (
    CMYK,
    COLOUR_SAMPLES,
    COMPRESSIONS,
    LUMA,
    PALETTE,
    REFERENCE,
    UNCOMPRESSED,
    UNSIGNED,
    YCBCR,
    Layout,
    TiffSamples,
    claims,
    unusual_samples,
)

MAX_VALUES = 1 << 17
"""Numbers in one tag: strips, tiles, palette. Encoders write at most one strip a row, and each number becomes several
Python objects in the decoder."""

MAX_TILE_SIDE = 1024
"""A tile may have this side in an image of any size. A larger tile must be no larger than the image needs."""

# Tags with one number: ImageWidth, ImageLength, Compression, Photometric, FillOrder, SamplesPerPixel, RowsPerStrip,
# PlanarConfiguration, T4/T6Options, Predictor, TileWidth, TileLength, InkSet, JPEGProc, YCbCrPositioning.
_WIDTH, _LENGTH, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _ROWS_PER_STRIP = (
    256,
    257,
    259,
    262,
    266,
    277,
    278,
)
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_LENGTH, _INK_SET = 284, 317, 322, 323, 332
_NUMBERS = {
    _WIDTH, _LENGTH, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _ROWS_PER_STRIP, _PLANAR, 292, 293, _PREDICTOR,
    _TILE_WIDTH, _TILE_LENGTH, _INK_SET, 512, 531,
}  # fmt: skip
# Tags with lists: BitsPerSample, Strip/TileOffsets and ByteCounts, ColorMap, ExtraSamples, SampleFormat, JPEG tables,
# YCbCrCoefficients, YCbCrSubSampling, ReferenceBlackWhite.
_BITS, _STRIPS, _STRIP_LENGTHS, _PALETTE, _TILES, _TILE_LENGTHS = 258, 273, 279, 320, 324, 325
_EXTRA, _FORMAT, _LUMA, _SUBSAMPLING, _REFERENCE = 338, 339, 529, 530, 532
_LISTS = {
    _BITS, _STRIPS, _STRIP_LENGTHS, _PALETTE, _TILES, _TILE_LENGTHS, _EXTRA, _FORMAT, 347, 513, 514, 519, 520, 521,
    _LUMA, _SUBSAMPLING, _REFERENCE,
}  # fmt: skip
_KEPT_TAGS = _NUMBERS | _LISTS
_PROFILE = 34675

_KEPT_AS_BYTES = {1, 2, 6, 7}
"""Types whose values a decoder does not turn into Python objects one by one."""
_NO_TYPE = 0
"""Decoders skip an entry of this type."""
_UNSIGNED_RATIONAL = 5
_CMYK_INKS, _SEPARATE_PLANES, _LOWEST_BIT_FIRST = 1, 2, 2


def _matches(data: bytes) -> bool:
    return data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


class _Page:
    """The kept tags of one directory, checked.

    Raises:
        Malformed: a tag lies outside the file or is too long, or a tile is larger than the image needs.
    """

    def __init__(self, data: bytes, directory: Directory) -> None:
        self.data, self.directory = data, directory
        self.entries: dict[int, Entry] = {}
        self.dropped: list[Entry] = []
        self.orientation = 1
        total = 0
        for entry in directory:
            inside = entry.offset + entry.length <= len(data)
            if entry.tag not in _KEPT_TAGS and not (entry.tag == _PROFILE and inside):
                self.dropped.append(entry)
                if entry.tag == ORIENTATION_TAG and entry.is_number:
                    self.orientation = valid_orientation(directory.number(entry))
                continue
            total += entry.length
            too_many = entry.count > MAX_VALUES and entry.type not in _KEPT_AS_BYTES
            if not inside or total > len(data) or too_many:
                raise Malformed
            if entry.tag in _NUMBERS:
                directory.number(entry)
            self.entries.setdefault(entry.tag, entry)
        self.size = self.number(_WIDTH, 0), self.number(_LENGTH, 0)
        for side, tile in zip(self.size, (_TILE_WIDTH, _TILE_LENGTH), strict=True):
            # The decoder allocates one whole tile. Sides of tiles are multiples of 16.
            if self.number(tile, 0) > max(side + 15, MAX_TILE_SIDE):
                raise Malformed

    def number(self, tag: int, default: int) -> int:
        entry = self.entries.get(tag)
        return default if entry is None else self.directory.number(entry)

    def numbers(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """The first values of a list of integers; enough for one of each sample."""
        entry = self.entries.get(tag)
        return default if entry is None or not entry.count else self.directory.numbers(entry, 64)

    def array(self, entry: Entry) -> npt.NDArray[np.uint64]:
        """All values of a list of integers."""
        kind = {3: "u2", 4: "u4", 16: "u8"}.get(entry.type)
        if kind is None:
            raise Malformed
        stored = np.frombuffer(self.data, f"{self.directory.order}{kind}", entry.count, entry.offset)
        return stored.astype(np.uint64)

    def rationals(self, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
        entry = self.entries.get(tag)
        if entry is None or entry.type != _UNSIGNED_RATIONAL or entry.count != len(default):
            return default
        parts = self.directory.read(f"{2 * entry.count}I", entry.offset)
        if not all(parts[1::2]):
            raise Malformed
        return tuple(above / below for above, below in zip(parts[::2], parts[1::2], strict=True))


def _strip(data: bytes) -> StrippedFile:
    page = _Page(data, first_page(data))
    if 0 in page.size:
        return StrippedFile(data, page.size)
    if not _has_plain_samples(page):
        return StrippedFile(_cleaned(page), page.size, page.orientation)
    return StrippedFile(data, page.size, page.orientation, lambda _: _open(page))


def _open(page: _Page) -> TiffSamples:
    """Open a page whose samples are interpreted here.

    Raises:
        Malformed: tags are missing or contradict each other.
        Undecodable: the samples have no plain meaning.
    """
    layout = _layout(page)
    layout.check()
    kinds = (_TILES, _TILE_LENGTHS) if layout.tile else (_STRIPS, _STRIP_LENGTHS)
    offsets, lengths = (page.entries.get(tag) for tag in kinds)
    if offsets is None or (lengths is None and layout.compression != UNCOMPRESSED):
        raise Malformed
    if any(entry is not None and entry.count < layout.parts * layout.planes for entry in (offsets, lengths)):
        raise Malformed
    _check_parts(page, layout, offsets, lengths)
    at = len(page.data) + len(page.data) % 2
    directories = claims(layout, page.directory, page.data, offsets=offsets, counts=lengths, at=at)
    head, tail = _pointing_to(page.directory, page.data, at), bytes(at - len(page.data))
    return TiffSamples(BytesIO(b"".join([*head, tail, directories])), layout)


def _check_parts(page: _Page, layout: Layout, offsets: Entry, lengths: Entry | None) -> None:
    """Make sure that every strip or tile lies within the file: what stands behind it in the copy are no pixels.

    Raises:
        Malformed: one does not.
    """
    begin = page.array(offsets)
    if layout.compression == UNCOMPRESSED:
        first_rows = np.tile(
            np.arange(0, layout.stored_height, layout.part_rows).repeat(layout.across), layout.planes
        )
        rows = np.minimum(layout.part_rows, layout.stored_height - first_rows)
        size = rows.astype(np.uint64) * np.uint64(layout.row_bytes)
    elif lengths is not None:
        size = page.array(lengths)
    parts = layout.parts * layout.planes
    begin, size = begin[:parts], size[:parts]
    if (begin > len(page.data)).any() or (begin + size > len(page.data)).any():
        raise Malformed


def _has_plain_samples(page: _Page) -> bool:
    """Whether ``tiff_samples`` can interpret a page; if not, Pillow may."""
    return (
        page.number(_PHOTOMETRIC, -1) in COLOUR_SAMPLES
        and page.number(_COMPRESSION, UNCOMPRESSED) in COMPRESSIONS
    )


def _layout(page: _Page) -> Layout:
    photometric, compression = page.number(_PHOTOMETRIC, -1), page.number(_COMPRESSION, UNCOMPRESSED)
    bits, formats = page.numbers(_BITS, (1,)), page.numbers(_FORMAT, (UNSIGNED,))
    inks = page.number(_INK_SET, _CMYK_INKS)
    if len({*bits}) > 1 or len({*formats}) > 1 or (photometric == CMYK and inks != _CMYK_INKS):
        raise unusual_samples()
    samples = page.number(_SAMPLES, 1)
    tile = None
    if _TILES in page.entries and _STRIPS not in page.entries:
        tile = page.number(_TILE_WIDTH, 0), page.number(_TILE_LENGTH, 0)
        if 0 in tile:
            raise Malformed
    subsampling: tuple[int, ...] = (1, 1)
    if photometric == YCBCR:
        subsampling = page.numbers(_SUBSAMPLING, (2, 2))
        if len(subsampling) != 2 or not {*subsampling} <= {1, 2, 4}:
            raise Malformed
    luma = page.rationals(_LUMA, LUMA)
    reference = page.rationals(_REFERENCE, REFERENCE)
    if luma[1] <= 0 or any(
        white == black for black, white in zip(reference[::2], reference[1::2], strict=True)
    ):
        raise Malformed
    profile = page.entries.get(_PROFILE)
    width, height = page.size
    return Layout(
        width=width,
        height=height,
        bits=bits[0],
        samples=samples,
        photometric=photometric,
        order=page.directory.order,
        sample_format=formats[0] if formats[0] != _UNDEFINED_FORMAT else UNSIGNED,
        compression=compression,
        fill_order=2 if page.number(_FILL_ORDER, 1) == _LOWEST_BIT_FIRST else 1,
        predictor=page.number(_PREDICTOR, 1) if compression in _WITH_PREDICTOR else 1,
        planes=samples if page.number(_PLANAR, 1) == _SEPARATE_PLANES else 1,
        extra=page.numbers(_EXTRA, ()),
        tile=tile,
        rows_per_strip=min(page.number(_ROWS_PER_STRIP, height) or height, height + height % subsampling[1]),
        subsampling=(subsampling[0], subsampling[1]),
        luma=luma,
        reference=reference,
        palette=_palette(page) if photometric == PALETTE else b"",
        icc=None if profile is None else page.data[profile.offset : profile.offset + profile.length],
    )


_UNDEFINED_FORMAT = 4
_WITH_PREDICTOR = {5, 8, 32946, 34925, 50000}


def _palette(page: _Page) -> bytes:
    """R, G, B of each colour, 8 bits. Some writers fill the 16 bits of a value with 0-255 only."""
    entry = page.entries.get(_PALETTE)
    if entry is None or entry.type != 3 or entry.count % 3:
        raise Malformed
    values = np.frombuffer(page.data, f"{page.directory.order}u2", entry.count, entry.offset)
    if values.max(initial=0) > 255:
        values = values >> 8
    return values.astype(np.uint8).reshape(3, -1).T.tobytes()


def _pointing_to(directory: Directory, data: bytes, at: int) -> list[bytes | memoryview]:
    """The file with its first directory at ``at``, in pieces."""
    place, layout = (8, "Q") if directory.pointer_bytes == 8 else (4, "I")
    pointer = struct.pack(f"{directory.order}{layout}", at)
    return [data[:place], pointer, memoryview(data)[place + directory.pointer_bytes :]]


def _cleaned(page: _Page) -> bytes:
    """The file with the directory of the page only, without the tags that a decoder does not need."""
    directory = page.directory
    cleaned = bytearray().join(_pointing_to(directory, page.data, directory.start))
    directory.read_pointer(directory.end)  # raises if the file ends before it
    cleaned[directory.end : directory.end + directory.pointer_bytes] = bytes(directory.pointer_bytes)
    for entry in page.dropped:
        struct.pack_into("H", cleaned, entry.at + 2, _NO_TYPE)
    return bytes(cleaned)


def _header_size(data: bytes) -> tuple[int, int]:
    """Only if the first directory is at the beginning, and no thumbnail; many encoders write it behind the pixels."""
    directory = Directory(data)
    if directory.count > HEADER_STEPS or not is_full_page(directory):
        raise Malformed
    numbers: dict[int, int] = {}
    for entry in directory:
        if entry.tag in (_WIDTH, _LENGTH):
            numbers.setdefault(entry.tag, directory.number(entry))
    if len(numbers) < 2:
        raise Malformed
    return numbers[_WIDTH], numbers[_LENGTH]


TIFF = FileFormat("TIFF", _matches, _strip, TiffImageFile, header_size=_header_size)
