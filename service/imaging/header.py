"""What the first bytes of an image file say, before the rest of it has arrived.

``service.http.body`` calls ``read_header`` in the event loop, so it must take microseconds, whatever the bytes are.
What it says is used to refuse early and to estimate how long the work will take. It lets nothing in: ``decode`` reads
the whole file and judges it again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from service.errors import UnsupportedType
from service.imaging.formats.file_format import Malformed
from service.imaging.formats.recognise import recognise

HEADER_BYTES = 256 * 1024
"""The size of nearly every picture stands in so many bytes, behind EXIF with its thumbnail and a colour profile."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a picture by its first bytes."""

    format: str
    """As messages to a client spell it."""
    size: tuple[int, int] | None
    """(width, height) as stored, not yet checked; None if these bytes do not say it."""


def read_header(data: bytes) -> Header | None:
    """The header of an image file.

    Args:
        data: its first bytes; more than ``HEADER_BYTES`` are not needed.

    Returns:
        What these bytes say; None if they do not even say the format.
    """
    try:
        file_format = recognise(data)
    except UnsupportedType:
        return None  # too few bytes yet, or no image: the decoder will say
    try:
        return Header(file_format.name, file_format.header_size(data))
    except (Malformed, struct.error, IndexError):
        return Header(file_format.name, None)
