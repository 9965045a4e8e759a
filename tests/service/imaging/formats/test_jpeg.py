"""JPEG files: what is kept, where the image ends, and how many scans it may have."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.formats.jpeg import JPEG
from tests.support import photos


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def test_the_size_is_that_of_the_frame_header() -> None:
    for settings in ({}, {"progressive": True}):
        data = photos.save(photos.photograph(70, 50), "JPEG", **settings)
        assert JPEG.strip_metadata(data).size == (70, 50)


def test_a_file_with_two_frame_headers_is_undecodable() -> None:
    """The size of the one would be checked, and memory be taken for the other."""
    data = photos.save(photos.photograph(), "JPEG")
    at = data.index(b"\xff\xc0")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    other = data[at : at + 5] + struct.pack(">HH", 1, 1) + data[at + 9 : end]
    for doubled in (data[:at] + other + data[at:], data[:end] + other + data[end:]):
        with pytest.raises(Undecodable, match="JPEG file is damaged"):
            JPEG.strip_metadata(doubled)


def test_tables_scans_and_profile_are_kept_and_metadata_is_not() -> None:
    data = photos.with_secrets("JPEG")
    with_profile = photos.save(photos.photograph(), "JPEG", icc_profile=photos.srgb_profile())
    assert photos.SECRET.encode() not in JPEG.strip_metadata(data).data
    assert photos.srgb_profile() in JPEG.strip_metadata(with_profile).data


def test_the_first_orientation_counts() -> None:
    plain = photos.save(photos.photograph(), "JPEG")
    blocks = [segment(0xE1, photos.exif(orientation).tobytes()) for orientation in (6, 3)]
    assert JPEG.strip_metadata(plain[:2] + b"".join(blocks) + plain[2:]).orientation == 6


def test_bytes_behind_the_image_are_dropped() -> None:
    data = photos.save(photos.photograph(), "JPEG")
    assert JPEG.strip_metadata(data + b"a film").data == JPEG.strip_metadata(data).data


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + segment(0xDA, b"scan without a frame header"),
        b"\xff\xd8" + segment(0xE0, b"segment cut short")[:-3],
        b"\xff\xd8\xff\xe0\0\1" + bytes(20),
    ],
    ids=["signature", "no scan", "no frame header", "cut short", "too short a length"],
)
def test_a_broken_header_is_undecodable(data: bytes) -> None:
    with pytest.raises(Undecodable, match="JPEG file is damaged"):
        JPEG.strip_metadata(data)


def settings(name: str) -> dict[str, object]:
    return {
        "baseline": {},
        "4:2:0": {"subsampling": "4:2:0"},
        "progressive": {"progressive": True},
        "optimised": {"optimize": True},
        "restart markers": {"restart_marker_blocks": 4},
        "grey": {},
        "CMYK": {},
    }[name]


def scene(name: str) -> Image.Image:
    image = Image.fromarray(photos.photograph(123, 77))
    return image.convert({"grey": "L", "CMYK": "CMYK"}.get(name, "RGB"))


KINDS = ["baseline", "4:2:0", "progressive", "optimised", "restart markers", "grey", "CMYK"]


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_a_jpeg_that_lacks_only_its_end_marker_is_the_same_picture(name: str, missing: int) -> None:
    data = photos.save(scene(name), "JPEG", **settings(name))
    expected = decode(data, max_pixels=1_000_000)
    assert np.array_equal(decode(data[:-missing], max_pixels=1_000_000).rgb, expected.rgb)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("name", KINDS)
def test_a_jpeg_cut_short_in_its_pixels_is_undecodable(name: str, kept: float) -> None:
    data = photos.save(scene(name), "JPEG", **settings(name))
    start = data.index(b"\xff\xda")
    with pytest.raises(Undecodable):
        decode(data[: start + int((len(data) - start) * kept)], max_pixels=1_000_000)


def test_a_progressive_jpeg_that_ends_between_two_scans_is_undecodable() -> None:
    data = photos.save(scene("progressive"), "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    tables = data.rindex(b"\xff\xc4", 0, scans[-1])  # they stand before the scan
    assert len(scans) > 5
    with pytest.raises(Undecodable, match="incomplete"):
        decode(data[:tables], max_pixels=1_000_000)


def test_only_the_presence_of_a_jfif_marker_is_kept_of_it() -> None:
    jfif = segment(0xE0, b"JFIF\0\1\2\0\0\x48\0\x48\2\2" + photos.SECRET.encode()[:12])
    plain = photos.save(photos.photograph(), "JPEG")
    stripped = JPEG.strip_metadata(plain[:2] + jfif + plain[20:]).data
    assert stripped == JPEG.strip_metadata(plain).data
    assert b"JFIF" in stripped


def test_the_first_picture_of_an_mpo_is_decoded() -> None:
    mpo = photos.mode("JPEG MPO")
    with Image.open(BytesIO(mpo)) as image:
        assert image.format == "MPO"
        expected = np.array(image.convert("RGB"))
    assert np.array_equal(decode(mpo, max_pixels=1_000_000).rgb, expected)


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    data = photos.mode("JPEG progressive")
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 1000 + data[-2:]
    with pytest.raises(Undecodable, match="scans"):
        JPEG.strip_metadata(bomb)
