"""The orientation in an EXIF block, sound or broken."""

from __future__ import annotations

import pytest

from service.imaging.formats.exif import exif_orientation
from tests.support import photos


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_read_with_and_without_the_prefix(orientation: int) -> None:
    block = photos.exif(orientation).tobytes()
    assert block.startswith(b"Exif\0\0")
    assert exif_orientation(block) == exif_orientation(block[6:]) == orientation


def test_a_block_without_an_orientation_means_upright() -> None:
    assert exif_orientation(photos.exif(secret=True).tobytes()) == 1


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_means_upright(value: int) -> None:
    assert exif_orientation(photos.exif(value).tobytes()) == 1


@pytest.mark.parametrize(
    "block",
    [b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"nonsense" * 9],
)
def test_a_broken_block_means_upright(block: bytes) -> None:
    assert exif_orientation(block) == exif_orientation(b"Exif\0\0" + block) == 1
