"""Finds the format of an image file by its first bytes.

``service.imaging.decode`` calls it before a decoder exists. Pillow decodes pixels well, but some of its metadata code
runs before a caller can refuse a file, trusts the counts in it, or warns through the process-wide ``warnings`` state.
So Pillow gets pixels and colour profiles only, and a change must keep these rules:

- The format comes from the first bytes and an allow-list, never from a name or a content type.
- The size comes from the header, so that an image that is too large is refused before its decoder is built.
- EXIF is read here, for the orientation only. No other metadata reaches the decoder, so none can reach the answer.
- A small file that is expensive to decode is refused: a JPEG of thousands of scans, a TIFF of millions of strips.
- Memory is bounded by the upload: at most one copy of it is made.
"""

from __future__ import annotations

from service.errors import UnsupportedType
from service.imaging.formats import avif, bmp, gif, heic, jpeg, png, tiff, webp
from service.imaging.formats.file_format import FileFormat
from service.imaging.formats.raw import has_raw_signature, raw_file

FORMATS: tuple[FileFormat, ...] = (
    jpeg.JPEG,
    png.PNG,
    webp.WEBP,
    avif.AVIF,
    heic.HEIC,
    bmp.BMP,
    tiff.TIFF,
    gif.GIF,
)
"""The allow-list."""


def recognise(data: bytes) -> FileFormat:
    """The format of a file.

    Raises:
        UnsupportedType: the file is not an image by its first bytes, its format is not on the allow-list, or it is a
            camera's raw file.
    """
    if has_raw_signature(data):
        raise raw_file()
    for file_format in FORMATS:
        if file_format.matches(data):
            return file_format
    names = ", ".join(file_format.name for file_format in FORMATS)
    raise UnsupportedType(f"The file is not an image in a supported format. Send one of these: {names}.")
