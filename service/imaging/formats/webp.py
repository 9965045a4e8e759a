"""WebP (RFC 9649): a RIFF file whose first chunk says the size.

The decoder gets the whole file, because Pillow does not parse the metadata of a WebP file: it hands over the bytes of
the EXIF block, and the orientation is read from those.
"""

from __future__ import annotations

import struct

from PIL.WebPImagePlugin import WebPImageFile

from service.imaging.formats.file_format import FileFormat, Malformed, StrippedFile


def _matches(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def _strip(data: bytes) -> StrippedFile:
    return StrippedFile(data, _size(data), orientation=None)


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
