"""Every allowed format and mode decodes upright, and no metadata is left."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from service.errors import ServiceError, UnsupportedType
from service.imaging.decode import decode, upright_size
from service.imaging.encode import encode
from service.imaging.options import IMAGE_FORMATS
from service.imaging.picture import Picture
from tests.support import photos
from tests.support.photos import error

MAX_PIXELS = 1_000_000


SCENE = photos.photograph()


GREY = np.asarray(Image.fromarray(SCENE).convert("L"))


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("name", photos.MODES)
def test_every_mode_of_every_format_decodes(name: str) -> None:
    picture = read(photos.mode(name))
    assert picture.rgb.shape == (64, 96, 3)
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.flags.c_contiguous
    if picture.alpha is None:
        assert not any(word in name for word in ("RGBA", "alpha", "key", "clear", "soft"))
    else:
        assert picture.alpha.shape == (64, 96)
        assert picture.alpha.dtype == np.uint8
        assert picture.alpha.flags.c_contiguous


@pytest.mark.parametrize("name", photos.MODES)
def test_the_upright_size_is_known_from_the_header_of_every_format(name: str) -> None:
    assert upright_size(photos.mode(name)) == (96, 64)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_size_is_that_of_the_decoded_picture(file_format: str, orientation: int) -> None:
    data = photos.save(
        photos.orient(SCENE, orientation), file_format, exif=photos.exif(orientation).tobytes()
    )
    height, width = read(data).rgb.shape[:2]
    assert upright_size(data) == (width, height) == (96, 64)


def test_the_upright_size_of_a_file_that_is_no_picture_is_an_error_in_words() -> None:
    with pytest.raises(UnsupportedType):
        upright_size(b"text")
    for name in photos.FORMATS:
        with pytest.raises(ServiceError):
            upright_size(photos.save(SCENE, name)[:20])


OPAQUE_COLOUR = [
    name
    for name in photos.MODES
    if not any(w in name for w in ("grey", "1-bit", "G4", "float", "32-bit", "RGBA", "key", "clear", "soft"))
]


@pytest.mark.parametrize("name", OPAQUE_COLOUR)
def test_colours_come_through(name: str) -> None:
    coarse = "palette" in name or "GIF" in name
    assert error(read(photos.mode(name)).rgb, SCENE) < (7 if coarse else 3)


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_exif_orientation_is_turned_upright(name: str, orientation: int) -> None:
    stored = photos.orient(SCENE, orientation)
    picture = read(photos.save(stored, name, exif=photos.exif(orientation).tobytes()))
    assert error(picture.rgb, SCENE) < 3
    assert picture.rgb.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(1, 1), (9, 1), (1, 9)])
def test_a_jpeg_of_one_row_or_column_is_turned_upright(shape: tuple[int, int], orientation: int) -> None:
    grey = np.full((*shape, 3), 90, np.uint8)
    stored = photos.save(photos.orient(grey, orientation), "JPEG", exif=photos.exif(orientation).tobytes())
    assert error(read(stored).rgb, grey) < 3


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


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 2), (2, 1), (3, 5), (1, 10_000), (10_000, 1)])
@pytest.mark.parametrize("name", photos.FORMATS)
def test_tiny_and_extreme_sizes_decode(name: str, width: int, height: int) -> None:
    scene = photos.photograph(width, height)
    assert read(photos.save(scene, name)).rgb.shape == (height, width, 3)


large = cache(photos.photograph)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_right_across_the_strips_they_are_converted_in(orientation: int) -> None:
    scene = large(1500, 601)  # several strips
    rgba = np.dstack([scene, scene[..., 0] | 1])
    stored = photos.orient(rgba, orientation)
    exif = photos.exif(orientation).tobytes()
    assert np.array_equal(read(photos.save(stored[..., :3], "PNG", exif=exif, compress_level=1)).rgb, scene)
    assert np.array_equal(read(photos.save(stored, "PNG", exif=exif, compress_level=1)).alpha, rgba[..., 3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1500, 601), (601, 1500)])
def test_a_jpeg_is_turned_upright_to_the_pixel(size: tuple[int, int], orientation: int) -> None:
    data = photos.save(large(*size), "JPEG")
    turned = data[:2] + b"\xff\xe1" + exif_segment(orientation) + data[2:]
    assert np.array_equal(photos.orient(read(turned).rgb, orientation), read(data).rgb)


def exif_segment(orientation: int) -> bytes:
    block = photos.exif(orientation).tobytes()
    return (len(block) + 2).to_bytes(2, "big") + block


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "camera"])
def test_real_photographs_decode_as_pillow_shows_them(name: str) -> None:
    photograph = getattr(photographs, name)()
    data = photos.save(photograph, "JPEG", quality=90)
    with Image.open(BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(data).rgb, expected)


@pytest.mark.parametrize("name", photos.FORMATS)
def test_metadata_does_not_survive_the_decoder(name: str) -> None:
    data = photos.with_secrets(name)
    assert photos.SECRET.encode() in data
    picture = read(data)
    for answer in IMAGE_FORMATS:
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


def test_broken_metadata_neither_warns_nor_prints(capfd: pytest.CaptureFixture[str]) -> None:
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


def test_importing_these_modules_imports_neither_cv2_nor_torch_nor_the_colour_engine() -> None:
    import subprocess

    code = (
        "import sys, service.imaging.decode, service.imaging.encode, service.imaging.compose, service.imaging.options\n"
        "print([m for m in ('cv2', 'torch', 'aiohttp', 'PIL.ImageCms') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
