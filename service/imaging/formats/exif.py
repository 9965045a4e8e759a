"""The orientation in an EXIF block.

The modules of formats that carry EXIF call it. It must read nothing else, and a broken block must count as upright.
"""

from __future__ import annotations

import struct

from service.imaging.formats.file_format import Malformed
from service.imaging.formats.tiff_directory import Directory

ORIENTATION_TAG = 274


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1-8, of an EXIF block with or without its ``Exif`` prefix; 1 if it has none or is broken."""
    try:
        directory = Directory(exif.removeprefix(b"Exif\0\0"))
        for entry in directory:
            if entry.tag == ORIENTATION_TAG:
                return valid_orientation(directory.number(entry))
    except (Malformed, struct.error):
        pass  # many cameras and editors write broken EXIF, and the pixels are what matters
    return 1


def valid_orientation(value: int) -> int:
    """``value`` if it is an orientation, 1-8, else 1."""
    return value if 1 <= value <= 8 else 1
