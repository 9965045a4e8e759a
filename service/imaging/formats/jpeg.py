"""JPEG (ITU-T T.81): segments up to the first scan, then the scans.

The copy keeps the tables, the frame header, the scans, Adobe's colour marker and the ICC profile. It must end where
the first image ends: a file may go on with more pictures or a film.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from PIL.JpegImagePlugin import JpegImageFile

from service.errors import Undecodable
from service.imaging.formats.exif import exif_orientation
from service.imaging.formats.file_format import HEADER_STEPS, FileFormat, Malformed, StrippedFile

MAX_SCANS = 100
"""Each scan is a pass over the whole image. Encoders write about ten."""

_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_APP0, _APP1_EXIF, _APP2_ICC, _APP14_ADOBE = 0xE0, 0xE1, 0xE2, 0xEE

_MARKER_IN_SCANS = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


def _matches(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8\xff")


def _strip(data: bytes) -> StrippedFile:
    kept = [data[:2]]
    size: tuple[int, int] | None = None
    orientation: int | None = None
    for marker, start, end in _segments(data):
        if marker == _START_OF_SCAN:
            if size is None:
                break
            kept.append(data[start : _image_end(data, start)])
            return StrippedFile(b"".join(kept), size, orientation or 1)
        body = data[start + 4 : end]
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", body, 1)
            size = width, height
        if marker == _APP1_EXIF and orientation is None and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body)
        is_profile = marker == _APP2_ICC and body.startswith(b"ICC_PROFILE\0")
        if marker < _APP0 or marker == _APP14_ADOBE or is_profile:
            kept.append(data[start:end])
    raise Malformed


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the first scan.

    A scan may end early; every other segment lies within the file.
    """
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:  # like decoders, skip junk between segments
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker == _END_OF_IMAGE:
            return
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            end = at + 2 + length
            if marker != _START_OF_SCAN and (length < 2 or end > len(data)):
                raise Malformed
            yield marker, at, end
            at = end


def _image_end(data: bytes, at: int) -> int:
    """Where the image whose first scan stands at ``at`` ends."""
    scans = 0
    while marker := _MARKER_IN_SCANS.search(data, at):
        at = marker.end()
        if marker[1][0] == _END_OF_IMAGE:
            return at
        scans += marker[1][0] == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise Undecodable(f"The JPEG has more than {MAX_SCANS} scans. Save it again with fewer scans.")
        at += int.from_bytes(data[at : at + 2], "big")
    return len(data)  # the file ends early; the decoder reports it


def _header_size(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(HEADER_STEPS):
        prefix, marker, length = struct.unpack_from(">BBH", data, at)
        if prefix != 0xFF or marker in _WITHOUT_LENGTH or marker in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length
    raise Malformed


JPEG = FileFormat("JPEG", _matches, _strip, JpegImageFile, header_size=_header_size)
