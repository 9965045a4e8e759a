"""PNG (W3C Recommendation, third edition): a signature, then chunks.

The copy keeps the chunks of the default image and a colour profile that decompresses. Of an animation, that image is
the first frame. Colours are those of the first of ``cICP``, ``iCCP``, ``sRGB``, ``gAMA`` with ``cHRM``. Bytes that are
missing behind the pixels do not matter; browsers show such a file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from service.errors import Undecodable
from service.imaging.colour.encoding import Encoding, Primaries, Samples, from_code_points, from_power
from service.imaging.colour.modes import has_transparency, to_rgb
from service.imaging.colour.profiles import parse_profile, space_of
from service.imaging.formats.exif import exif_orientation
from service.imaging.formats.file_format import FileFormat, Malformed, StrippedFile
from service.imaging.formats.opened import Box, Opened, strip_of
from service.imaging.picture import Pixels

MAX_PROFILE_BYTES = 1 << 20
"""Pillow refuses a PNG with a larger profile, so a larger profile is dropped."""

MAX_PIECES = 1000
"""Runs of kept chunks with others between them. Files have a handful; each becomes a Python object."""

MAX_CHUNKS = 50_000
"""Each costs time. Some programs write the pixels in chunks of a few kilobytes."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_READ_CHUNKS = {b"eXIf", b"iCCP", b"tRNS", b"cICP", b"sRGB", b"gAMA", b"cHRM"}
_GREY, _RGB, _RGBA = 0, 2, 6
_GREY_TYPES = (0, 4)
"""Grey, and grey with transparency."""
_LOW_BYTES = {_RGB: "RGB;16L", _RGBA: "RGBA;16L"}
"""Colour type -> the raw mode in which Pillow takes the low byte of each big-endian sample."""


def _matches(data: bytes) -> bool:
    return data.startswith(_SIGNATURE)


def _strip(data: bytes) -> StrippedFile:
    kept = [(0, 8)]
    profile = (0, 0)
    read: dict[bytes, bytes] = {}
    pixels_begun = False
    for at, end, name in _chunks(data):
        pixels_begun |= name == b"IDAT"
        if name == b"IHDR" and at > 8:
            raise Malformed  # the decoder would take the size from it
        if end > len(data) and not pixels_begun:
            raise Malformed  # if pixels are missing, the decoder reports it
        if name in _READ_CHUNKS:
            read.setdefault(name, data[at + 8 : end - 4])
        # A key of grey or RGB is compared here, because Pillow compares 8 bits at most.
        wanted = name in _PIXEL_CHUNKS or (name == b"tRNS" and data[25] == 3)
        if wanted and kept[-1][1] == at:
            kept[-1] = kept[-1][0], end
        elif wanted:
            kept.append((at, end))
        elif name == b"iCCP":
            profile = profile if any(profile) else (at, end)
        if len(kept) > MAX_PIECES:
            raise Malformed
    size = _size(data)
    bits, colour_type = struct.unpack_from("BB", data, 24)
    if _code_points(read) is None and _has_profile(read.get(b"iCCP", b""), colour_type):
        header = 8 + 12 + 13
        kept[:1] = [(0, header), profile, (header, kept[0][1])]
    orientation = exif_orientation(read.get(b"eXIf", b""))
    key, encoding = _key(bits, colour_type, read.get(b"tRNS", b"")), _encoding(read, colour_type)
    samples = _SampleKind(bits, colour_type, key, encoding)
    return StrippedFile(b"".join(data[start:end] for start, end in kept), size, orientation, samples.open)


