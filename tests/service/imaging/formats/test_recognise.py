"""Which files are accepted: their first bytes decide, not their names."""

from __future__ import annotations

import struct

import pytest
from PIL import Image

from service.errors import UnsupportedType
from service.imaging.formats.recognise import FORMATS, recognise
from tests.support import photos


@pytest.mark.parametrize("name", photos.MODES)
def test_every_format_on_the_list_is_recognised(name: str) -> None:
    assert recognise(photos.mode(name)).name.upper() == name.split(maxsplit=1)[0].strip(",")


@pytest.mark.parametrize("name", photos.FORMATS)
def test_a_file_matches_one_format_only(name: str) -> None:
    assert sum(file_format.matches(photos.mode(name)) for file_format in FORMATS) == 1


def test_a_file_that_is_no_image_is_of_an_unsupported_type() -> None:
    film = struct.pack(">I4s4s4s4s4s", 24, b"ftyp", b"mp42", bytes(4), b"isom", b"mp42")
    for data in (
        b"",
        b"\xff",
        b"hello",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BMW is a car maker, not a bitmap",
        b"GIF88a" + bytes(99),
        b"RIFF\0\0\0\0WAVEfmt ",
        b"II*",
        film + bytes(999),
        bytes(10_000),
    ):
        with pytest.raises(UnsupportedType, match="JPEG, PNG, WebP, AVIF, HEIC, BMP, TIFF, GIF"):
            recognise(data)


@pytest.mark.parametrize("name", ["PPM", "ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000"])
def test_other_formats_that_pillow_reads_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedType):
        recognise(photos.save(Image.fromarray(photos.photograph(32, 32)), name))
