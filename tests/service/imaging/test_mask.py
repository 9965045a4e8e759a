"""The mask as the options want it; ``test_compose`` has which masks are refused."""

from __future__ import annotations

import numpy as np
import pytest

from service.imaging.mask import BadMask, check_mask, keep_only, mask_rows
from service.imaging.options import Options
from service.imaging.picture import Picture
from service.imaging.placement import Box

PICTURE = Picture(np.zeros((4, 5, 3), np.uint8), np.full((4, 5), 51, np.uint8))


def test_threshold_reversal_and_transparency_apply_in_this_order() -> None:
    alpha = np.full((4, 5), 0.7, np.float32)
    rows = slice(1, 3)
    assert np.allclose(mask_rows(PICTURE, alpha, Options(), rows), 0.14)
    assert np.allclose(mask_rows(PICTURE, alpha, Options(threshold=0.5), rows), 0.2)
    assert np.allclose(mask_rows(PICTURE, alpha, Options(threshold=0.5, reverse=True), rows), 0)
    assert np.allclose(mask_rows(PICTURE, alpha, Options(reverse=True), rows, own=False), 0.3)


def test_only_what_is_in_a_box_is_kept() -> None:
    alpha = np.ones((4, 5), np.float32)
    keep_only(alpha, Box(1, 2, 3, 1))
    expected = np.zeros((4, 5), np.float32)
    expected[2, 1:4] = 1
    assert np.array_equal(alpha, expected)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(BadMask):
        check_mask(PICTURE, np.zeros((5, 4), np.float32))
