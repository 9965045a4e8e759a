"""Modes, transparency and ICC profiles, through whole files."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.encode import encode
from service.imaging.options import IMAGE_FORMATS, Format
from service.imaging.picture import Picture
from tests.support import photos
from tests.support.photos import error

MAX_PIXELS = 1_000_000
SCENE = photos.photograph()
GREY = np.asarray(Image.fromarray(SCENE).convert("L"))


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    "name",
    ["PNG grey", "PNG grey 16", "TIFF grey 16", "TIFF float", "TIFF 32-bit integers", "BMP grey", "GIF grey"],
)
def test_grey_of_any_depth_becomes_the_same_eight_bits(name: str) -> None:
    rgb = read(photos.mode(name)).rgb
    assert np.array_equal(rgb, np.repeat(GREY[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize("name", ["PNG 1-bit", "BMP 1-bit", "TIFF G4"])
def test_one_bit_is_black_and_white(name: str) -> None:
    rgb = read(photos.mode(name)).rgb
    assert set(np.unique(rgb)) == {0, 255}
    assert np.array_equal(rgb[..., 0], np.asarray(Image.fromarray(GREY).convert("1")) * np.uint8(255))


@pytest.mark.parametrize("name", ["PNG RGBA", "PNG RGBA 16", "TIFF RGBA", "WEBP RGBA"])
def test_a_transparent_input_is_shown_over_white_and_keeps_its_alpha(name: str) -> None:
    picture = read(photos.mode(name))
    alpha = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, alpha)
    weight = alpha[..., np.newaxis] / 255
    assert np.abs(picture.rgb - (SCENE * weight + 255 * (1 - weight))).max() <= 0.51


def test_a_colour_key_makes_just_that_colour_transparent() -> None:
    colour = read(photos.mode("PNG RGB, transparent key")).alpha
    grey = read(photos.mode("PNG grey, transparent key")).alpha
    assert colour is not None
    assert grey is not None
    assert np.array_equal(colour == 0, np.equal(SCENE, SCENE[0, 0]).all(axis=2))
    assert np.array_equal(grey == 0, np.equal(GREY, GREY[0, 0]))


def test_a_colour_key_in_16_bits_of_grey_is_exact() -> None:
    samples = np.array([[0x1200, 0x1234, 0x12FF, 0xFFFF]], ">u2")
    key = photos.png_chunk(b"tRNS", b"\x12\x34")
    alpha = read(photos.png(4, 1, 16, 0, samples.tobytes(), key)).alpha
    assert alpha is not None
    assert alpha.tolist() == [[255, 0, 255, 255]]


def test_an_alpha_channel_that_hides_nothing_is_dropped() -> None:
    opaque = Image.fromarray(SCENE)
    opaque.putalpha(255)
    assert read(photos.save(opaque, "PNG")).alpha is None


def test_the_lab_mode_is_converted() -> None:
    assert error(read(photos.mode("TIFF Lab")).rgb, SCENE) < 2


RGB_PROFILE_FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]


@pytest.mark.parametrize("name", RGB_PROFILE_FORMATS)
@pytest.mark.parametrize("answer", IMAGE_FORMATS)
def test_an_rgb_profile_survives_to_the_answer(name: str, answer: Format) -> None:
    picture = read(photos.save(SCENE, name, icc_profile=photos.srgb_profile()))
    assert picture.icc == photos.srgb_profile()
    assert error(picture.rgb, SCENE) < 3
    with Image.open(BytesIO(encode(picture.rgb, answer, picture.icc))) as image:
        assert image.info["icc_profile"] == photos.srgb_profile()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF"])
def test_grey_pixels_with_a_grey_profile_become_srgb(name: str) -> None:
    mid = np.full((8, 8), 128, np.uint8)
    picture = read(photos.save(mid, name, icc_profile=photos.grey_profile(gamma=1.0)))
    assert picture.icc is None
    assert abs(int(picture.rgb[4, 4, 0]) - 188) <= 2  # linear 0.5 is 188 in sRGB
    assert np.ptp(picture.rgb[4, 4].astype(int)) <= 1


def test_deep_grey_pixels_with_a_grey_profile_become_srgb() -> None:
    mid = np.full((8, 8), 128 * 257, np.uint16)
    picture = read(photos.save(mid, "PNG", icc_profile=photos.grey_profile(gamma=1.0)))
    assert abs(int(picture.rgb[4, 4, 0]) - 188) <= 2


def test_grey_with_alpha_and_a_profile_keeps_its_alpha() -> None:
    image = Image.fromarray(np.full((8, 8), 128, np.uint8))
    image.putalpha(Image.fromarray(np.arange(0, 128, 2, dtype=np.uint8).reshape(8, 8) + 128))
    picture = read(photos.save(image, "PNG", icc_profile=photos.grey_profile(gamma=1.0)))
    assert picture.alpha is not None
    assert picture.alpha[7, 7] == 254
    assert abs(int(picture.rgb[7, 7, 0]) - 188) <= 3


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_pixels_are_converted_by_their_own_profile(name: str) -> None:
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))  # one ink of four: the test profile says a light grey
    picture = read(photos.save(ink, name, icc_profile=photos.cmyk_profile()))
    assert picture.icc is None
    assert np.ptp(picture.rgb[8, 8].astype(int)) <= 3
    assert 170 <= picture.rgb[8, 8, 0] <= 200
    without = read(photos.save(ink, name))
    assert without.rgb[8, 8, 0] < 5 < 250 < without.rgb[8, 8, 2]  # plain cyan


@pytest.mark.parametrize(
    ("image", "profile"),
    [
        (Image.fromarray(SCENE), b"garbage" * 40),
        (Image.fromarray(SCENE), photos.srgb_profile()[:200]),
        (Image.fromarray(SCENE), b"\0" * 500),
        (Image.fromarray(SCENE), photos.grey_profile()),
        (Image.fromarray(SCENE), photos.cmyk_profile()),
        (Image.fromarray(SCENE).convert("CMYK"), photos.srgb_profile()),
        (Image.fromarray(SCENE).convert("CMYK"), photos.cmyk_profile()[:300]),
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_a_broken_or_foreign_profile_is_ignored(image: Image.Image, profile: bytes, name: str) -> None:
    picture = read(photos.save(image, name, icc_profile=profile))
    assert picture.icc is None
    assert error(picture.rgb, SCENE) < 3


def test_a_grey_picture_keeps_an_rgb_profile() -> None:
    assert read(photos.save(GREY, "JPEG", icc_profile=photos.srgb_profile())).icc == photos.srgb_profile()


def test_a_huge_profile_is_ignored() -> None:
    huge = photos.srgb_profile() + bytes(5 << 20)
    for name in ("JPEG", "PNG", "WEBP", "TIFF"):
        picture = read(photos.save(SCENE, name, icc_profile=huge if name != "JPEG" else huge[: 3 << 20]))
        assert error(picture.rgb, SCENE) < 3
        if name != "JPEG":
            assert picture.icc is None


def test_an_unusable_transform_falls_back_to_plain_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise ImageCms.PyCMSError("no transform")

    monkeypatch.setattr(ImageCms, "buildTransform", refuse)
    picture = read(photos.save(GREY, "PNG", icc_profile=photos.grey_profile()))
    assert np.array_equal(picture.rgb[..., 0], GREY)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_floating_point_values_outside_0_to_1_are_undecodable(value: float) -> None:
    data = photos.save(Image.fromarray(np.full((4, 4), value, np.float32)), "TIFF")
    with pytest.raises(Undecodable, match="outside 0-1"):
        read(data)


@pytest.mark.parametrize("value", [-1, 65_536])
def test_32_bit_values_that_16_bits_cannot_hold_are_undecodable(value: int) -> None:
    data = photos.save(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF")
    with pytest.raises(Undecodable, match="outside 0-65535"):
        read(data)
