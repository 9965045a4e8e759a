"""An image whose strips become sRGB by a declared encoding."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from service.imaging.colour.encoding import Encoding
from service.imaging.formats.opened import InSrgb, strip_of
from tests.support import photos


def opened(name: str) -> InSrgb:
    image = InSrgb(PngImageFile(BytesIO(photos.mode(name))), Encoding(transfer=1.0))
    image.load()
    return image


def test_strips_are_converted_and_keep_their_opacity() -> None:
    image = opened("PNG RGBA")
    assert (image.size, image.mode, image.has_transparency_data) == ((96, 64), "RGBA", True)
    strip = np.asarray(image.crop((0, 8, 96, 16)))
    stored = np.asarray(Image.open(BytesIO(photos.mode("PNG RGBA"))))[8:16]
    assert np.array_equal(strip[..., 3], stored[..., 3])
    light = stored[..., :3] / 255
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(strip[..., :3] - expected).max() <= 0.6


def test_the_profile_is_not_passed_on() -> None:
    data = photos.save(photos.photograph(), "PNG", icc_profile=photos.srgb_profile())
    image = InSrgb(PngImageFile(BytesIO(data)), Encoding(transfer=1.0))
    assert "icc_profile" not in image.info
    assert image.mode == "RGB"


def test_a_strip_is_rgb_or_rgba() -> None:
    colours = photos.photograph(5, 4)
    assert strip_of(colours, None).mode == "RGB"
    assert strip_of(colours, np.zeros((4, 5), np.uint8)).mode == "RGBA"
