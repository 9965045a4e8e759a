"""What must simply work: every allowed format and mode, orientation, colour profiles, and no metadata left."""

from __future__ import annotations

import sys
import warnings
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data as photographs

from service.imaging.codec import Picture, decode, encode
from service.imaging.options import Format
from tests.support import photos

MAX_PIXELS = 1_000_000
SCENE = photos.photograph()
GREY = np.asarray(Image.fromarray(SCENE).convert("L"))


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=MAX_PIXELS)


def error(pixels: photos.Pixels, expected: photos.Pixels) -> float:
    """Mean absolute difference in levels of 255."""
    assert pixels.shape == expected.shape
    return float(np.abs(pixels.astype(int) - expected.astype(int)).mean())


@pytest.mark.parametrize("name", photos.MODES)
def test_every_mode_of_every_format_decodes(name: str) -> None:
    picture = read(photos.mode(name))
    assert picture.rgb.shape == (64, 96, 3)
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.flags.c_contiguous
    assert (picture.width, picture.height) == (96, 64)
    if picture.alpha is None:
        assert not any(word in name for word in ("RGBA", "alpha", "key", "clear", "soft"))
    else:
        assert picture.alpha.shape == (64, 96)
        assert picture.alpha.dtype == np.uint8
        assert picture.alpha.flags.c_contiguous


OPAQUE_COLOUR = [
    name
    for name in photos.MODES
    if not any(w in name for w in ("grey", "1-bit", "G4", "float", "32-bit", "RGBA", "key", "clear", "soft"))
]


@pytest.mark.parametrize("name", OPAQUE_COLOUR)
def test_colours_come_through(name: str) -> None:
    coarse = "palette" in name or "GIF" in name
    assert error(read(photos.mode(name)).rgb, SCENE) < (7 if coarse else 3)


def test_of_an_mpo_the_first_picture_is_decoded() -> None:
    mpo = photos.mode("JPEG MPO")
    with Image.open(BytesIO(mpo)) as image:
        assert image.format == "MPO"
        expected = np.array(image.convert("RGB"))
    assert np.array_equal(read(mpo).rgb, expected)


@pytest.mark.parametrize(
    "name",
    [
        "PNG",
        "BMP",
        "TIFF",
        "WEBP",
        "PNG RGB 16",
        "PNG animated",
        "TIFF LZW",
        "TIFF big",
        "TIFF CMYK",
        "TIFF many pages",
    ],
)
def test_lossless_files_come_through_exactly(name: str) -> None:
    assert np.array_equal(read(photos.mode(name)).rgb, SCENE)


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_exif_orientation_is_turned_upright(name: str, orientation: int) -> None:
    stored = photos.orient(SCENE, orientation)
    picture = read(photos.save(stored, name, exif=photos.exif(orientation).tobytes()))
    assert error(picture.rgb, SCENE) < 3
    assert picture.rgb.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_is_turned_with_its_picture(orientation: int) -> None:
    rgba = np.dstack([SCENE, GREY])
    stored = photos.orient(rgba, orientation)
    picture = read(photos.save(stored, "PNG", exif=photos.exif(orientation).tobytes()))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, GREY)


@pytest.mark.parametrize("orientation", [5, 6])
def test_a_compressed_tiff_is_turned_once(orientation: int) -> None:
    stored = photos.orient(SCENE, orientation)
    data = photos.save(stored, "TIFF", compression="tiff_lzw", exif=photos.exif(orientation).tobytes())
    assert np.array_equal(read(data).rgb, SCENE)


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"nonsense" * 9],
)
def test_broken_exif_means_upright(block: bytes) -> None:
    for name in ("JPEG", "PNG", "WEBP"):
        data = photos.save(SCENE, name, exif=b"Exif\0\0" + block)
        assert error(read(data).rgb, SCENE) < 3


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_means_upright(value: int) -> None:
    assert error(read(photos.save(SCENE, "JPEG", exif=photos.exif(value).tobytes())).rgb, SCENE) < 3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 2), (2, 1), (3, 5), (1, 10_000), (10_000, 1)])
