"""PNG files: which chunks are kept, and what is never decompressed."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.formats.png import PNG
from tests.support import declared, photos
from tests.support.examples import examples


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


@pytest.mark.parametrize("missing", [1, 4, 5, 8, 11, 12, 13, 16])
def test_what_is_missing_behind_the_pixels_does_no_harm(missing: int) -> None:
    scene = photos.photograph(70, 50)
    assert np.array_equal(decode(photos.save(scene, "PNG")[:-missing], max_pixels=10_000).rgb, scene)


def test_a_chunk_cut_short_behind_the_pixels_does_no_harm() -> None:
    data = photos.save(photos.photograph(8, 8), "PNG")
    assert decode(data[:-12] + photos.png_chunk(b"tEXt", bytes(50))[:-9], max_pixels=64).rgb.shape == (
        8,
        8,
        3,
    )


def packed(values: np.ndarray, bits: int) -> bytes:  # type: ignore[type-arg]
    """Samples, H x W x channels, in the way of a PNG."""
    if bits == 16:
        return values.astype(">u2").tobytes()
    digits = values[..., np.newaxis] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@given(data=st.data())
@settings(max_examples=examples(20), deadline=None)
def test_a_grey_key_makes_exactly_its_value_clear(bits: int, data: st.DataObject) -> None:
    most = (1 << bits) - 1
    key = data.draw(st.integers(0, most))
    seed = data.draw(st.integers(0, 99))
    near = np.clip(key + np.array([-256, -1, 0, 1, 256]), 0, most)
    values = np.random.default_rng(seed).choice(near, (9, 13, 1))
    file = photos.png(13, 9, bits, 0, packed(values, bits), photos.png_chunk(b"tRNS", struct.pack(">H", key)))
    picture = decode(file, max_pixels=1000)
    clear = values[..., 0] == key
    alpha = np.full((9, 13), 255) if picture.alpha is None else picture.alpha
    assert np.array_equal(alpha == 0, clear)
    assert np.array_equal(alpha == 255, ~clear)


@pytest.mark.parametrize("bits", [8, 16])
@given(key=st.tuples(*[st.integers(0, 255)] * 3), seed=st.integers(0, 99))
@settings(max_examples=examples(20), deadline=None)
def test_an_rgb_key_makes_exactly_its_colour_clear(bits: int, key: tuple[int, ...], seed: int) -> None:
    whole = np.array(key) * (257 if bits == 16 else 1)
    values = np.tile(whole, (9, 13, 1))
    changed = np.random.default_rng(seed).random((9, 13)) < 0.5
    values[..., seed % 3][changed] ^= 1  # of 16 bits, only the low byte differs
    file = photos.png(
        13, 9, bits, 2, packed(values, bits), photos.png_chunk(b"tRNS", struct.pack(">3H", *whole))
    )
    picture = decode(file, max_pixels=1000)
    alpha = np.full((9, 13), 255) if picture.alpha is None else picture.alpha
    assert np.array_equal(alpha == 255, changed)


def test_bits_of_a_key_beyond_those_of_the_image_do_not_count() -> None:
    values = np.array([[[3], [11]]])
    file = photos.png(2, 1, 4, 0, packed(values, 4), photos.png_chunk(b"tRNS", b"\xff\xfb"))
    alpha = decode(file, max_pixels=10).alpha
    assert alpha is not None
    assert alpha.tolist() == [[255, 0]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_transparency_works_at_every_depth(bits: int) -> None:
    values = np.arange(2 * 8).reshape(2, 8, 1) % (1 << bits)
    chunks = photos.png_chunk(b"PLTE", bytes(range(3 << bits)) if bits < 7 else bytes(768))
    file = photos.png(8, 2, bits, 3, packed(values, bits), chunks + photos.png_chunk(b"tRNS", b"\xff\x33"))
    alpha = decode(file, max_pixels=100).alpha
    assert alpha is not None
    assert np.array_equal(alpha, np.where(values[..., 0] == 1, 51, 255))


def test_a_key_and_a_declared_encoding_go_together() -> None:
    gama = photos.png_chunk(b"gAMA", struct.pack(">I", 100_000))
    key = photos.png_chunk(b"tRNS", struct.pack(">3H", 0x8000, 0x4000, 0x2000))
    values = np.array([[[0x8000, 0x4000, 0x2000], [0x8000, 0x4000, 0x2001]]])
    picture = decode(photos.png(2, 1, 16, 2, packed(values, 16), gama + key), max_pixels=10)
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0, 255]]
    assert np.abs(picture.rgb[0, 1].astype(int) - (188, 137, 99)).max() <= 1


def test_a_grey_profile_is_applied_to_a_picture_with_a_key() -> None:
    profile = photos.png_chunk(b"iCCP", b"w\0\0" + zlib.compress(photos.grey_profile(gamma=1.0)))
    key = photos.png_chunk(b"tRNS", b"\0\7")
    picture = decode(photos.png(2, 1, 8, 0, bytes([7, 128]), profile + key), max_pixels=10)
    assert picture.icc is None
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0, 255]]
    assert abs(int(picture.rgb[0, 1, 0]) - 188) <= 2


def test_a_declaration_behind_the_profile_counts_as_well() -> None:
    profile = photos.png_chunk(b"iCCP", b"w\0\0" + zlib.compress(photos.grey_profile()))
    srgb = photos.png_chunk(b"cICP", bytes([1, 13, 0, 1]))
    data = photos.png(8, 8, 8, 2, photos.photograph(8, 8).tobytes(), profile + srgb)
    assert b"iCCP" not in PNG.strip_metadata(data).data


@pytest.mark.parametrize("between", [b"IDAT", b"tEXt"])
def test_many_empty_chunks_cost_little(between: bytes) -> None:
    small = photos.save(photos.photograph(8, 8), "PNG")
    many = (photos.png_chunk(b"IDAT", b"") + photos.png_chunk(between, b"")) * 50_000
    data = small[:33] + many + small[33:]
    tracemalloc.start()
    try:
        with contextlib.suppress(Undecodable):
            PNG.strip_metadata(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("count", "refused"), [(40_000, False), (60_000, True)])
def test_very_many_chunks_that_are_dropped_are_refused_because_of_the_time(count: int, refused: bool) -> None:
    small = photos.save(photos.photograph(8, 8), "PNG")
    data = small[:33] + photos.png_chunk(b"tEXt", b"") * count + small[33:]
    with pytest.raises(Undecodable, match="larger ones") if refused else contextlib.nullcontext():
        PNG.strip_metadata(data)


def test_a_file_without_a_header_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="PNG file is damaged"):
        PNG.strip_metadata(b"\x89PNG\r\n\x1a\n" + photos.png_chunk(b"IDAT", bytes(9)))


def test_a_file_with_two_headers_is_undecodable() -> None:
    """Pillow would take the size of the last one, after the first one was checked."""
    small, large = photos.png_claiming(1, 1), photos.save(photos.photograph(), "PNG")
    for first, second in ((small, large), (large, small)):
        with pytest.raises(Undecodable, match="PNG file is damaged"):
            decode(first[:33] + second[8:], max_pixels=10**6)


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


def test_a_profile_that_is_ignored_does_not_hide_what_gama_says() -> None:
    broken = bytes(36) + b"acsp" + bytes(200)
    iccp = photos.png_chunk(b"iCCP", b"x\0\0" + zlib.compress(broken))
    found = decode(declared.png_of(declared.scene(), iccp, declared.GAMMA_1), max_pixels=10**6)
    plain = decode(declared.png_of(declared.scene(), declared.GAMMA_1), max_pixels=10**6)
    assert (found.rgb == plain.rgb).all()
