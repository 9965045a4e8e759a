"""BMP: a file header, then a bitmap header whose length says its version. It carries no metadata to remove."""

from __future__ import annotations

import struct

from PIL.BmpImagePlugin import BmpImageFile

from service.imaging.formats.file_format import FileFormat, StrippedFile

_HEADER_LENGTHS = {struct.pack("<I", length) for length in (12, 40, 52, 56, 64, 108, 124)}
_OS2_HEADER_LENGTH = 12


def _matches(data: bytes) -> bool:
    # "BM" alone proves little, so the length of the header that follows must be a known one.
    return data.startswith(b"BM") and data[14:18] in _HEADER_LENGTHS


def _size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH" if data[14] == _OS2_HEADER_LENGTH else "<ii", data, 18)
    return width, abs(height)  # a negative height means that the top row comes first


def _strip(data: bytes) -> StrippedFile:
    return StrippedFile(data, _size(data))


BMP = FileFormat("BMP", _matches, _strip, BmpImageFile, header_size=_size)
