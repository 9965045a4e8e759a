"""A picture's size, and the strips of rows into which pictures are divided for processing."""

from __future__ import annotations

import numpy as np
import pytest

from service.imaging.picture import STRIP_PIXELS, Picture, strips


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (600, 1500), (10_000, 1), (3, STRIP_PIXELS), (2, STRIP_PIXELS * 3)]
)
def test_strips_cover_every_row_once_in_order(height: int, width: int) -> None:
    rows = [row for strip in strips(height, width) for row in range(strip.start, strip.stop)]
    assert rows == list(range(height))


def test_a_strip_holds_whole_rows_and_no_more_pixels_than_asked_for() -> None:
    assert [strip.stop - strip.start for strip in strips(100, 1500)] == [43, 43, 14]
    assert len(list(strips(5, STRIP_PIXELS * 3))) == 5, "a row is never split"


def test_a_strip_has_as_many_rows_as_are_needed() -> None:
    assert [strip.stop - strip.start for strip in strips(80, STRIP_PIXELS, least=32)] == [32, 32, 16]


def test_a_picture_says_its_width_first() -> None:
    assert Picture(np.zeros((2, 3, 3), np.uint8)).size == (3, 2)
