"""The types that all modules of formats share.

Each module makes one ``FileFormat``; ``recognise`` lists them, and ``service.imaging.decode`` uses them. Nothing here
may depend on a single format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from service.errors import Undecodable
from service.imaging.formats.opened import Opened

HEADER_STEPS = 64
"""Segments, tags or boxes that are looked at for the size: reading a header stays a matter of microseconds."""


class Malformed(Exception):
    """The structure of a file is broken, or it is built to be expensive."""


def no_size(_: bytes) -> tuple[int, int]:
    """For a format whose first bytes do not say the size."""
    raise Malformed


@dataclass(frozen=True, slots=True)
class StrippedFile:
    """An image file without its metadata, ready for a decoder."""

    data: bytes
    size: tuple[int, int] | None
    """(width, height) as stored, from the header. None where only the decoder can tell (AVIF)."""
    orientation: int | None = 1
    """EXIF orientation, 1-8. None where it must be read from the decoder's ``info["exif"]``."""
    open: Callable[[BytesIO], Opened] | None = None
    """Opens this file instead of ``FileFormat.open``, if the decoder alone would get it wrong."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """One image format."""

    name: str
    """As messages to a client spell it."""
    matches: Callable[[bytes], bool]
    """Whether a file is of this format by its first bytes."""
    strip: Callable[[bytes], StrippedFile]
    """Raises ``Malformed``, ``struct.error`` or ``IndexError`` for a broken file; callers use ``strip_metadata``."""
    open: Callable[[BytesIO], Opened]
    """Pillow's decoder, or one that corrects it."""
    header_size: Callable[[bytes], tuple[int, int]] = no_size
    """(width, height) as stored, from the first bytes of a file, in at most ``HEADER_STEPS`` steps. Raises
    ``Malformed``, ``struct.error`` or ``IndexError`` if they do not say it, or if the decoder might find another:
    by a false size a picture is refused or let in wrongly, while no size does no harm."""
    decodes_alone: bool = False
    """Whether no other such file may be decoded at the same time, because the header does not bound its memory."""

    def strip_metadata(self, data: bytes) -> StrippedFile:
        """Read the size and the orientation of a file, and copy it without its metadata.

        Raises:
            Undecodable: the structure is broken, ends early, or is built to be expensive.
        """
        try:
            return self.strip(data)
        except (Malformed, struct.error, IndexError) as error:
            raise Undecodable(
                f"The {self.name} file is damaged or incomplete. Send the whole file again."
            ) from error
