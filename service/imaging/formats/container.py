"""The bytes around the pixels: which format a file is, how large it says it is, and a copy without its metadata.

Pillow decodes pixels well, but some of its metadata code runs before a caller can say no, trusts the counts in a
file, or warns through the process-wide ``warnings`` state. So it gets to see pixels and colour profiles only:

- the format comes from the first bytes, against an allow-list, never from a name or a content type;
- the size comes from the header, so that too large an image is refused before a decoder is even built;
- EXIF is read here, for one number: the orientation; it and all else a photograph tells are left out of the copy
  (which also means that none of it can reach the answer);
- what makes a small file expensive is refused: a JPEG of thousands of scans, a TIFF of millions of strips.

Everything is bounded by the upload: at most one copy of it is made.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from service.errors import Undecodable, UnsupportedType
from service.imaging.formats.tiff import Malformed, exif_orientation, pixels_only


class Kind(StrEnum):
    """The allow-list."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    AVIF = "AVIF"
    BMP = "BMP"
    TIFF = "TIFF"
    GIF = "GIF"


@dataclass(frozen=True, slots=True)
class Container:
    """An image file, ready for a decoder."""

    kind: Kind
    data: bytes
    """The file, without what the decoder need not see."""
    size: tuple[int, int] | None
    """(width, height) as stored, from the header; None where only the decoder can tell (AVIF)."""
    orientation: int = 1
    """EXIF orientation, 1-8; WebP's and AVIF's are left to the decoder's ``info["exif"]``."""


MAX_PNG_PROFILE_BYTES = 1 << 20
"""Pillow refuses a whole PNG over a larger profile; such a profile is dropped instead."""

MAX_JPEG_SCANS = 100
"""Each scan is a pass over the whole image; encoders write about ten."""


def sniff(data: bytes) -> Kind | None:
    """The format of a file by its first bytes, or None if it is none of the allowed ones."""
    for prefix, kind in _PREFIXES.items():
        if data.startswith(prefix):
            return kind
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Kind.WEBP
    # Two letters prove little: the size of the header that follows must be one that exists.
    if data.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
        return Kind.BMP
    if data[4:8] == b"ftyp":
        # HEIC shares the container and the brand "mif1"; "avif" stands somewhere in the list if it is one.
        box = data[8 : min(int.from_bytes(data[:4], "big"), 1024)]
        if {b"avif", b"avis"} & {box[i : i + 4] for i in range(0, len(box), 4) if i != 4}:
            return Kind.AVIF
    return None


_PREFIXES = {
    b"\xff\xd8\xff": Kind.JPEG,
    b"\x89PNG\r\n\x1a\n": Kind.PNG,
    b"GIF87a": Kind.GIF,
    b"GIF89a": Kind.GIF,
    b"II*\0": Kind.TIFF,
    b"MM\0*": Kind.TIFF,
    b"II+\0": Kind.TIFF,
    b"MM\0+": Kind.TIFF,
}
_BMP_HEADERS = {struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124)}


def unwrap(data: bytes) -> Container:
    """Identify a file, read its size and orientation, and leave out the metadata.

    Raises:
        UnsupportedType: not an image by its bytes, or of a format outside the allow-list.
        Undecodable: the structure is broken, ends early, or is built to be expensive.
    """
    kind = sniff(data)
    if kind is None:
        raise UnsupportedType(f"The file is not an image of a supported format: {', '.join(Kind)}.")
    try:
        return _READERS[kind](data)
    except (Malformed, struct.error, IndexError) as error:
        raise Undecodable(f"The {kind} file is damaged or ends early; send it again whole.") from error


