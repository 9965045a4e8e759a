"""AVIF: an ISO base media file (ISO/IEC 14496-12) whose brands include ``avif`` or ``avis``.

``recognise`` lists it. Only libavif can tell the size for certain; the header says it in all but contrived files. The
orientation is a property of the image item, which Pillow reports as EXIF.
"""

from __future__ import annotations

import re

from PIL.AvifImagePlugin import AvifImageFile

from service.imaging.formats.file_format import FileFormat, StrippedFile
from service.imaging.formats.heif_boxes import brands
from service.imaging.formats.iso_media import declared_encoding, primary_extent
from service.imaging.formats.opened import in_srgb

_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)


def _matches(data: bytes) -> bool:
    # HEIC files are built alike and share the brand "mif1", so look for "avif" anywhere in the list of brands.
    return not {b"avif", b"avis"}.isdisjoint(brands(data))


def _strip(data: bytes) -> StrippedFile:
    # Rename the Exif item, so that the decoder does not know it and does not read it.
    stripped = _EXIF_ITEM.sub(rb"\1skip", data)
    return StrippedFile(
        stripped, None, orientation=None, open=in_srgb(AvifImageFile, declared_encoding(data))
    )


# libavif decodes the frame that the AV1 stream holds, up to 16384 x 16384, and then scales it to the size that the file
# claims. Pillow cannot lower that limit, so a file with a false size can cost 1 GiB: one such file at a time.
AVIF = FileFormat("AVIF", _matches, _strip, AvifImageFile, primary_extent, decodes_alone=True)
