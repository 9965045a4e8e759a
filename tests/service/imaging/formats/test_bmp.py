"""BMP files: which headers are known, and the size in each."""

from __future__ import annotations

import struct

import pytest

from service.errors import Undecodable
from service.imaging.formats.bmp import BMP
from tests.support import photos


def test_the_size_is_read_from_both_kinds_of_header() -> None:
    assert BMP.strip_metadata(photos.mode("BMP")).size == (96, 64)
    os2 = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 70, 50, 1, 24)
    assert BMP.matches(os2)
    assert BMP.strip_metadata(os2).size == (70, 50)


def test_a_negative_height_means_rows_from_top_to_bottom() -> None:
    data = photos.mode("BMP")
    assert BMP.strip_metadata(data[:22] + struct.pack("<i", -64) + data[26:]).size == (96, 64)


def test_two_letters_alone_make_no_bmp() -> None:
    assert not BMP.matches(b"BMW is a car maker, not a bitmap")
    assert not BMP.matches(b"BM")


def test_a_header_cut_short_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="BMP file is damaged"):
        BMP.strip_metadata(photos.mode("BMP")[:20])