def _jpeg(data: bytes) -> Container:
    """Keep the tables, the frame header, the scans, Adobe's colour marker and the ICC profile."""
    kept = [data[:2]]
    size: tuple[int, int] | None = None
    orientation: int | None = None
    at = 2
    while True:
        at = data.find(b"\xff", at)  # decoders skip junk between segments
        if at < 0:
            raise Malformed
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # no length follows
            at += 2
            continue
        if marker == 0xD9:
            raise Malformed
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xDA:
            break
        body, end = data[at + 4 : at + 2 + length], at + 2 + length
        if length < 2 or end > len(data):
            raise Malformed
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", body, 1)
            size = width, height
        if marker == 0xE1 and orientation is None and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body)
        if marker < 0xE0 or marker == 0xEE or (marker == 0xE2 and body.startswith(b"ICC_PROFILE\0")):
            kept.append(data[at:end])
        at = end
    if size is None:
        raise Malformed
    kept.append(data[at : _jpeg_end(data, at)])
    return Container(Kind.JPEG, b"".join(kept), size, orientation or 1)


_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


def _jpeg_end(data: bytes, at: int) -> int:
    """Where the image that has its first scan at ``at`` ends; a file may go on (more pictures, a film)."""
    scans = 0
    while marker := _JPEG_MARKER.search(data, at):
        at = marker.end()
        if marker[1] == b"\xd9":
            return at
        scans += marker[1] == b"\xda"
        if scans > MAX_JPEG_SCANS:
            raise Undecodable(f"The JPEG has more than {MAX_JPEG_SCANS} scans; save it again with fewer.")
        at += int.from_bytes(data[at : at + 2], "big")
    return len(data)  # it ends early, which the decoder finds


_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def _png(data: bytes) -> Container:
    """Keep what makes the default image; of an animation that is the first frame."""
    kept = [data[:8]]
    orientation = 1
    at = 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name == b"IDAT" and end > len(data):
            end = len(data)  # the decoder will say how much is missing
        if end > len(data):
            raise Malformed
        body = data[at + 8 : end - 4] if name in (b"eXIf", b"iCCP") else b""
        if name == b"eXIf":
            orientation = exif_orientation(body)
        if name in _PNG_KEPT or (name == b"iCCP" and _inflates(body)):
            kept.append(data[at:end])
        at = end
        if name == b"IEND":
            break
    if data[12:16] != b"IHDR":
        raise Malformed
    width, height = struct.unpack_from(">II", data, 16)
    return Container(Kind.PNG, b"".join(kept), (width, height), orientation)


def _inflates(iccp: bytes) -> bool:
    """Whether the profile of an iCCP chunk decompresses, to no more than Pillow takes."""
    _, _, compressed = iccp.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(compressed[1:], MAX_PNG_PROFILE_BYTES)
    except zlib.error:
        return False
    return inflater.eof


def _webp(data: bytes) -> Container:
    return Container(Kind.WEBP, data, _webp_size(data))


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            if len(data) < 30:
                raise Malformed
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case _:
            raise Malformed


def _gif(data: bytes) -> Container:
    """The size is that of the canvas, enlarged to hold the first frame, as decoders do."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _gif_palette_bytes(flags)
    while data[at] == 0x21:  # extensions: a label, then blocks up to an empty one
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if data[at] != 0x2C:
        raise Malformed
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    if not frame_width or not frame_height:
        return Container(Kind.GIF, data, (0, 0))
    return Container(Kind.GIF, data, (max(width, left + frame_width), max(height, top + frame_height)))


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp(data: bytes) -> Container:
    width, height = struct.unpack_from("<HH" if data[14] == 12 else "<ii", data, 18)
    return Container(Kind.BMP, data, (width, abs(height)))  # a negative height means top to bottom


def _tiff(data: bytes) -> Container:
    cleaned, size, orientation = pixels_only(data)
    return Container(Kind.TIFF, cleaned, size, orientation)


_AVIF_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)


def _avif(data: bytes) -> Container:
    # Renamed, the Exif item is one that the decoder does not know. The orientation of an AVIF is a property of the
    # image item, which Pillow reports as EXIF.
    return Container(Kind.AVIF, _AVIF_EXIF_ITEM.sub(rb"\1skip", data), None)


_READERS: dict[Kind, Callable[[bytes], Container]] = {
    Kind.JPEG: _jpeg,
    Kind.PNG: _png,
    Kind.WEBP: _webp,
    Kind.AVIF: _avif,
    Kind.BMP: _bmp,
    Kind.TIFF: _tiff,
    Kind.GIF: _gif,
}
