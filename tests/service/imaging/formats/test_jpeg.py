"""JPEG files: what is kept, where the image ends, and how many scans it may have."""

from __future__ import annotations

import re
import struct
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.formats import jpeg_pixels
from service.imaging.formats.file_format import Malformed
from service.imaging.formats.jpeg import JPEG
from tests.support import photos
from tests.support.damaged import CORPUS


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


@pytest.mark.parametrize("settings", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_cut_short_between_two_restart_intervals_is_undecodable(settings: dict[str, object]) -> None:
    """libjpeg skips everything up to the next restart marker, so bits before that one would change nothing."""
    data = photos.save(
        Image.fromarray(photos.photograph(123, 77)), "JPEG", restart_marker_blocks=4, **settings
    )
    restarts = [
        found.start()
        for found in re.finditer(rb"\xff[\xd0-\xd7]", data)
        if found.start() > data.rindex(b"\xff\xda")
    ]
    assert len(restarts) > 8
    for at in restarts:
        for kept in (at, at + 1, at + 2):
            with pytest.raises(Undecodable):
                decode(data[:kept], max_pixels=1_000_000)


@pytest.mark.parametrize(
    "many",
    [b"\xff\xee\0\2", b"\xff\xdb\0\2", b"\xff\xe0\0\7JFIF\0", b"\xff\x01", b"\xff\xd0"],
    ids=["Adobe", "tables", "JFIF", "without a length", "restart"],
)
def test_a_jpeg_of_very_many_segments_is_refused(many: bytes) -> None:
    """Each would take time and memory, in Pillow too, long before the picture does."""
    data = photos.save(photos.photograph(), "JPEG")
    with pytest.raises(Undecodable, match="more than 1000 segments"):
        JPEG.strip_metadata(data[:2] + many * 2000 + data[2:])


def test_a_jpeg_of_very_many_segments_between_its_scans_is_refused() -> None:
    data, comment = photos.mode("JPEG progressive"), segment(0xFE, b"")
    at = data.rindex(b"\xff\xda")
    expected = decode(data, max_pixels=1_000_000).rgb
    assert np.array_equal(decode(data[:at] + 900 * comment + data[at:], max_pixels=1_000_000).rgb, expected)
    with pytest.raises(Undecodable, match="more than 1000 segments"):
        JPEG.strip_metadata(data[:at] + 1001 * comment + data[at:])


def test_metadata_of_many_megabytes_is_no_reason_to_refuse_a_jpeg() -> None:
    data = photos.save(photos.photograph(), "JPEG", icc_profile=photos.srgb_profile())
    large = data[:2] + 400 * segment(0xE1, bytes(65_000)) + data[2:]
    assert JPEG.strip_metadata(large).data == JPEG.strip_metadata(data).data


def test_any_number_of_fill_bytes_may_stand_before_a_marker() -> None:
    data = photos.save(photos.photograph(), "JPEG")
    filled = data[:2] + bytes([0xFF]) * 100_000 + data[2:]
    assert np.array_equal(decode(filled, max_pixels=1_000_000).rgb, decode(data, max_pixels=1_000_000).rgb)


@pytest.mark.parametrize("missing", [0, 2])
@pytest.mark.parametrize("name", [name for name in CORPUS if "arithmetic" in name])
def test_arithmetic_coding_is_decoded_however_long_the_file_is(
    monkeypatch: pytest.MonkeyPatch, name: str, missing: int
) -> None:
    data = CORPUS[name]()
    expected = decode(data, max_pixels=1_000_000).rgb
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 64)  # what Pillow hands to a decoder at once
    monkeypatch.setattr(jpeg_pixels, "simplejpeg", None)
    assert np.array_equal(decode(data[: len(data) - missing], max_pixels=1_000_000).rgb, expected)


def test_a_fill_byte_is_no_marker_whose_segment_hides_another_size() -> None:
    data = photos.save(photos.photograph(30, 20), "JPEG")
    filled = bytearray(data[:2] + b"\xff" + segment(0xE5, bytes(60_000)) + data[2:])
    at = 4 + int.from_bytes(filled[4:6], "big")  # if the fill byte were a marker
    filled[at : at + 9] = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 9000, 7000)
    with pytest.raises(Malformed):
        JPEG.header_size(bytes(filled))
    assert decode(bytes(filled), max_pixels=1_000_000).size == (30, 20)


@pytest.mark.parametrize("behind", [b"\xff\xe5\0\4ab", b"\xff\xfe\0\4ab"], ids=["APP5", "a comment"])
def test_a_segment_behind_a_jpeg_that_was_cut_short_does_not_hide_that(behind: bytes) -> None:
    data = photos.save(Image.fromarray(photos.photograph(123, 77)), "JPEG", restart_marker_blocks=4)
    cut = data[: data.index(b"\xff\xd3")]
    with pytest.raises(Undecodable):
        decode(cut + behind, max_pixels=1_000_000)
    whole = decode(data, max_pixels=1_000_000).rgb
    assert np.array_equal(decode(data[:-2] + behind, max_pixels=1_000_000).rgb, whole)
    assert np.array_equal(decode(data[:-2] + b"\xff" * 1000, max_pixels=1_000_000).rgb, whole)


def test_millions_of_restart_markers_cost_little() -> None:
    data = (
        photos.save(photos.photograph(8, 8), "JPEG")[:-2]
        + bytes(byte for number in range(8) for byte in (0xFF, 0xD0 + number)) * 200_000
    )
    image = JPEG.strip_metadata(data).open
    assert image is not None
    tracemalloc.start()
    try:
        image(BytesIO(data)).load()
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()


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
