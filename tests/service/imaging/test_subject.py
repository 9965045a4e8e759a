"""What is said of the subject: its box, and the share of pixels that are neither foreground nor background."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.imaging.options import Options
from service.imaging.picture import STRIP_PIXELS, Picture
from service.imaging.placement import Box
from service.imaging.subject import LEAST_ALPHA, measure

boxes = st.builds(Box, st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))


def picture(height: int = 40, width: int = 40, own: int | None = None) -> Picture:
    alpha = None if own is None else np.full((height, width), own, np.uint8)
    return Picture(np.zeros((height, width, 3), np.uint8), alpha)


def mask_with(box: Box, value: float = 1.0, shape: tuple[int, int] = (40, 40)) -> np.ndarray[tuple[int, int]]:
    alpha = np.zeros(shape, np.float32)
    alpha[box.rows, box.columns] = value
    return alpha  # type: ignore[return-value]


@given(boxes)
def test_the_box_is_that_of_everything_that_is_not_background(box: Box) -> None:
    assert measure(picture(), mask_with(box), Options()).box == box


def test_a_subject_across_strips_is_found_whole() -> None:
    height, box = STRIP_PIXELS // 40 * 3, Box(3, 10, 5, STRIP_PIXELS // 40 * 2)
    assert measure(picture(height), mask_with(box, shape=(height, 40)), Options()).box == box


def test_an_empty_mask_has_no_box() -> None:
    assert measure(picture(), np.zeros((40, 40), np.float32), Options()).box is None
    assert measure(picture(1, 1), np.zeros((1, 1), np.float32), Options()).box is None


def test_a_faint_haze_belongs_to_no_subject() -> None:
    alpha = mask_with(Box(5, 6, 7, 8))
    alpha[alpha == 0] = LEAST_ALPHA - 0.001
    assert measure(picture(), alpha, Options()).box == Box(5, 6, 7, 8)


def test_the_box_follows_threshold_reversal_and_the_inputs_own_transparency() -> None:
    half = mask_with(Box(5, 6, 7, 8), 0.5)
    assert measure(picture(), half, Options(threshold=0.6)).box is None
    assert measure(picture(), half, Options(reverse=True)).box == Box(0, 0, 40, 40)
    assert measure(picture(own=0), half, Options()).box is None
    assert measure(picture(own=200), half, Options()).box == Box(5, 6, 7, 8)


@pytest.mark.parametrize(("value", "share"), [(0.05, 0), (0.1, 0.01), (0.5, 0.01), (0.9, 0.01), (0.95, 0)])
def test_the_uncertainty_is_the_share_of_pixels_between_a_tenth_and_nine_tenths(
    value: float, share: float
) -> None:
    alpha = mask_with(Box(0, 0, 4, 4), float(np.float32(value)))
    for options in (Options(), Options(threshold=0.5, reverse=True)):
        assert measure(picture(), alpha, options).uncertainty == share
