"""BMP: a file header, then a bitmap header whose length says its version. It carries no metadata to remove.

A picture with an alpha channel in which every pixel is clear is opaque: many programs leave the channel empty. A V5
header may bring an ICC profile.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from PIL.BmpImagePlugin import BmpImageFile

from service.imaging.formats.file_format import FileFormat, StrippedFile

_HEADER_LENGTHS = {struct.pack("<I", length) for length in (12, 40, 52, 56, 64, 108, 124)}
_OS2_HEADER_LENGTH, _V5_HEADER_LENGTH = 12, 124
_HEADER = 14
"""Where the bitmap header begins."""


def _matches(data: bytes) -> bool:
    # "BM" alone proves little, so the length of the header that follows must be a known one.
    return data.startswith(b"BM") and data[14:18] in _HEADER_LENGTHS


def _size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH" if data[14] == _OS2_HEADER_LENGTH else "<ii", data, 18)
    return width, abs(height)  # a negative height means that the top row comes first


def _strip(data: bytes) -> StrippedFile:
    return StrippedFile(data, _size(data))


class _Bmp(BmpImageFile):
    """Pillow's decoder, with the profile, and without an alpha channel that would hide everything."""

    def load(self) -> Any:
        undecoded = bool(self.tile)
        result = super().load()
        if undecoded and self.mode == "RGBA" and self.getchannel("A").getextrema() == (0, 0):
            self.putalpha(255)
        return result


def _open(file: BytesIO) -> _Bmp:
    image = _Bmp(file)
    if (profile := _profile(file.getvalue())) is not None:
        image.info["icc_profile"] = profile
    return image


def _profile(data: bytes) -> bytes | None:
    """The ICC profile of a V5 header, if it has one within the file."""
    if data[_HEADER] != _V5_HEADER_LENGTH or data[_HEADER + 56 : _HEADER + 60] != b"DEBM":
        return None
    offset, length = struct.unpack_from("<II", data, _HEADER + 112)
    profile = data[_HEADER + offset : _HEADER + offset + length]
    return profile if len(profile) == length else None


BMP = FileFormat("BMP", _matches, _strip, _open, header_size=_size)
