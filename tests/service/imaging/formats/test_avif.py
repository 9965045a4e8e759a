"""AVIF files: how they are told from HEIC files, and how their EXIF is hidden from the decoder."""

from __future__ import annotations

import struct

import pytest

from service.imaging.formats.avif import AVIF
from tests.support import photos


def brands(major: bytes, *compatible: bytes) -> bytes:
    box = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return struct.pack(">I", len(box) + 4) + box + bytes(99)


@pytest.mark.parametrize(
    ("data", "matches"),
    [
        (brands(b"avif"), True),
        (brands(b"avis"), True),
        (brands(b"mif1", b"miaf", b"avif"), True),
        (brands(b"heic", b"mif1", b"heic"), False),
        (brands(b"mp42", b"isom"), False),
        (b"\0\0\0\x18ftyp", False),
    ],
)
def test_a_file_is_an_avif_by_any_of_its_brands(data: bytes, matches: bool) -> None:
    assert AVIF.matches(data) is matches


def test_the_version_of_the_brand_is_no_brand() -> None:
    assert not AVIF.matches(struct.pack(">I4s4s4s", 16, b"ftyp", b"mif1", b"avif"))


def test_the_exif_item_is_renamed_and_the_rest_stays() -> None:
    data = photos.save(photos.photograph(), "AVIF", exif=photos.exif(secret=True))
    stripped = AVIF.strip_metadata(data)
    assert (stripped.size, stripped.orientation) == (None, None), "the decoder knows both"
    assert data.count(b"Exif") > stripped.data.count(b"Exif")
    assert stripped.data.replace(b"skip", b"Exif") == data