@pytest.mark.parametrize("name", photos.FORMATS)
def test_tiny_and_extreme_sizes_decode(name: str, width: int, height: int) -> None:
    scene = photos.photograph(width, height)
    assert read(photos.save(scene, name)).rgb.shape == (height, width, 3)


def test_pixels_are_right_across_the_strips_they_are_converted_in() -> None:
    scene = photos.photograph(1500, 600)  # several strips
    data = photos.save(photos.orient(scene, 7), "PNG", exif=photos.exif(7).tobytes())
    assert np.array_equal(read(data).rgb, scene)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "camera"])
def test_real_photographs_decode_as_pillow_shows_them(name: str) -> None:
    photograph = getattr(photographs, name)()
    data = photos.save(photograph, "JPEG", quality=90)
    with Image.open(BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(data).rgb, expected)


RGB_PROFILE_FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]


@pytest.mark.parametrize("name", RGB_PROFILE_FORMATS)
@pytest.mark.parametrize("answer", list(Format))
def test_an_rgb_profile_survives_to_the_answer(name: str, answer: Format) -> None:
    picture = read(photos.save(SCENE, name, icc_profile=photos.srgb_profile()))
    assert picture.icc == photos.srgb_profile()
    assert error(picture.rgb, SCENE) < 3
    with Image.open(BytesIO(encode(picture.rgb, answer, picture.icc))) as image:
        assert image.info["icc_profile"] == photos.srgb_profile()


def test_a_mask_carries_no_profile() -> None:
    for answer in Format:
        with Image.open(BytesIO(encode(GREY, answer, photos.srgb_profile()))) as image:
            assert "icc_profile" not in image.info


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


@pytest.mark.parametrize("name", photos.FORMATS)
def test_nothing_but_pixels_and_profile_survives(name: str) -> None:
    data = photos.with_secrets(name)
    assert photos.SECRET.encode() in data
    picture = read(data)
    for answer in Format:
        out = encode(picture.rgb, answer, picture.icc)
        for trace in (
            photos.SECRET.encode(),
            b"Exif",
            b"eXIf",
            b"xmpmeta",
            b"GPS",
            b"tEXt",
            b"zTXt",
            b"iTXt",
        ):
            assert trace not in out
        with Image.open(BytesIO(out)) as image:
            assert not dict(image.getexif())


def test_wild_metadata_neither_warns_nor_prints(capfd: pytest.CaptureFixture[str]) -> None:
    corrupt = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\x0e\x01\x02\0\xff\xff\xff\x7f\x10\0\0\0" * 5
    sound = photos.exif(secret=True).tobytes()
    avif = photos.save(SCENE, "AVIF", exif=sound)
    assert sound[6:40] in avif
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("JPEG", "PNG", "WEBP"):
            read(photos.save(SCENE, name, exif=corrupt))
        read(avif.replace(sound[6:40], corrupt[6:40]))
        read(photos.tiff({270: (4, [1] * 50), 305: (3, [7]), 700: (4, [1, 2, 3])}))
        read(photos.mode("PNG palette, soft"))
    assert capfd.readouterr() == ("", "")


def test_the_file_name_and_type_play_no_part() -> None:
    assert error(read(photos.mode("JPEG")).rgb, SCENE) < 3  # decode() takes bytes, and nothing else


def test_importing_it_imports_neither_cv2_nor_torch_nor_the_colour_engine() -> None:
    import subprocess

    code = (
        "import sys, service.imaging.codec, service.imaging.compose, service.imaging.options\n"
        "print([m for m in ('cv2', 'torch', 'aiohttp', 'PIL.ImageCms') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"


def test_the_lab_mode_is_converted() -> None:
    assert error(read(photos.mode("TIFF Lab")).rgb, SCENE) < 2


def test_an_unusable_transform_falls_back_to_plain_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise ImageCms.PyCMSError("no transform")

    monkeypatch.setattr(ImageCms, "buildTransform", refuse)
    picture = read(photos.save(GREY, "PNG", icc_profile=photos.grey_profile()))
    assert np.array_equal(picture.rgb[..., 0], GREY)
