"""The samples of a TIFF file without lossy compression: any depth, order and photometric interpretation.

Pillow decompresses well, but knows few of the ways in which TIFF 6.0 can lay out samples, and some of them wrongly. So
``tiff`` lets it read such a file as grey bytes (``claims`` writes the directory that says so), and ``TiffSamples``
makes strips of them. It works on strips of rows, so that beside the bytes of the file there is no picture of full size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from service.errors import Undecodable
from service.imaging.formats.opened import Box, strip_of
from service.imaging.formats.tiff_directory import Directory, Entry
from service.imaging.picture import Pixels

Array = npt.NDArray[Any]

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
COLOUR_SAMPLES = {
    WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3,
}  # fmt: skip
"""Photometric interpretation -> samples of a pixel, without extra samples."""

UNCOMPRESSED = 1
COMPRESSIONS = {UNCOMPRESSED, 5, 8, 32773, 32946, 34925, 50000}
"""None, LZW, deflate, PackBits, deflate, LZMA, Zstandard: what comes out are the bytes that went in."""

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
_KNOWN_BITS = {UNSIGNED: {*range(1, 17), 32}, SIGNED: {8, 16, 32}, FLOAT: {16, 32, 64}}
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3
"""Predictors."""
_PREMULTIPLIED, _SEPARATE = 1, 2
"""ExtraSamples: two kinds of transparency. Any other extra sample is ignored."""

LUMA = (0.299, 0.587, 0.114)
REFERENCE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
"""Defaults of YCbCrCoefficients and of ReferenceBlackWhite."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the samples of a page lie in the file, and what they mean."""

    width: int
    height: int
    bits: int
    samples: int
    """Samples of a pixel, with extra samples."""
    photometric: int
    order: str
    """``<`` or ``>``."""
    sample_format: int = UNSIGNED
    compression: int = UNCOMPRESSED
    fill_order: int = 1
    """2: the lowest bit of each byte of the file comes first; the decoder turns it."""
    predictor: int = 1
    planes: int = 1
    """1, or as many as samples if each has a plane of its own."""
    extra: tuple[int, ...] = ()
    tile: tuple[int, int] | None = None
    rows_per_strip: int = 0
    subsampling: tuple[int, int] = (1, 1)
    """Of YCbCr: how many pixels in a row, and in a column, share their colour samples."""
    luma: tuple[float, ...] = LUMA
    """YCbCrCoefficients."""
    reference: tuple[float, ...] = REFERENCE
    """ReferenceBlackWhite."""
    palette: bytes = b""
    """R, G, B of each index, 8 bits."""
    icc: bytes | None = None

    def check(self) -> None:
        """Refuse what has no plain meaning.

        Raises:
            Undecodable: says what to save instead.
        """
        if not (self._has_known_samples and self._has_known_predictor and self._has_known_subsampling):
            raise unusual_samples()
        largest_part = 0
        if self.compression != UNCOMPRESSED:
            largest_part = self.row_bytes * (self.tile[1] if self.tile else self.part_rows)
        if self.planes * self.stored_width * self.stored_height + largest_part > (
            24 * self.width * self.height + (8 << 20)
        ):
            raise Undecodable(
                "The TIFF takes too many bytes for each pixel. Save it with 8 or 16 bits a sample."
            )

    @property
    def _has_known_samples(self) -> bool:
        if self.samples < COLOUR_SAMPLES[self.photometric]:
            return False
        if self.photometric == PALETTE:
            return self.sample_format == UNSIGNED and len(self.palette) == 3 << self.bits
        if self.photometric in (CIELAB, ICCLAB):
            return self.sample_format != FLOAT and self.bits in (8, 16)
        if self.photometric == YCBCR and self.sample_format == FLOAT:
            return False
        return self.bits in _KNOWN_BITS.get(self.sample_format, ())

    @property
    def _has_known_predictor(self) -> bool:
        match self.predictor:
            case 1:
                return True
            case 2:  # differences
                return self.bits in (8, 16, 32) and self.sample_format != FLOAT
            case 3:  # differences of the bytes of floats
                return self.sample_format == FLOAT
        return False

    @property
    def _has_known_subsampling(self) -> bool:
        if self.subsampling == (1, 1):
            return True
        whole_strips = self.tile is None and self.rows_per_strip % self.subsampling[1] == 0
        return whole_strips and (self.bits, self.samples, self.planes, self.predictor) == (8, 3, 1, 1)

    @property
    def _in_plane(self) -> int:
        return self.samples if self.planes == 1 else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored row of one strip or tile, in one plane."""
        across, down = self.subsampling
        if self.subsampling != (1, 1):
            return -(-self.width // across) * (across * down + 2)
        columns = self.tile[0] if self.tile else self.width
        return -(-columns * self._in_plane * self.bits // 8)

    @property
    def across(self) -> int:
        """Tiles in a row of tiles; 1 for strips."""
        return -(-self.width // self.tile[0]) if self.tile else 1

    @property
    def stored_width(self) -> int:
        """Of a plane, in bytes."""
        return self.across * self.row_bytes

    @property
    def stored_height(self) -> int:
        """Of a plane, in stored rows."""
        return -(-self.height // self.subsampling[1])

    @property
    def part_rows(self) -> int:
        """Stored rows of one strip or tile."""
        if self.tile:
            return self.tile[1]
        return min(self.rows_per_strip // self.subsampling[1] or self.stored_height, self.stored_height)

    @property
    def parts(self) -> int:
        """Strips or tiles of one plane."""
        return self.across * -(-self.stored_height // self.part_rows)

    @property
    def opacity_at(self) -> int | None:
        """Which sample of a pixel is the transparency."""
        first = COLOUR_SAMPLES[self.photometric]
        if self.samples == first or self.photometric in (CMYK, CIELAB, ICCLAB):
            return None
        if not self.extra:  # writers that leave the tag out mean transparency
            return first if self.samples == first + 1 else None
        kinds = self.extra[: self.samples - first]
        return next((first + i for i, kind in enumerate(kinds) if kind in (_PREMULTIPLIED, _SEPARATE)), None)

    @property
    def is_premultiplied(self) -> bool:
        """Whether the colours are multiplied by the transparency."""
        at = self.opacity_at
        return at is not None and self.extra[at - COLOUR_SAMPLES[self.photometric] :][:1] == (_PREMULTIPLIED,)


def unusual_samples() -> Undecodable:
    """The error for samples that have no plain meaning."""
    return Undecodable(
        "The TIFF stores its samples in an unusual way. Save it as RGB or grey with 8 or 16 bits a sample."
    )


def claims(
    layout: Layout, page: Directory, data: bytes, *, offsets: Entry, counts: Entry | None, at: int
) -> bytes:
    """Directories that describe each plane as a picture of grey bytes, chained, to stand at ``at`` in the file.

    Args:
        data: the file.
        offsets: where strips or tiles stand; with as many values as there are.
        counts: their lengths.
    """
    size = page.pointer_bytes
    entry_bytes, count_layout = (20, "Q") if size == 8 else (12, "H")
    pointer = "Q" if size == 8 else "I"

    def field(tag: int, kind: int, count: int, value: bytes) -> bytes:
        return struct.pack(f"{page.order}HH{pointer}", tag, kind, count) + value.ljust(size, b"\0")

    def number(tag: int, value: int) -> bytes:
        return field(tag, 4, 1, struct.pack(f"{page.order}I", value))

    def part_of(entry: Entry, plane: int) -> bytes:
        length = entry.length // entry.count * layout.parts
        start = entry.offset + plane * length
        inline = (
            data[start : start + length] if length <= size else struct.pack(f"{page.order}{pointer}", start)
        )
        return field(entry.tag, entry.type, layout.parts, inline)

    result = b""
    for plane in range(layout.planes):
        fields = [
            number(256, layout.stored_width),
            number(257, layout.stored_height),
            number(258, 8),
            number(259, layout.compression),
            number(262, BLACK_IS_ZERO),
            number(266, layout.fill_order),
            number(277, 1),
            part_of(offsets, plane),
            *([part_of(counts, plane)] if counts is not None else []),
        ]
        if layout.tile:
            fields += [number(322, layout.row_bytes), number(323, layout.tile[1])]
        else:
            fields.append(number(278, layout.part_rows))
        fields.sort(key=lambda entry: struct.unpack_from(f"{page.order}H", entry))
        head = struct.pack(f"{page.order}{count_layout}", len(fields))
        following = at + len(result) + len(head) + entry_bytes * len(fields) + size
        last = plane == layout.planes - 1
        result += head + b"".join(fields) + struct.pack(f"{page.order}{pointer}", 0 if last else following)
    return result


class TiffSamples:
    """An opened TIFF whose samples are interpreted here."""

    def __init__(self, file: BytesIO, layout: Layout) -> None:
        self._image, self._layout = TiffImageFile(file), layout
        self._planes: list[Image.Image] = []
        self.size = layout.width, layout.height
        self.info = {"icc_profile": layout.icc} if layout.icc else {}

    @property
    def has_transparency_data(self) -> bool:
        """See ``Opened``."""
        return self._layout.opacity_at is not None

    @property
    def mode(self) -> str:
        """See ``Opened``."""
        match self._layout.photometric:
            case photometric if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
                return "LA" if self.has_transparency_data else "L"
            case photometric if photometric in (CIELAB, ICCLAB):
                return "LAB"
            case photometric if photometric == CMYK:
                return "CMYK"
        return "RGBA" if self.has_transparency_data else "RGB"

    def load(self) -> object:
        """See ``Opened``."""
        if self._layout.planes == 1:
            self._image.load()
            self._planes = [self._image]
            return None
        for plane in range(self._layout.planes):
            self._image.seek(plane)
            self._planes.append(self._image.copy())
        return None

    def crop(self, box: Box) -> Image.Image:
        """See ``Opened``."""
        left, top, right, bottom = box
        layout = self._layout
        if layout.subsampling != (1, 1):
            samples = self._subsampled(top, bottom)
        else:
            planes = [self._rows(plane, top, bottom) for plane in self._planes]
            samples = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
        return _strip(layout, samples[:, left:right])

    def _rows(self, plane: Image.Image, top: int, bottom: int) -> Array:
        """h x W x samples in the plane."""
        layout = self._layout
        stored = np.asarray(plane.crop((0, top, layout.stored_width, bottom)))
        rows = stored.reshape((bottom - top) * layout.across, layout.row_bytes)
        columns = layout.tile[0] if layout.tile else layout.width
        in_plane = layout.samples if layout.planes == 1 else 1
        samples = _unpack(layout, rows, columns, in_plane)
        return samples.reshape(bottom - top, layout.across * columns, in_plane)[:, : layout.width]

    def _subsampled(self, top: int, bottom: int) -> Array:
        """h x W x 3 of YCbCr: units of some luma samples, then the two colour samples that they share."""
        layout = self._layout
        across, down = layout.subsampling
        first, last = top // down, -(-bottom // down)
        stored = np.asarray(self._planes[0].crop((0, first, layout.stored_width, last)))
        units = stored.reshape(last - first, -1, across * down + 2)
        luma = units[..., :-2].reshape(*units.shape[:2], down, across).swapaxes(1, 2)
        samples = np.empty(((last - first) * down, units.shape[1] * across, 3), np.uint8)
        samples[..., 0] = luma.reshape(samples.shape[:2])
        samples[..., 1:] = units[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
        return samples[top - first * down : bottom - first * down, : layout.width]


def _unpack(layout: Layout, rows: Pixels, columns: int, in_plane: int) -> Array:
    """Stored bytes, n x bytes -> n x columns x samples, in the type that the file says; predictors undone."""
    shape = len(rows), columns, in_plane
    if layout.predictor == _FLOAT_DIFFERENCES:
        rows = rows.reshape(len(rows), -1, in_plane).cumsum(axis=1, dtype=np.uint8)
        by_byte = rows.reshape(len(rows), layout.bits // 8, columns * in_plane)
        values = np.ascontiguousarray(by_byte.swapaxes(1, 2)).view(f">f{layout.bits // 8}")
        return values.reshape(shape)
    if layout.bits in (8, 16, 32, 64):
        kind = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}[layout.sample_format]
        samples: Array = (
            np.ascontiguousarray(rows).view(f"{layout.order}{kind}{layout.bits // 8}").reshape(shape)
        )
        if layout.predictor == _DIFFERENCES:
            samples = samples.cumsum(axis=1, dtype=samples.dtype.newbyteorder("="))
        return samples
    bits = np.unpackbits(rows, axis=1, count=columns * in_plane * layout.bits)
    bits = bits.reshape(*shape, layout.bits)
    samples = np.zeros(shape, np.uint16)
    for position in range(layout.bits):  # the highest bit comes first
        samples <<= 1
        samples |= bits[..., position]
    return samples


def _strip(layout: Layout, samples: Array) -> Image.Image:
    """Samples -> a strip in the mode of ``TiffSamples.mode``."""
    height, width = samples.shape[:2]
    if layout.photometric in (CIELAB, ICCLAB):
        return Image.frombytes("LAB", (width, height), _lab(layout, samples[..., :3]).tobytes())
    if layout.photometric == PALETTE:
        palette = np.frombuffer(layout.palette, np.uint8).reshape(-1, 3)
        colours = palette[samples[..., 0]]
    else:
        colours = _eight_bits(layout, samples[..., : COLOUR_SAMPLES[layout.photometric]])
    if layout.photometric == WHITE_IS_ZERO:
        colours = 255 - colours
    if layout.photometric == CMYK:
        return Image.frombytes("CMYK", (width, height), np.ascontiguousarray(colours).tobytes())
    opacity: Pixels | None = None
    if (at := layout.opacity_at) is not None:
        opacity = _eight_bits(layout, samples[..., at])
        if layout.is_premultiplied:
            weight = np.maximum(opacity, 1)[..., np.newaxis].astype(np.uint16)
            colours = np.minimum((colours * np.uint16(255) + weight // 2) // weight, 255).astype(np.uint8)
    if layout.photometric == YCBCR:
        colours = _rgb_of_ycbcr(layout, colours)
    if colours.shape[2] == 1:
        grey = Image.fromarray(colours[..., 0])
        if opacity is not None:
            grey.putalpha(Image.fromarray(np.ascontiguousarray(opacity)))
        return grey
    return strip_of(np.ascontiguousarray(colours), opacity)


def _eight_bits(layout: Layout, samples: Array) -> Pixels:
    """Samples of any type, full scale -> uint8.

    Raises:
        Undecodable: floats outside 0-1, or signed integers outside 0-65535.
    """
    if layout.sample_format == FLOAT:
        if not (samples.min() >= 0 and samples.max() <= 1):  # false for NaN, too
            raise Undecodable(
                "The image has floating-point values outside 0-1. Send an image of 8 or 16 bits."
            )
        return (samples.astype(np.float32) * 255 + np.float32(0.5)).astype(np.uint8)
    if layout.bits == 8:
        return samples.view(np.uint8)
    if (
        layout.sample_format == SIGNED
    ):  # what Pillow and NumPy users save as 32-bit integers are 16-bit values
        if samples.min() < 0 or samples.max() > 65535:
            raise Undecodable("The image has signed values outside 0-65535. Send an image of 8 or 16 bits.")
        return (samples >> 8).astype(np.uint8)
    if layout.bits == 32:
        return (samples >> 24).astype(np.uint8)
    return _scale(layout.bits)[samples]


@cache
def _scale(bits: int) -> Pixels:
    """Value of that many bits -> 8 bits, rounded."""
    most = (1 << bits) - 1
    return ((np.arange(most + 1, dtype=np.uint32) * 255 + most // 2) // most).astype(np.uint8)


def _lab(layout: Layout, samples: Array) -> Pixels:
    """Lab of any kind -> L 0-255 and a, b as two's complement, as in an 8-bit CIELab file."""
    if layout.bits == 16:
        samples = _lab_of_16_bits(layout, samples.astype(np.uint16))
    lab = samples.view(np.uint8).copy()
    if layout.photometric == ICCLAB:  # there a and b are counted from 128
        lab[..., 1:] ^= 128
    return lab


