"""JPEG pixels by simplejpeg: those of Pillow, bit for bit, and Pillow's own decision wherever libjpeg says a word."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from io import BytesIO

import numpy as np
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from PIL import Image
from skimage import data as photographs

from service.errors import ServiceError
from service.imaging.decode import decode
from service.imaging.formats import jpeg_pixels
from tests.support import photos
from tests.support.damaged import CORPUS, MAX_PIXELS, damaged, sound
from tests.support.examples import examples
from tests.support.photos import Pixels

SIZES = [(1, 1), (1, 9), (9, 1), (7, 5), (16, 16), (17, 33), (130, 70)]
SETTINGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True},
    "restart markers": {"restart_marker_blocks": 2},
    "quality 20": {"quality": 20},
    "quality 100": {"quality": 100},
}
LEFT_TO_PILLOW = {
    "JPEG grey",
    "JPEG CMYK",
    "JPEG: CMYK",
    "JPEG arithmetic coding, progressive, 3 x 1 samples",
}


def by_pillow(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def by_simplejpeg(data: bytes) -> Pixels | None:
    with Image.open(BytesIO(data)) as image:
        return jpeg_pixels.decode(data, image.size)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_pixels_are_those_of_pillow(name: str, subsampling: str) -> None:
    noise = np.random.default_rng(0)
    for width, height in SIZES:
        for scene in (photos.photograph(width, height), noise.integers(0, 256, (height, width, 3), np.uint8)):
            data = photos.save(scene, "JPEG", **{"subsampling": subsampling} | SETTINGS[name])
            pixels = by_simplejpeg(data)
            assert pixels is not None
            assert np.array_equal(pixels, by_pillow(data)), (width, height)


@pytest.mark.parametrize("subsampling", ["440", "411", "422", "420", "444"])
def test_other_samplings_give_the_pixels_of_pillow(subsampling: str) -> None:
    for width, height in SIZES:
        data = simplejpeg.encode_jpeg(photos.photograph(width, height), 85, "RGB", subsampling)
        pixels = by_simplejpeg(data)
        assert pixels is not None
        assert np.array_equal(pixels, by_pillow(data)), (width, height)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_photographs_give_the_pixels_of_pillow(name: str) -> None:
    data = photos.save(getattr(photographs, name)(), "JPEG", quality=90, subsampling="4:2:0")
    pixels = by_simplejpeg(data)
    assert pixels is not None
    assert np.array_equal(pixels, by_pillow(data))


@pytest.mark.parametrize("name", [name for name in CORPUS if name.startswith("JPEG") and "end" not in name])
def test_every_kind_of_rgb_file_is_taken_with_the_pixels_of_pillow(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Pixels | None] = []
    real = jpeg_pixels.decode

    def spy(data: bytes, size: tuple[int, int]) -> Pixels | None:
        taken.append(real(data, size))
        return taken[-1]

    monkeypatch.setattr(jpeg_pixels, "decode", spy)
    picture = decode(sound(name), max_pixels=MAX_PIXELS)
    was_taken = any(pixels is not None for pixels in taken)
    assert was_taken == (name not in LEFT_TO_PILLOW)
    if was_taken:
        assert picture.rgb is taken[0], "no copy was made"
        assert np.array_equal(picture.rgb, by_pillow(sound(name)))


def test_a_file_without_its_end_is_decoded_by_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(jpeg_pixels, "decode")
    assert decode(photos.mode("JPEG")[:-2], max_pixels=MAX_PIXELS).size == (96, 64)


def outcome(data: bytes) -> tuple[object, ...]:
    """The picture or the refusal."""
    try:
        picture = decode(data, max_pixels=MAX_PIXELS)
    except ServiceError as error:
        return type(error), error.message
    return picture.rgb.shape, picture.rgb.tobytes(), picture.icc


@given(damaged("JPEG"))
@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damage_changes_nothing_that_pillow_alone_would_not_change(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ours = outcome(data)
        patch.setattr(jpeg_pixels, "simplejpeg", None)
        assert ours == outcome(data)


def test_a_file_with_a_warning_is_left_to_pillow() -> None:
    """Its last restart interval is missing: libjpeg fills it up with grey."""
    data = photos.save(photos.photograph(), "JPEG", restart_marker_blocks=4)
    cut = data[: data.rindex(b"\xff", 0, len(data) - 2)] + data[-2:]
    assert by_simplejpeg(data) is not None
    assert by_simplejpeg(cut) is None
    assert np.array_equal(decode(cut, max_pixels=MAX_PIXELS).rgb, by_pillow(cut))


@pytest.mark.parametrize("size", [(95, 64), (96, 63), (97, 64), (64, 96)])
def test_a_size_that_is_not_the_one_of_the_file_is_left_to_pillow(size: tuple[int, int]) -> None:
    assert jpeg_pixels.decode(photos.mode("JPEG"), size) is None


@pytest.mark.parametrize(
    "error", [ValueError("Insufficient memory (case 4)"), RuntimeError("could not create JPEG decoder")]
)
def test_pillow_decodes_when_libjpeg_has_no_memory(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    assert np.array_equal(
        decode(photos.mode("JPEG"), max_pixels=MAX_PIXELS).rgb, by_pillow(photos.mode("JPEG"))
    )


def test_no_memory_for_the_pixels_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    with pytest.raises(MemoryError):
        decode(photos.mode("JPEG"), max_pixels=MAX_PIXELS)


def test_an_rgb_profile_that_is_applied_is_applied_to_the_same_pixels() -> None:
    data = photos.save(photos.photograph(600, 300), "JPEG", icc_profile=photos.scanner_profile())
    as_png = photos.save(by_pillow(data), "PNG", icc_profile=photos.scanner_profile())
    picture = decode(data, max_pixels=MAX_PIXELS)
    assert picture.icc is None
    assert not np.array_equal(picture.rgb, by_pillow(data))
    assert np.array_equal(picture.rgb, decode(as_png, max_pixels=MAX_PIXELS).rgb)


WITHOUT = """
import sys
sys.modules["simplejpeg"] = None
from io import BytesIO
import numpy as np
from PIL import Image
from service.imaging.decode import decode
from service.imaging.formats import jpeg_pixels
from tests.support import photos
data = photos.mode("JPEG 4:2:0")
assert np.array_equal(decode(data, max_pixels=10**6).rgb, np.asarray(Image.open(BytesIO(data))))
print(jpeg_pixels.in_use(), jpeg_pixels.missing(), sep="|")
"""


def test_without_the_package_pillow_decodes_and_that_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=60
    )
    said, _, missing = done.stdout.strip().partition("|")
    assert said.startswith(f"pillow {version('pillow')}")
    assert missing == "['simplejpeg']"


def test_the_package_is_installed_here() -> None:
    assert jpeg_pixels.missing() == []
    assert jpeg_pixels.in_use() == f"simplejpeg {version('simplejpeg')} (libjpeg-turbo)"
