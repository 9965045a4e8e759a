"""PNG files: which chunks are kept, and what is never decompressed."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.formats.png import PNG
from tests.support import photos


def test_the_size_and_the_orientation_come_from_the_header() -> None:
    data = photos.save(photos.photograph(70, 50), "PNG", exif=photos.exif(6).tobytes())
    stripped = PNG.strip_metadata(data)
    assert (stripped.size, stripped.orientation) == ((70, 50), 6)


def test_metadata_and_further_frames_are_dropped() -> None:
    stripped = PNG.strip_metadata(photos.with_secrets("PNG"))
    for chunk in (photos.SECRET.encode(), b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
        assert chunk not in stripped.data
    animated = PNG.strip_metadata(photos.mode("PNG animated"))
    for chunk in (b"acTL", b"fcTL", b"fdAT"):
        assert chunk not in animated.data


def test_a_profile_is_kept_if_it_decompresses() -> None:
    scene = photos.photograph(8, 8)
    sound = photos.save(scene, "PNG", icc_profile=photos.srgb_profile())
    broken = photos.png(8, 8, 8, 2, scene.tobytes(), photos.png_chunk(b"iCCP", b"w\0\0not zlib"))
    assert b"iCCP" in PNG.strip_metadata(sound).data
    assert b"iCCP" not in PNG.strip_metadata(broken).data


def test_a_file_without_a_header_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="PNG file is damaged"):
        PNG.strip_metadata(b"\x89PNG\r\n\x1a\n" + photos.png_chunk(b"IDAT", bytes(9)))


def test_compressed_text_is_never_inflated() -> None:
    bomb = photos.png_chunk(b"zTXt", b"w\0\0" + zlib.compress(bytes(50 << 20)))
    profile = photos.png_chunk(b"iCCP", b"w\0\0" + zlib.compress(bytes(50 << 20)))
    data = photos.png(8, 8, 8, 2, photos.photograph(8, 8).tobytes(), bomb + profile)
    tracemalloc.start()
    try:
        picture = decode(data, max_pixels=64)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert picture.icc is None
    assert np.array_equal(picture.rgb, photos.photograph(8, 8))


def test_a_png_with_more_data_than_pixels_is_not_inflated_to_the_end() -> None:
    small = photos.png(1, 1, 8, 2, b"\1\2\3")
    idat = photos.png_chunk(b"IDAT", zlib.compress(bytes(100 << 20)))
    data = small[:33] + idat + small[-12:]
    tracemalloc.start()
    try:
        assert decode(data, max_pixels=1).rgb.shape == (1, 1, 3)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
