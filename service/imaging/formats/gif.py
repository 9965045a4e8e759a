"""GIF (GIF89a): a canvas, then extensions and frames.

Only the first frame is decoded. The size is that of the canvas, enlarged to hold the first frame, as decoders do.
"""

from __future__ import annotations

import struct

from PIL.GifImagePlugin import GifImageFile

from service.imaging.formats.file_format import HEADER_STEPS, FileFormat, Malformed, StrippedFile

_EXTENSION, _IMAGE = 0x21, 0x2C


def _matches(data: bytes) -> bool:
    return data.startswith((b"GIF87a", b"GIF89a"))


def _strip(data: bytes) -> StrippedFile:
    return StrippedFile(data, _size(data, most_steps=len(data)))


def _size(data: bytes, *, most_steps: int) -> tuple[int, int]:
    """The size, if the first frame is found in so many steps: any number of extensions may stand before it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _palette_bytes(flags)
    in_extension = False
    for _ in range(most_steps):
        if in_extension:  # blocks; an empty one is the last
            in_extension = data[at] > 0
            at += 1 + data[at]
        elif data[at] == _EXTENSION:  # and a label
            in_extension = True
            at += 2
        elif data[at] == _IMAGE:
            left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
            if not frame_width or not frame_height:
                return 0, 0
            return max(width, left + frame_width), max(height, top + frame_height)
        else:
            break
    raise Malformed


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _header_size(data: bytes) -> tuple[int, int]:
    return _size(data, most_steps=HEADER_STEPS)


GIF = FileFormat("GIF", _matches, _strip, GifImageFile, header_size=_header_size)
