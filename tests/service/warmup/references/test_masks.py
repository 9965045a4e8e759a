"""Masks as files: which bytes are a mask, and how far two masks differ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from service.warmup.references.masks import (
    NotAMask,
    check_mask_file,
    given_mask,
    mask_of_answer,
    mean_error,
)
from tests.support import photos
from tests.support.reference_sets import HEIGHT, WIDTH, cut_out, ramp

SIZE = (WIDTH, HEIGHT)


def png(image: Image.Image) -> bytes:
    return photos.save(image, "PNG")


def grey() -> Image.Image:
    return Image.fromarray(ramp())


def coloured_with(alpha: npt.NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(photos.photograph(WIDTH, HEIGHT))
    image.putalpha(Image.fromarray(alpha))
    return image


def palette() -> Image.Image:
    image = grey().convert("P", palette=Image.Palette.ADAPTIVE)
    assert image.mode == "P"
    return image


def reason(read: Callable[[], object]) -> str:
    with pytest.raises(NotAMask) as caught:
        read()
    return str(caught.value)


@pytest.mark.parametrize(
    "image",
    [
        grey(),
        grey().convert("RGB"),
        grey().convert("LA"),
        grey().convert("RGBA"),  # opaque: as an editor saves a grey mask
        palette(),
        coloured_with(ramp()),  # a cut-out: its alpha counts
        Image.fromarray(ramp().astype(np.uint16) * 257),
    ],
    ids=lambda image: str(image.mode),
)
def test_a_given_mask_may_be_grey_or_a_cut_out(image: Image.Image) -> None:
    found = given_mask(png(image), SIZE)
    assert found.dtype == np.uint8
    assert np.array_equal(found, ramp())


def test_a_given_mask_of_one_bit_is_black_and_white() -> None:
    found = given_mask(png(Image.fromarray(ramp()).convert("1", dither=Image.Dither.NONE)), SIZE)
    assert set(np.unique(found)) == {0, 255}


def test_a_photograph_is_no_mask() -> None:
    photograph = Image.fromarray(photos.photograph(WIDTH, HEIGHT))
    assert "is a colour picture without transparency" in reason(lambda: given_mask(png(photograph), SIZE))


@pytest.mark.parametrize("value", [0, 255])
def test_a_constant_mask_is_refused_because_it_would_prove_nothing(value: int) -> None:
    constant = Image.new("L", SIZE, value)
    assert "is constant" in reason(lambda: given_mask(png(constant), SIZE))


@pytest.mark.parametrize("read", [given_mask, mask_of_answer, check_mask_file])
def test_a_mask_of_another_size_is_refused_with_both_sizes(
    read: Callable[[bytes, tuple[int, int]], object],
) -> None:
    data = png(Image.fromarray(ramp(10, 12)))
    assert reason(lambda: read(data, SIZE)) == "is 10 x 12 pixels; the picture is 24 x 16"
    turned = png(Image.fromarray(ramp(HEIGHT, WIDTH)))
    assert reason(lambda: read(turned, SIZE)).endswith("(the mask of the upright picture is needed)")


@pytest.mark.parametrize("read", [given_mask, mask_of_answer, check_mask_file])
@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", photos.encoded(24, 16, "JPEG")])
def test_what_is_no_png_is_refused(read: Callable[[bytes, tuple[int, int]], object], data: bytes) -> None:
    assert reason(lambda: read(data, SIZE)) == "does not decode as a PNG"


def test_an_answer_is_a_cut_out_or_a_grey_mask() -> None:
    for data in (cut_out(ramp()), png(grey())):
        assert np.array_equal(mask_of_answer(data, SIZE), ramp())
    opaque = np.full((HEIGHT, WIDTH), 255, np.uint8)
    assert np.array_equal(mask_of_answer(png(coloured_with(opaque)), SIZE), opaque)
    assert "has no alpha channel (mode RGB)" in reason(
        lambda: mask_of_answer(png(grey().convert("RGB")), SIZE)
    )


@settings(deadline=None)
@given(st.data())
def test_any_changed_byte_of_a_mask_file_is_noticed_by_its_checksums_or_changes_no_pixel(
    data: st.DataObject,
) -> None:
    written = bytearray(png(grey()))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    try:
        check_mask_file(bytes(written), SIZE)
    except NotAMask:
        return
    assert np.array_equal(mask_of_answer(bytes(written), SIZE), ramp())


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(deadline=None)
@given(shapes.flatmap(lambda shape: st.tuples(*[arrays.arrays(np.uint8, shape)] * 2)))
def test_the_error_is_the_mean_absolute_difference_from_0_to_1(
    pair: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> None:
    one, other = pair
    error = mean_error(one, other)
    assert error == pytest.approx(np.abs(one.astype(float) - other).mean() / 255)
    assert error == mean_error(other, one)
    assert mean_error(one, one) == 0


def test_the_error_of_a_large_mask_is_exact_across_strips() -> None:
    large = np.zeros((1500, 700), np.uint8)
    other = large.copy()
    other[::2] = 255
    assert mean_error(large, other) == 0.5


def test_masks_of_two_sizes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        mean_error(ramp(2, 2), ramp(2, 3))
