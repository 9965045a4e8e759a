"""PNG files: every pixel of every kind and size comes back, and so does the profile, whatever compresses them."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from service.imaging.picture import Pixels
from service.imaging.png_writer import write_png
from tests.support import photos
from tests.support.examples import examples


def read(file: bytes) -> Image.Image:
    image = Image.open(BytesIO(file))
    image.load()
    return image


def shapes(height: int, width: int) -> list[tuple[int, ...]]:
    return [(height, width), (height, width, 3), (height, width, 4)]


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (3,), (4,)])).flatmap(
        lambda drawn: arrays.arrays(np.uint8, (drawn[0], drawn[1], *drawn[2]))
    )
)
@settings(deadline=None, max_examples=examples(150))
def test_every_pixel_comes_back(pixels: Pixels) -> None:
    assert np.array_equal(np.asarray(read(write_png(pixels))), pixels)


@pytest.mark.parametrize("levels", [2, 5, 256])
@pytest.mark.parametrize(
    ("height", "width"), [(300, 400), (1, 70_000), (50_000, 1), (3, 44_000), (2, 500_000)]
)
def test_every_pixel_of_several_strips_comes_back(height: int, width: int, levels: int) -> None:
    for shape in shapes(height, width):
        pixels = np.random.default_rng(0).integers(0, levels, shape, np.uint8)
        assert np.array_equal(np.asarray(read(write_png(pixels))), pixels)


def test_photographs_and_views_of_them_come_back() -> None:
    scene = photos.photograph(500, 400)
    for pixels in (scene, scene[::-1, ::-1], scene[20:90, 30:77], scene[..., 1]):
        assert np.array_equal(np.asarray(read(write_png(pixels))), pixels)


def test_a_decoder_can_check_every_chunk_and_the_stream() -> None:
    file, found, at = write_png(photos.photograph(300, 200), photos.srgb_profile()), {}, 8
    while at < len(file):
        length, name = struct.unpack_from(">I4s", file, at)
        body = file[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", file, at + 8 + length)[0] == zlib.crc32(name + body)
        found[name] = found.get(name, b"") + body
        at += 12 + length
    assert list(found) == [b"IHDR", b"iCCP", b"IDAT", b"IEND"]
    assert len(zlib.decompress(found[b"IDAT"])) == 200 * (1 + 3 * 300)


def test_the_profile_comes_back_and_none_is_made_up() -> None:
    scene, profile = photos.photograph(30, 20), photos.srgb_profile()
    assert read(write_png(scene, profile)).info["icc_profile"] == profile
    assert read(write_png(scene)).info == {}


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_memory_beside_pixels_and_file_is_a_strip(channels: int) -> None:
    write_png(np.zeros((10, 10, 3), np.uint8))
    for height, width in ((3000, 4000), (1, 12_000_000)):
        pixels = np.zeros((height, width, channels) if channels > 1 else (height, width), np.uint8)
        tracemalloc.start()
        try:
            write_png(pixels)
            assert tracemalloc.get_traced_memory()[1] < 5 << 20
        finally:
            tracemalloc.stop()
