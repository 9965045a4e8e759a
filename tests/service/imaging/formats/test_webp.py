"""WebP files: the size, of each kind of first chunk."""

from __future__ import annotations

import pytest
from PIL import Image

from service.errors import Undecodable
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
