"""What the first bytes of a file say: they agree with the decoder, take no time, and never raise."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.imaging.decode import decode, upright_size
from service.imaging.formats.heif_boxes import write
from service.imaging.header import HEADER_BYTES, Header, read_header
from tests.support import heic_files, photos, tiff_files
from tests.support.photos import FORMATS, encoded

NAMES = {"WEBP": "WebP"}


@pytest.mark.parametrize("size", [(1, 1), (37, 16), (300, 200)])
@pytest.mark.parametrize("file_format", sorted(FORMATS.keys() - {"TIFF"}))
def test_the_header_of_each_format_says_the_size_that_the_decoder_finds(
    file_format: str, size: tuple[int, int]
) -> None:
    data = encoded(*size, file_format)
    picture = decode(data, max_pixels=10**6)
    assert picture.rgb.shape[1::-1] == size
    assert read_header(data) == Header(NAMES.get(file_format, file_format), size)


def test_a_tiff_says_its_size_if_its_directory_comes_first() -> None:
    entries = struct.pack("<HHII", 256, 4, 1, 300) + struct.pack("<HHII", 257, 4, 1, 200)
    first = b"II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    assert read_header(first) == Header("TIFF", (300, 200))
    behind = b"II*\0" + struct.pack("<I", 5_000_000) + bytes(1000)
    assert read_header(behind) == Header("TIFF", None)


def test_webp_with_and_without_an_extended_header_says_its_size() -> None:
    for settings in ({"lossless": True}, {"quality": 80, "lossless": False}):
        assert read_header(photos.save(photos.photograph(30, 20), "WEBP", **settings)) == Header(
            "WebP", (30, 20)
        )
    transparent = Image.new("RGBA", (30, 20), (1, 2, 3, 4))
    assert read_header(photos.save(transparent, "WEBP")) == Header("WebP", (30, 20))


def test_the_size_of_a_jpeg_stands_behind_its_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    buffer = BytesIO()
    Image.fromarray(photos.photograph(30, 20)).save(
        buffer, "JPEG", exif=exif.tobytes(), icc_profile=bytes(100_000)
    )
    data = buffer.getvalue()
    assert read_header(data[:HEADER_BYTES]) == Header("JPEG", (30, 20))
    assert read_header(data[:50_000]) == Header("JPEG", None)


def test_an_avif_says_its_size_before_its_pixels() -> None:
    data = encoded(300, 200, "AVIF")
    at = data.index(b"mdat") - 4
    assert read_header(data[:at]) == Header("AVIF", (300, 200))
    assert read_header(data[: at // 2]) == Header("AVIF", None)


def test_a_heic_of_tiles_says_the_size_of_the_whole() -> None:
    assert read_header(heic_files.grid()) == Header("HEIC", (96, 64))


def _gif(*extensions: bytes) -> bytes:
    """The canvas claims one pixel; the first frame has 300 x 200."""
    data = photos.save(photos.photograph(300, 200), "GIF")
    frame = data.index(b",\0\0\0\0")
    return b"GIF89a\x01\x00\x01\x00" + data[10:frame] + b"".join(extensions) + data[frame:]


def _avif_sequence() -> bytes:
    """The decoder shows the track; the item beside it claims one pixel."""
    frames = [Image.fromarray(photos.photograph(96, 64, seed)) for seed in (1, 2)]
    data = photos.save(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    extent = data.index(b"ispe") + 8
    return data[:extent] + struct.pack(">II", 1, 1) + data[extent + 8 :]


def _tiff(first_kind: dict[int, tiff_files.Field]) -> bytes:
    thumbnail, page = (np.full((height, 16, 3), 9, np.uint8) for height in (1, 12))
    first = tiff_files.tiff_file(thumbnail, photometric=2, fields=first_kind)
    return tiff_files.chained(first, tiff_files.tiff_file(page, photometric=2))


def _heic_with_a_larger_picture() -> bytes:
    larger = heic_files.picture("grey", heic_files.size_property(9000, 9000), without=b"ispe")
    return write([heic_files.picture(), larger])


def _heic_with_a_part_of_the_picture() -> bytes:
    part = struct.pack(">8I", 32, 1, 16, 1, 0, 1, 0, 1)
    return write([heic_files.picture("scene", (b"clap", part))])


CLAIMS: dict[str, Callable[[], bytes]] = {
    "GIF, small canvas": _gif,
    "GIF, small canvas, a comment": lambda: _gif(b"!\xfe\x03abc\x00"),
    "GIF, small canvas, long comments": lambda: _gif(b"!\xfe" + (b"\xff" + bytes(255)) * 200 + b"\x00"),
    "TIFF, thumbnail first": lambda: _tiff({254: (4, [1])}),
    "TIFF, old thumbnail first": lambda: _tiff({255: (3, [2])}),
    "TIFF, mask first": lambda: _tiff({254: (4, [4])}),
    "HEIC, larger picture": _heic_with_a_larger_picture,
    "HEIC, part": _heic_with_a_part_of_the_picture,
    "HEIC, sequence": heic_files.sequence,
    "AVIF, sequence": _avif_sequence,
    "APNG": lambda: photos.mode("PNG animated"),
    "WebP, animated": lambda: photos.mode("WEBP animated"),
    "BMP, top row first": lambda: photos.mode("BMP"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_header_says_the_size_that_is_decoded_or_nothing(name: str) -> None:
    """Whoever is let in by a false size takes time that nobody expects; whoever is refused by one could be served."""
    data = CLAIMS[name]()
    header = read_header(data[:HEADER_BYTES])
    assert header is not None
    size = decode(data, max_pixels=10**6).size
    assert header.size in {None, size}
    assert upright_size(data) == size


@given(st.sampled_from(sorted(FORMATS)), st.integers(0, 400))
def test_a_part_of_a_header_says_the_same_or_less(file_format: str, length: int) -> None:
    data = encoded(40, 30, file_format)
    whole, part = read_header(data), read_header(data[:length])
    assert (
        part is None
        or part == whole
        or (part.size is None and whole is not None and part.format == whole.format)
    )


@given(st.sampled_from(sorted(FORMATS)), st.integers(0, 100), st.binary(max_size=300))
def test_broken_files_are_only_unknown(file_format: str, at: int, junk: bytes) -> None:
    data = encoded(40, 30, file_format)
    header = read_header(data[:at] + junk + data[at:])
    assert header is None or header.format


def test_nothing_is_said_of_what_is_no_image() -> None:
    assert read_header(b"") is None
    assert read_header(b"%PDF-1.7") is None


HOSTILE = {
    "JPEG of empty segments": b"\xff\xd8\xff\xe0\x00\x02" + b"\xff\xe0\x00\x02" * (HEADER_BYTES // 4),
    "JPEG of fill bytes": b"\xff\xd8" + b"\xff" * HEADER_BYTES,
    "GIF of extensions": b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"!\xff\x01a\x00" * (HEADER_BYTES // 5),
    "TIFF of tags": b"II*\0\x08\0\0\0\xff\x4f" + bytes(12) * (HEADER_BYTES // 12),
    "AVIF of sizes": b"\0\0\0\x10ftypavif\0\0\0\0"
    + struct.pack(">I", HEADER_BYTES - 100)
    + b"meta"
    + (b"\x00\x00\x00\x14ispe" + bytes(4) + struct.pack(">II", 5, 5)) * (HEADER_BYTES // 20),
    "PNG of chunks": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0tEXt\0\0\0\0" * (HEADER_BYTES // 12),
    "WebP of nothing": b"RIFF\0\0\0\0WEBPVP8X" + bytes(HEADER_BYTES),
    "BMP": b"BM" + bytes(12) + b"\x28" + bytes(HEADER_BYTES),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_is_read_in_few_steps_whatever_the_bytes_are(name: str) -> None:
    """It takes up to 0.1 ms; the bound is wide, and only the fastest of many tries counts: the machine may be busy."""
    data = HOSTILE[name][:HEADER_BYTES]
    assert read_header(data) is not None
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        read_header(data)
        seconds.append(time.perf_counter() - start)
    assert float(np.min(seconds)) < 0.005
