"""GIF (GIF89a): a canvas, then extensions and frames.

Only the first frame is decoded. The size is that of the canvas, enlarged to hold the first frame, as decoders do.
"""

from __future__ import annotations

import struct

from PIL.GifImagePlugin import GifImageFile

from service.imaging.formats.file_format import FileFormat, Malformed, StrippedFile

_EXTENSION, _IMAGE = 0x21, 0x2C


def _matches(data: bytes) -> bool:
    return data.startswith((b"GIF87a", b"GIF89a"))


def _strip(data: bytes) -> StrippedFile:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _palette_bytes(flags)
    while data[at] == _EXTENSION:  # a label, then blocks; an empty block is the last
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if data[at] != _IMAGE:
        raise Malformed
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    if not frame_width or not frame_height:
        return StrippedFile(data, (0, 0))
    return StrippedFile(data, (max(width, left + frame_width), max(height, top + frame_height)))


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _header_size(data: bytes) -> tuple[int, int]:
    """The canvas. The first frame may enlarge it, but stands behind any number of extensions."""
    width, height = struct.unpack_from("<HH", data, 6)
    if not width or not height:
        raise Malformed
    return width, height


GIF = FileFormat("GIF", _matches, _strip, GifImageFile, header_size=_header_size)
