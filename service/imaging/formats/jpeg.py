"""JPEG (ITU-T T.81): segments up to the first scan, then the scans.

The copy keeps the tables, the frame header, the scans, the ICC profile, and what says which colours the components are:
that there is a JFIF marker (then they are YCbCr), and Adobe's marker. Without either, libjpeg goes by the components'
names. The copy must end where the first image ends: a file may go on with more pictures or a film.

A file that lacks only its end marker is decoded, as browsers do. libjpeg fills in what is missing and does not tell, so
such a file is decoded with different bits behind its end: if they change a pixel, pixels were missing.

Pillow hands a decoder 64 KiB at a time, and libjpeg cannot pause in arithmetic coding: it would call sound files
damaged. So every decoder gets the whole file at once.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any, TypeVar

from PIL.JpegImagePlugin import JpegImageFile

from service.errors import Undecodable
from service.imaging.formats import jpeg_pixels
from service.imaging.formats.exif import exif_orientation
from service.imaging.formats.file_format import HEADER_STEPS, FileFormat, Malformed, StrippedFile
from service.imaging.formats.opened import IntoArray
from service.imaging.picture import Pixels, strips

MAX_SCANS = 100
"""Each scan is a pass over the whole image. Encoders write about ten."""

MAX_MARKERS = 1000
"""Up to the first scan, and again from there on. Each costs time and becomes a Python object, here and in Pillow, and
may be two bytes long. A profile has at most 255, and metadata in pieces of 64 KiB a few hundred."""

_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_APP0, _APP1_EXIF, _APP2_ICC, _APP14_ADOBE = 0xE0, 0xE1, 0xE2, 0xEE

_File = TypeVar("_File", bound=JpegImageFile)

_END = b"\xff\xd9"
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
"""The marker without its resolution and its thumbnail."""

_FILLERS = (b"", b"\x55\x9a\x31" * 32, b"\xb6\x6c\x0f" * 32)
"""Bits behind the end of a file: none (libjpeg takes zeros), and two patterns that begin differently."""

_MARKER = re.compile(rb"\xff([^\xff])", re.DOTALL)
"""Before it, any number of fill bytes."""
_MARKER_IN_SCANS = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


def _matches(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8\xff")


def _strip(data: bytes) -> StrippedFile:
    kept = [data[:2]]
    size: tuple[int, int] | None = None
    components = b""
    orientation: int | None = None
    for marker, start, end in _segments(data):
        if marker == _START_OF_SCAN:
            if size is None:
                break
            image_end, scans = _image_end(data, start)
            kept.append(data[start:image_end])
            if data[image_end - 2 : image_end] == _END:
                return StrippedFile(b"".join(kept), size, orientation or 1)
            if not _has_every_scan(data, scans, components):
                raise Malformed
            kept[-1] = kept[-1].rstrip(b"\xff")
            return StrippedFile(b"".join(kept), size, orientation or 1, _open_without_end)
        body = data[start + 4 : end]
        if marker in _FRAME_HEADERS:
            if size is not None:
                raise Malformed  # one image has one frame header
            height, width = struct.unpack_from(">HH", body, 1)
            size = width, height
            components = body[6::3]
        if marker == _APP1_EXIF and orientation is None and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body)
        if marker == _APP0 and body.startswith(b"JFIF\0"):
            kept.append(_JFIF)
        is_profile = marker == _APP2_ICC and body.startswith(b"ICC_PROFILE\0")
        if marker < _APP0 or marker == _APP14_ADOBE or is_profile:
            kept.append(data[start:end])
    raise Malformed


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the first scan.

    A scan may end early; every other segment lies within the file.
    """
    at = 2
    for _ in range(MAX_MARKERS):
        found = _MARKER.search(data, at)  # like decoders, skip junk between segments
        if found is None or found[1][0] == _END_OF_IMAGE:
            return
        start, at, marker = found.start(), found.end(), found[1][0]
        if marker not in _WITHOUT_LENGTH:
            (length,) = struct.unpack_from(">H", data, at)
            at += length
            if marker != _START_OF_SCAN and (length < 2 or at > len(data)):
                raise Malformed
            yield marker, start, at
    raise _too_many_markers()


def _too_many_markers() -> Undecodable:
    return Undecodable(f"The JPEG has more than {MAX_MARKERS} segments. Save it again with another program.")


