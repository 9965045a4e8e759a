"""TIFF files: which tags are kept, and what makes a file too expensive."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from PIL import Image

from service.errors import BadDimensions, Undecodable
from service.imaging.decode import decode
from service.imaging.formats.tiff import MAX_TILE_SIDE, TIFF
from tests.support import photos


@pytest.mark.parametrize("name", ["TIFF", "TIFF big", "TIFF many pages", "TIFF JPEG"])
def test_the_size_is_that_of_the_first_directory(name: str) -> None:
    assert TIFF.strip_metadata(photos.mode(name)).size == (96, 64)


def test_the_orientation_is_read_and_its_tag_is_dropped() -> None:
    data = photos.save(photos.photograph(), "TIFF", compression="jpeg", exif=photos.exif(6))
    stripped = TIFF.strip_metadata(data)
    assert stripped.orientation == 6
    assert TIFF.strip_metadata(stripped.data).orientation == 1
    assert TIFF.strip_metadata(photos.tiff({274: (3, [6])})).orientation == 6
    assert TIFF.strip_metadata(photos.tiff({274: (3, [9])})).orientation == 1


def test_the_copy_has_one_directory() -> None:
    pages = [Image.fromarray(photos.photograph(seed=seed)) for seed in (0, 1)]
    data = photos.save(pages[0], "TIFF", compression="jpeg", save_all=True, append_images=pages[1:])
    cleaned = TIFF.strip_metadata(data).data
    (start,) = struct.unpack_from("<I", cleaned, 4)
    (count,) = struct.unpack_from("<H", cleaned, start)
    assert struct.unpack_from("<I", data, start + 2 + 12 * count) != (0,)
    assert struct.unpack_from("<I", cleaned, start + 2 + 12 * count) == (0,)
    assert len(cleaned) == len(data)


@pytest.mark.parametrize(("side", "taken"), [(MAX_TILE_SIDE, True), (MAX_TILE_SIDE + 16, False)])
def test_a_tile_is_no_larger_than_the_image_needs(side: int, taken: bool) -> None:
    data = photos.tiff({322: (4, [side]), 323: (4, [side]), 324: (4, [8]), 325: (4, [64]), 273: (4, [])})
    if taken:
        assert TIFF.strip_metadata(data).size == (8, 8)
        return
    with pytest.raises(Undecodable):
        TIFF.strip_metadata(data)


def test_an_offset_of_64_bits_outside_the_file_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="TIFF file is damaged"):
        TIFF.strip_metadata(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 1 << 63) + bytes(64))


def test_a_tiff_by_hand_decodes() -> None:
    picture = decode(photos.tiff({}), max_pixels=64)
    assert picture.rgb[..., 0].ravel().tolist() == list(range(64))


def test_a_tiff_of_a_million_strips_is_refused_before_they_become_objects() -> None:
    strips = 1_000_000
    data = photos.tiff({273: (4, [8] * strips), 279: (4, [1] * strips)})
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable):
            TIFF.strip_metadata(data)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "entries",
    [
        {322: (4, [1 << 20]), 323: (4, [1 << 11]), 324: (4, [8]), 325: (4, [64]), 273: (4, [])},
        {273: (4, [1 << 31])},
        {279: (4, [1 << 31]), 259: (3, [5])},
        {256: (3, [8, 8])},
        {277: (3, [60_000])},
        {259: (3, [9999])},
        {273: (4, [])},
        {257: (4, [])},
    ],
    ids=[
        "giant tile",
        "strip outside",
        "length outside",
        "two widths",
        "samples",
        "codec",
        "no strips",
        "no length",
    ],
)
def test_a_tiff_with_contradictory_tags_is_refused(entries: dict[int, tuple[int, list[int]]]) -> None:
    with pytest.raises((Undecodable, BadDimensions)):
        decode(photos.tiff(entries), max_pixels=1_000_000)