def _lab_of_16_bits(layout: Layout, samples: Array) -> Pixels:
    """Rounded to 8 bits: a value that is cut off would give every grey a tint."""
    lab = np.empty(samples.shape, np.uint8)
    if layout.photometric == ICCLAB:  # L of 100 is 0xFF00
        lab[...] = np.minimum((samples.astype(np.uint32) + 128) >> 8, 255)
        return lab
    lab[..., 0] = (samples[..., 0].astype(np.uint32) * 255 + 32767) // 65535
    signed = samples[..., 1:].view(np.int16).astype(np.int32)
    lab[..., 1:] = np.clip((signed + 128) >> 8, -128, 127).astype(np.int8).view(np.uint8)
    return lab


def _rgb_of_ycbcr(layout: Layout, ycbcr: Pixels) -> Pixels:
    """TIFF 6.0, section 21. The reference values count for 8 bits only."""
    black_y, white_y, black_b, white_b, black_r, white_r = layout.reference if layout.bits == 8 else REFERENCE
    red, green, blue = layout.luma
    values = ycbcr.astype(np.float32)
    y = (values[..., 0] - black_y) * (255 / (white_y - black_y))
    b = (values[..., 1] - black_b) * (127 / (white_b - black_b)) * (2 - 2 * blue)
    r = (values[..., 2] - black_r) * (127 / (white_r - black_r)) * (2 - 2 * red)
    values[..., 0] = y + r
    values[..., 2] = y + b
    values[..., 1] = y - (red * r + blue * b) / green
    return (np.clip(values, 0, 255) + 0.5).astype(np.uint8)