def _chunks(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Start, end and name of each chunk. The end of the last one may lie behind that of the file.

    Raises:
        Undecodable: there are more than ``MAX_CHUNKS``.
    """
    at = 8
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        yield at, end, name
        if name == b"IEND":
            return
        at = end
    raise Undecodable(f"The PNG has more than {MAX_CHUNKS} chunks. Save it again with larger ones.")


def _size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise Malformed
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _key(bits: int, colour_type: int, body: bytes) -> tuple[int, ...] | None:
    """The transparent sample of a grey or RGB image; None if there is none. Only the image's own bits count."""
    channels = {_GREY: 1, _RGB: 3}.get(colour_type)
    if channels is None or len(body) < 2 * channels:
        return None
    return tuple(value & (1 << bits) - 1 for value in struct.unpack_from(f">{channels}H", body))


def _code_points(read: dict[bytes, bytes]) -> tuple[int, int, bool] | None:
    """Primaries, transfer and full range of ``cICP``; None without a valid one (its matrix must be 0: RGB)."""
    body = read.get(b"cICP", b"")
    if len(body) != 4 or body[2] != 0 or body[0] == body[1] == 2:
        return None
    return body[0], body[1], body[3] != 0


def _encoding(read: dict[bytes, bytes], colour_type: int) -> Encoding | None:
    """What the chunks declare; None for sRGB, or where the profile decides."""
    if (code_points := _code_points(read)) is not None:
        primaries, transfer, full_range = code_points
        return from_code_points(primaries, transfer, full_range=full_range)
    if b"sRGB" in read or _has_profile(read.get(b"iCCP", b""), colour_type):
        return None
    power: float | None = None
    if len(gama := read.get(b"gAMA", b"")) == 4 and any(gama):
        power = 100_000 / int.from_bytes(gama, "big")
    chromaticities: Primaries | None = None
    if len(chrm := read.get(b"cHRM", b"")) == 32:
        white, *rgb = struct.iter_unpack(">2I", chrm)
        red, green, blue, white = ((x / 100_000, y / 100_000) for x, y in (*rgb, white))
        chromaticities = red, green, blue, white
    return from_power(power, chromaticities)


def _has_profile(iccp: bytes, colour_type: int) -> bool:
    """Whether the body of an iCCP chunk holds a profile for such samples, of at most ``MAX_PROFILE_BYTES``."""
    _, _, compressed = iccp.partition(b"\0")
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(compressed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    parsed = parse_profile(profile) if decompressor.eof else None
    return parsed is not None and space_of(parsed) == ("GRAY" if colour_type in _GREY_TYPES else "RGB")


@dataclass(frozen=True, slots=True)
class _SampleKind:
    """What the samples of a file are."""

    bits: int
    colour_type: int
    key: tuple[int, ...] | None
    """The transparent sample."""
    encoding: Encoding | None

    def open(self, file: BytesIO) -> Opened:
        image = PngImageFile(file)
        if self.key is None and self.encoding is None:
            return image
        low = None
        if self.bits == 16 and self.colour_type in _LOW_BYTES:
            # Pillow keeps the high bytes of RGB only, so the low bytes are decoded as a second image.
            low = PngImageFile(BytesIO(file.getvalue()))
            low.tile = [tile._replace(args=_LOW_BYTES[self.colour_type]) for tile in low.tile]
        return _Samples(image, low, self)


class _Samples:
    """A PNG with a transparent key or a declared encoding; both are applied to all bits of the samples."""

    def __init__(self, image: PngImageFile, low: PngImageFile | None, kind: _SampleKind) -> None:
        self._image, self._low, self._kind = image, low, kind
        self.size = image.size
        self.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
        if kind.encoding is not None:
            self.info = {}

    @property
    def has_transparency_data(self) -> bool:
        return self._kind.key is not None or has_transparency(self._image)

    @property
    def mode(self) -> str:
        if self._kind.colour_type == _GREY and self._kind.encoding is None:
            return "LA"  # a grey profile is for it
        return "RGBA" if self.has_transparency_data else "RGB"

    def load(self) -> object:
        if self._low is not None:
            self._low.load()
        return self._image.load()

    def crop(self, box: Box) -> Image.Image:
        samples, opacity = self._samples(box)
        if self._kind.key is not None:
            key = self._kind.key
            if self._kind.bits < 8:
                key = tuple(value * 255 // ((1 << self._kind.bits) - 1) for value in key)
            opacity = np.where((samples == np.array(key, samples.dtype)).all(axis=-1), 0, 255).astype(
                np.uint8
            )
        if self._kind.encoding is not None:
            return strip_of(self._kind.encoding.to_srgb(samples), opacity)
        high = samples if samples.dtype == np.uint8 else samples >> 8
        return strip_of(high.astype(np.uint8, copy=False), opacity)

    def _samples(self, box: Box) -> tuple[Samples, Pixels | None]:
        """h x w x 3, with all bits of 16, and 8-bit opacity."""
        strip = self._image.crop(box)
        if strip.mode.startswith("I;16"):
            return np.repeat(np.asarray(strip).astype(np.uint16)[..., np.newaxis], 3, axis=2), None
        samples, opacity = to_rgb(strip, None)
        if self._low is None:
            return samples, opacity
        low, _ = to_rgb(self._low.crop(box), None)
        deep = samples.astype(np.uint16)
        deep <<= 8
        deep |= low
        return deep, opacity


PNG = FileFormat("PNG", _matches, _strip, PngImageFile, header_size=_size)
