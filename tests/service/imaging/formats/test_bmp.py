"""BMP files: which headers are known, and the size in each."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.formats.bmp import BMP
from tests.support import declared, photos


def test_the_size_is_read_from_both_kinds_of_header() -> None:
    assert BMP.strip_metadata(photos.mode("BMP")).size == (96, 64)
    os2 = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 70, 50, 1, 24)
    assert BMP.matches(os2)
    assert BMP.strip_metadata(os2).size == (70, 50)


def test_a_negative_height_means_rows_from_top_to_bottom() -> None:
    data = photos.mode("BMP")
    assert BMP.strip_metadata(data[:22] + struct.pack("<i", -64) + data[26:]).size == (96, 64)


def with_alpha(alpha: photos.Pixels) -> bytes:
    return declared.bmp_v5(np.dstack([photos.photograph(40, 30), alpha]))


def test_an_alpha_channel_counts_unless_everything_is_clear() -> None:
    soft = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1))
    alpha = decode(with_alpha(soft), max_pixels=10_000).alpha
    assert alpha is not None
    assert np.array_equal(alpha, soft)
    empty = decode(with_alpha(np.zeros((30, 40), np.uint8)), max_pixels=10_000)
    assert empty.alpha is None
    assert np.array_equal(empty.rgb, photos.photograph(40, 30))


def test_a_profile_outside_the_file_is_ignored() -> None:
    data = declared.bmp_v5(
        np.dstack([photos.photograph(8, 8), np.full((8, 8), 255, np.uint8)]), icc=declared.P3
    )
    assert decode(data, max_pixels=100).icc == declared.P3
    assert decode(data[:-1], max_pixels=100).icc is None


def test_two_letters_alone_make_no_bmp() -> None:
    assert not BMP.matches(b"BMW is a car maker, not a bitmap")
    assert not BMP.matches(b"BM")


def test_a_header_cut_short_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="BMP file is damaged"):
        BMP.strip_metadata(photos.mode("BMP")[:20])
