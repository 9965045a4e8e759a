"""Every arrangement of TIFF samples gives the same picture, exactly, and ImageMagick's."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.formats.tiff import TIFF
from service.imaging.picture import Picture
from tests.support import photos
from tests.support.tiff_files import DEFLATE, NONE, tiff_file

SCENE = photos.photograph(61, 45)
GREY = SCENE[..., 1:2]


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=100_000)


def scaled(pixels: photos.Pixels, bits: int) -> npt.NDArray[np.uint64]:
    return np.rint(pixels.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint64)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [NONE, DEFLATE])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 12, 16, 32])
def test_rgb_comes_through_exactly(bits: int, order: str, compression: int, planar: bool, tile: int) -> None:
    data = tiff_file(
        scaled(SCENE, bits),
        photometric=2,
        bits=bits,
        order=order,
        compression=compression,
        planar=planar,
        tile=tile,
    )
    assert np.abs(read(data).rgb.astype(int) - SCENE).max() <= (bits == 12)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bits", "sample_format", "predictor"), [(8, 1, 2), (16, 1, 2), (32, 1, 2), (16, 3, 3), (32, 3, 3)]
)
def test_predictors_are_undone(bits: int, sample_format: int, predictor: int, order: str, tile: int) -> None:
    samples = scaled(SCENE, bits) if sample_format == 1 else SCENE / 255
    data = tiff_file(
        samples,
        photometric=2,
        bits=bits,
        sample_format=sample_format,
        predictor=predictor,
        order=order,
        tile=tile,
        compression=DEFLATE,
    )
    assert np.abs(read(data).rgb.astype(int) - SCENE).max() <= (bits == 16)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 2), (4, 4)])
def test_subsampled_ycbcr_is_read(subsampling: tuple[int, int]) -> None:
    from PIL import Image

    flat = np.kron(photos.photograph(16, 12), np.ones((4, 4, 1), np.uint8))[:45, :61]
    ycbcr = np.asarray(Image.fromarray(flat).convert("YCbCr"))
    data = tiff_file(ycbcr, photometric=6, subsampling=subsampling, rows_per_strip=8)
    assert np.abs(read(data).rgb.astype(int) - flat).max() <= 3


def test_the_files_own_coefficients_and_reference_values_count() -> None:
    fields = {
        529: (5, [2126, 10_000, 7152, 10_000, 722, 10_000]),
        532: (5, [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1]),
    }
    # BT.709, narrow range: Y 63, Cb 102, Cr 240 is pure red.
    samples = np.full((8, 8, 3), (63, 102, 240), np.uint8)
    data = tiff_file(samples, photometric=6, fields=fields)
    assert np.abs(read(data).rgb[4, 4].astype(int) - (255, 0, 0)).max() <= 3


ALPHA = np.tile(np.linspace(0, 255, 61).astype(np.uint8), (45, 1))[..., np.newaxis]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colours", [SCENE, GREY], ids=["RGB", "grey"])
@pytest.mark.parametrize("extra", [(1,), (2,), (), (0,), (0, 2)])
def test_extra_samples_are_transparency_or_passed_over(
    extra: tuple[int, ...], colours: photos.Pixels, bits: int
) -> None:
    stored = colours if extra != (1,) else np.rint(colours * (ALPHA / 255)).astype(np.uint8)
    samples = np.dstack([stored, *([ALPHA[..., 0] // 2] if extra == (0, 2) else []), ALPHA])
    photometric = 2 if colours is SCENE else 1
    picture = read(tiff_file(scaled(samples, bits), photometric=photometric, bits=bits, extra=extra))
    if extra == (0,):
        assert picture.alpha is None
        assert np.array_equal(picture.rgb, np.broadcast_to(colours, SCENE.shape))
        return
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, ALPHA[..., 0])
    shown = colours * (ALPHA / 255) + np.array(picture.ground) * (1 - ALPHA / 255)
    assert np.abs(picture.rgb - shown).max() <= 1.6


def test_the_fast_order_of_bits_in_a_palette_is_read() -> None:
    indices = (np.arange(45 * 61).reshape(45, 61, 1) % 16).astype(np.uint8)
    palette = np.random.default_rng(0).integers(0, 256, (3, 16))
    data = tiff_file(
        indices, photometric=3, bits=4, fields={320: (3, [int(v) * 257 for v in palette.ravel()])}
    )
    assert np.array_equal(read(data).rgb, palette.T[indices[..., 0]])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"photometric": 2, "fields": {258: (3, [5, 6, 5])}}, "unusual"),
        ({"photometric": 5, "fields": {277: (3, [3])}}, "unusual"),
        ({"photometric": 2, "predictor": 7, "compression": DEFLATE}, "unusual"),
        ({"photometric": 2, "fields": {273: (4, [8])}}, "damaged"),
        ({"photometric": 3}, "damaged"),
        ({"photometric": 6, "fields": {530: (3, [3, 1])}}, "damaged"),
        ({"photometric": 6, "fields": {529: (5, [1, 1, 0, 1, 1, 1])}}, "damaged"),
        ({"photometric": 6, "fields": {532: (5, [9, 1] * 6)}}, "damaged"),
    ],
    ids=[
        "5-6-5",
        "three inks",
        "predictor",
        "too few strips",
        "no palette",
        "subsampling",
        "coefficients",
        "references",
    ],
)
def test_what_has_no_plain_meaning_is_refused_in_words(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(Undecodable, match=match):
        read(tiff_file(SCENE.astype(np.int64), **settings))


@pytest.mark.parametrize("compression", [NONE, DEFLATE])
@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_bytes_whose_lowest_bit_comes_first_are_turned(bits: int, compression: int) -> None:
    samples = scaled(GREY, bits)
    plain = tiff_file(samples, photometric=1, bits=bits, compression=compression, rows_per_strip=45)
    turned = tiff_file(
        samples, photometric=1, bits=bits, compression=compression, rows_per_strip=45, fields={266: (3, [2])}
    )
    end = int.from_bytes(turned[4:8], "little")
    reverse = np.packbits(
        np.unpackbits(np.frombuffer(turned[8:end], np.uint8)).reshape(-1, 8)[:, ::-1]
    ).tobytes()
    assert np.array_equal(read(turned[:8] + reverse + turned[end:]).rgb, read(plain).rgb)


def test_signed_samples_are_those_of_16_bits() -> None:
    samples = SCENE.astype(np.int32) * 257
    data = tiff_file(samples, photometric=2, bits=32, sample_format=2)
    assert np.array_equal(read(data).rgb, SCENE)


def test_other_inks_than_cmyk_are_refused() -> None:
    with pytest.raises(Undecodable, match="unusual"):
        read(tiff_file(np.zeros((8, 8, 4), np.uint8), photometric=5, fields={332: (3, [2])}))


def test_too_many_bytes_a_pixel_are_refused_before_they_are_decoded() -> None:
    samples = np.zeros((1200, 1200, 64), np.uint8)
    data = tiff_file(samples, photometric=2, compression=DEFLATE, rows_per_strip=1200, extra=(0,) * 61)
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable, match="too many bytes"):
            decode(data, max_pixels=2_000_000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_the_header_of_the_copy_shows_a_decoder_no_metadata() -> None:
    data = photos.with_secrets("TIFF")
    stripped = TIFF.strip_metadata(data)
    assert stripped.open is not None
    opened = stripped.open(BytesIO(stripped.data))
    assert opened.info == {}


@pytest.mark.parametrize("grey", [0.05, 0.3, 0.71, 0.948])
def test_a_grey_in_lab_of_16_bits_has_no_tint(grey: float) -> None:
    lab = np.empty((16, 16, 3), np.uint16)
    lab[..., 0] = round(grey * 65535)
    lab[..., 1:] = np.uint16(65536 - 1)  # a and b of -0.004
    data = tiff_file(lab, photometric=8, bits=16)
    rgb = decode(data, max_pixels=10**6).rgb.reshape(-1, 3)
    assert int(rgb.max()) - int(rgb.min()) <= 1