def _image_end(data: bytes, at: int) -> tuple[int, list[int]]:
    """Where the image whose first scan stands at ``at`` ends, and where its scans begin.

    Without an end marker it ends with the last scan.
    """
    scans: list[int] = []
    behind = len(data)  # the last scan
    for _ in range(MAX_MARKERS):
        found = _MARKER_IN_SCANS.search(data, at)
        if found is None:
            return behind, scans  # the file ends early
        at, marker = found.end(), found[1][0]
        if marker == _END_OF_IMAGE:
            return at, scans
        if marker == _START_OF_SCAN:
            scans.append(found.start())
            behind = len(data)
        else:
            behind = min(behind, found.start())
        if len(scans) > MAX_SCANS:
            raise Undecodable(f"The JPEG has more than {MAX_SCANS} scans. Save it again with fewer scans.")
        at += int.from_bytes(data[at : at + 2], "big")
    raise _too_many_markers()


def _has_every_scan(data: bytes, scans: list[int], components: bytes) -> bool:
    """Whether the scans bring every component in full: a progressive file that was cut short may lack its last ones.

    Args:
        components: the names of the components.
    """
    missing_bits = {(name, k): 16 for name in components for k in range(64)}
    for at in scans:
        after_names = at + 5 + 2 * data[at + 4]
        first, last, precision = struct.unpack_from("3B", data, after_names)
        for name in data[at + 5 : after_names : 2]:
            for k in range(first, min(last, 63) + 1):
                missing_bits[name, k] = precision & 15
    return not any(missing_bits.values())


class _Jpeg(IntoArray, JpegImageFile):
    """A file of any colours; RGB are decoded into an array, and not by Pillow where that is certain to be the same."""

    def __init__(self, file: BytesIO) -> None:
        self._data = file.getvalue()  # the same bytes, no copy
        super().__init__(file)
        self.decodermaxblock = len(self._data)

    def decode_rgb(self) -> Pixels:
        """See ``IntoArray``."""
        rgb = jpeg_pixels.decode(self._data, self.size)
        return super().decode_rgb() if rgb is None else rgb


class _WithoutEnd(IntoArray, JpegImageFile):
    """A file that has no end marker."""

    data: bytes

    def load(self) -> Any:
        """Decode the pixels.

        Raises:
            Malformed: pixels are missing.
        """
        if self.tile:
            endings = _endings(self.data)
            if len({_digest(_open_whole(JpegImageFile, self.data + ending)) for ending in endings}) > 1:
                raise Malformed
        return super().load()


def _open_without_end(file: BytesIO) -> _WithoutEnd:
    data = file.getvalue()
    image = _open_whole(_WithoutEnd, data + _END)
    image.data = data
    return image


def _open_whole(kind: type[_File], data: bytes) -> _File:
    """Open a file so that its decoder gets it at once."""
    image = kind(BytesIO(data))
    image.decodermaxblock = len(data)
    return image


def _endings(data: bytes) -> Iterator[bytes]:
    """What a file is decoded with behind its end. All of them begin and end the same intervals of a scan.

    libjpeg skips what stands between the end of an interval and the restart marker of the next one. If the file ends
    there, a filler counts behind that marker only.
    """
    scan = data.rindex(b"\xff\xda")
    last, number = max((data.rfind(bytes([0xFF, 0xD0 + number]), scan), number) for number in range(8))
    restart = bytes([0xFF, 0xD0 + (number + 1) % 8 if last >= 0 else 0xD0])
    for filler in _FILLERS:
        yield filler + (restart + filler if filler else b"") + _END


def _digest(image: JpegImageFile) -> bytes:
    """A hash of the pixels. It runs in strips, so that no second copy of them exists."""
    digest = hashlib.blake2b()
    width, height = image.size
    for rows in strips(height, width):
        digest.update(image.crop((0, rows.start, width, rows.stop)).tobytes())
    return digest.digest()


def _header_size(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(HEADER_STEPS):
        prefix, marker, length = struct.unpack_from(">BBH", data, at)
        if (
            prefix != 0xFF
            or marker == 0xFF
            or marker in _WITHOUT_LENGTH
            or marker in (_START_OF_SCAN, _END_OF_IMAGE)
        ):
            break
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length
    raise Malformed


JPEG = FileFormat("JPEG", _matches, _strip, _Jpeg, header_size=_header_size)
