"""Raw files of cameras: sensor data, which only a raw converter can turn into a picture.

``recognise`` refuses those that have a signature of their own, ``tiff_pages`` those that are TIFF files. Both use the
same words. A raw file must never be answered with the cut-out of the thumbnail in it.
"""

from __future__ import annotations

from service.errors import UnsupportedType

_SIGNATURES = (
    b"IIU\0",  # Panasonic RW2, Leica RWL
    b"IIRO",  # Olympus ORF
    b"IIRS",
    b"MMOR",
    b"FUJIFILMCCD-RAW",  # Fujifilm RAF
    b"II\x1a\0\0\0HEAPCCDR",  # Canon CRW
    b"\0MRM",  # Minolta MRW
    b"FOVb",  # Sigma X3F
)
_CR3 = b"ftypcrx "


def has_raw_signature(data: bytes) -> bool:
    """Whether a file is a raw file by its first bytes; those that are TIFF files are not known here."""
    return data.startswith(_SIGNATURES) or data[4:12] == _CR3


def raw_file() -> UnsupportedType:
    """The error for a raw file."""
    return UnsupportedType(
        "The file is a camera's raw file. Develop it with the camera's software or a raw converter, "
        "and send the picture as JPEG, PNG or TIFF."
    )
