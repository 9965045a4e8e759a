"""PNG (W3C Recommendation): a signature, then chunks.

The copy keeps the chunks of the default image and a colour profile that decompresses. Of an animation, that image is
the first frame.
"""

from __future__ import annotations

import struct
import zlib

from PIL.PngImagePlugin import PngImageFile

from service.imaging.formats.exif import exif_orientation
from service.imaging.formats.file_format import FileFormat, Malformed, StrippedFile

MAX_PROFILE_BYTES = 1 << 20
"""Pillow refuses a PNG with a larger profile, so a larger profile is dropped."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def _matches(data: bytes) -> bool:
    return data.startswith(_SIGNATURE)


def _strip(data: bytes) -> StrippedFile:
    kept = [data[:8]]
    orientation = 1
    at = 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name == b"IDAT" and end > len(data):
            end = len(data)  # the decoder reports how much is missing
        if end > len(data):
            raise Malformed
        body = data[at + 8 : end - 4] if name in (b"eXIf", b"iCCP") else b""
        if name == b"eXIf":
            orientation = exif_orientation(body)
        if name in _KEPT_CHUNKS or (name == b"iCCP" and _decompresses(body)):
            kept.append(data[at:end])
        at = end
        if name == b"IEND":
            break
    return StrippedFile(b"".join(kept), _size(data), orientation)


def _size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise Malformed
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _decompresses(iccp: bytes) -> bool:
    """Whether the profile in the body of an iCCP chunk decompresses to at most ``MAX_PROFILE_BYTES``."""
    _, _, compressed = iccp.partition(b"\0")
    decompressor = zlib.decompressobj()
    try:
        decompressor.decompress(compressed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return decompressor.eof


PNG = FileFormat("PNG", _matches, _strip, PngImageFile, header_size=_size)
