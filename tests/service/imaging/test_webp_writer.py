"""WebP files of cut-outs: the mask comes back to the bit, and visible colours as libwebp's own file has them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from benchmarks import scenes
from service.imaging.picture import Pixels
from service.imaging.webp_writer import write_webp
from tests.support import photos
from tests.support.examples import examples

STEPS = [1, 15, 85, 255]


def read(file: bytes) -> Image.Image:
    image = Image.open(BytesIO(file))
    image.load()
    return image


def chunks(file: bytes) -> dict[bytes, bytes]:
    """The chunks of a file in order, of which each must be there once."""
    assert file[:4] + file[8:12] == b"RIFFWEBP"
    assert int.from_bytes(file[4:8], "little") + 8 == len(file)
    found: dict[bytes, bytes] = {}
    at = 12
    while at < len(file):
        name, length = file[at : at + 4], int.from_bytes(file[at + 4 : at + 8], "little")
        assert name not in found
        found[name] = file[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    assert at == len(file)
    return found


def cut_out(mask: Pixels) -> Pixels:
    height, width = mask.shape
    return np.dstack([photos.photograph(width, height), mask])


def disc(width: int, height: int, softness: float = 5) -> Pixels:
    """A mask with soft edges."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x - width / 2, y - height / 2) - min(width, height) / 3
    levels: Pixels = np.clip(128 - distance * 127 / softness, 0, 255).astype(np.uint8)
    return levels


def error(file: bytes, pixels: Pixels) -> float:
    """The mean error of the visible colours, in levels."""
    colours = np.asarray(read(file).convert("RGB")).astype(int)
    return float(np.abs(colours - pixels[..., :3])[pixels[..., 3] > 0].mean())


@st.composite
def masks(draw: st.DrawFn) -> Pixels:
    """Of few levels or many: flat with some other pixels, or noise."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    step = draw(st.sampled_from(STEPS))
    flat = arrays.arrays(np.uint8, shape)
    noise = st.binary(min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    drawn = draw(flat | noise.map(lambda drawn: np.frombuffer(drawn, np.uint8).reshape(shape)))
    levels: Pixels = (drawn.astype(int) % (255 // step + 1) * step).astype(np.uint8)
    return levels


@given(masks())
@settings(deadline=None, max_examples=examples(150))
def test_every_mask_comes_back(mask: Pixels) -> None:
    file = write_webp(cut_out(mask))
    assert np.array_equal(np.asarray(read(file).convert("RGBA"))[..., 3], mask)
    assert (b"ALPH" in chunks(file)) == bool(mask.min() < 255)


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 16383), (16383, 1), (16383, 20), (9, 16383), (500, 401)]
)
@pytest.mark.parametrize("kind", ["soft", "noise", "hard", "clear"])
def test_masks_of_every_kind_come_back_at_every_size(width: int, height: int, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    mask = {"soft": disc(width, height), "noise": noise, "hard": noise // 255 * 255, "clear": noise * 0}[kind]
    image = read(write_webp(cut_out(mask)))
    assert image.size == (width, height)
    assert np.array_equal(np.asarray(image.convert("RGBA"))[..., 3], mask)


def test_a_mask_of_noise_is_stored_as_it_is() -> None:
    mask = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    assert chunks(write_webp(cut_out(mask)))[b"ALPH"] == b"\0" + mask.tobytes()


@pytest.mark.parametrize(("kind", "filtering"), [("hair", 0), ("veil", 1), ("defocus", 3), ("sigmoid", 3)])
def test_the_filter_fits_the_mask(kind: str, filtering: int) -> None:
    mask = np.rint(scenes.matte(kind, 640, 480, 0) * 255).astype(np.uint8)
    file = write_webp(cut_out(mask))
    assert chunks(file)[b"ALPH"][0] == 1 | filtering << 2
    assert np.array_equal(np.asarray(read(file))[..., 3], mask)


def test_an_opaque_picture_has_no_mask() -> None:
    pixels = cut_out(np.full((50, 60), 255, np.uint8))
    assert list(chunks(write_webp(pixels))) == [b"VP8 "]
    assert read(write_webp(pixels, photos.srgb_profile())).info["icc_profile"] == photos.srgb_profile()


@pytest.mark.parametrize("length", [4, 333])
def test_the_profile_comes_back(length: int) -> None:
    profile = bytes(range(256)) * 2
    file = write_webp(cut_out(disc(60, 50)), profile[:length])
    assert list(chunks(file)) == [b"VP8X", b"ICCP", b"ALPH", b"VP8 "]
    assert read(file).info["icc_profile"] == profile[:length]


@pytest.mark.parametrize("kind", scenes.MATTES)
def test_colours_and_sizes_are_those_of_the_file_that_libwebp_makes(kind: str) -> None:
    pixels = cut_out(np.rint(scenes.matte(kind, 643, 481, 0) * 255).astype(np.uint8))
    whole = BytesIO()
    Image.fromarray(pixels).save(whole, format="webp", quality=90, method=2)
    file = write_webp(pixels)
    assert error(file, pixels) < 1.02 * error(whole.getvalue(), pixels)
    assert len(file) < 1.02 * len(whole.getvalue())


def test_what_is_invisible_costs_little() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    mask = np.zeros((400, 400), np.uint8)
    mask[100:140, 100:140] = 200
    assert len(write_webp(np.dstack([noise, mask]))) < 8000


def test_views_are_written_and_left_as_they_are() -> None:
    pixels = cut_out(disc(90, 70))
    opaque = np.full((9, 50, 4), 255, np.uint8)
    for view in (
        pixels[::-1, ::-1],
        pixels[3:60, 7:50],
        pixels[5:6, 7:50],
        opaque[5:6, 10:20],
        opaque[:, 3:4],
    ):
        copy = view.copy()
        assert write_webp(view) == write_webp(copy)
        assert np.array_equal(view, copy)
