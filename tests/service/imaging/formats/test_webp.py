"""WebP files: the size, of each kind of first chunk."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.formats.webp import WEBP
from tests.support import photos


@pytest.mark.parametrize(
    ("first_chunk", "settings"),
    [
        (b"VP8 ", {"lossless": False, "quality": 80}),
        (b"VP8L", {"lossless": True}),
        (b"VP8X", {"icc_profile": photos.srgb_profile()}),
    ],
)
def test_the_size_is_read_from_every_kind_of_first_chunk(
    first_chunk: bytes, settings: dict[str, object]
) -> None:
    data = photos.save(Image.fromarray(photos.photograph(70, 50)), "WEBP", **settings)
    assert data[12:16] == first_chunk
    stripped = WEBP.strip_metadata(data)
    assert stripped.size == (70, 50)
    assert stripped.orientation == 1


@pytest.mark.parametrize(
    "data", [b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8X\0\0", b"RIFF\0\0\0\0WEBPALPH"]
)
def test_a_broken_header_is_undecodable(data: bytes) -> None:
    assert WEBP.matches(data)
    with pytest.raises(Undecodable, match="WebP file is damaged"):
        WEBP.strip_metadata(data)


@pytest.mark.parametrize("kept", [1.0, 0.98, 0.93])
def test_a_file_that_was_cut_in_its_metadata_decodes(kept: float) -> None:
    data = photos.save(photos.photograph(), "WEBP", exif=photos.exif(secret=True).tobytes(), xmp=bytes(3000))
    expected = decode(photos.save(photos.photograph(), "WEBP"), max_pixels=10_000).rgb
    assert np.array_equal(decode(data[: int(len(data) * kept)], max_pixels=10_000).rgb, expected)


def test_the_copy_has_no_metadata_and_says_its_length() -> None:
    data = photos.save(
        photos.photograph(), "WEBP", exif=photos.exif(6).tobytes(), icc_profile=photos.srgb_profile()
    )
    stripped = WEBP.strip_metadata(data + b"a film")
    assert stripped.orientation == 6
    assert b"EXIF" not in stripped.data
    assert photos.srgb_profile() in stripped.data
    assert int.from_bytes(stripped.data[4:8], "little") == len(stripped.data) - 8


@pytest.mark.parametrize("name", [b"ALPH", b"ABCD"], ids=["kept", "dropped"])
def test_a_million_empty_chunks_are_refused_at_little_cost(name: bytes) -> None:
    data = photos.save(photos.photograph(8, 8), "WEBP")
    many = data + (name + bytes(4)) * 300_000
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable, match="fewer frames"):
            WEBP.strip_metadata(many[:4] + (len(many) - 8).to_bytes(4, "little") + many[8:])
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
