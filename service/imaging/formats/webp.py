"""WebP (RFC 9649): a RIFF file whose first chunk says the size.

The copy keeps the chunks of the picture and the ICC profile. It says its own length, so that a file which was cut short
behind its pixels decodes.
"""

from __future__ import annotations

import struct

from PIL.WebPImagePlugin import WebPImageFile

from service.errors import Undecodable
from service.imaging.formats.exif import exif_orientation
from service.imaging.formats.file_format import FileFormat, Malformed, StrippedFile

MAX_CHUNKS = 50_000
"""Each costs time, and two Python objects if it is kept. An animation has a chunk for each frame."""

_KEPT_CHUNKS = {b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF"}
_METADATA_FLAGS = 0x08 | 0x04
"""In a VP8X chunk: the file has EXIF, XMP."""


def _matches(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def _strip(data: bytes) -> StrippedFile:
    size = _size(data)
    kept: list[bytes] = [b"RIFF", b"", b"WEBP"]
    orientation = 1
    at, end_of_file = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    chunks = 0
    while at + 8 <= end_of_file:
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise Undecodable(f"The WebP has more than {MAX_CHUNKS} chunks. Save it again with fewer frames.")
        name, length = struct.unpack_from("<4sI", data, at)
        chunk = data[at : min(at + 8 + length, end_of_file)]
        if name == b"EXIF":
            orientation = exif_orientation(chunk[8:])
        elif name == b"VP8X":
            kept += [chunk[:8], bytes([chunk[8] & ~_METADATA_FLAGS]), chunk[9:]]
        elif name in _KEPT_CHUNKS:
            kept += [chunk, bytes(len(chunk) % 2)]
        at += 8 + length + length % 2
    kept[1] = struct.pack("<I", sum(map(len, kept)) - 4)
    return StrippedFile(b"".join(kept), size, orientation)


def _size(data: bytes) -> tuple[int, int]:
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


WEBP = FileFormat("WebP", _matches, _strip, WebPImageFile, header_size=_size)
