"""On which ground a picture with transparency is shown to the network."""

from __future__ import annotations

import numpy as np
import pytest

from service.imaging.colour.transparency import choose_ground, composite
from service.imaging.decode import decode
from tests.support import photos

WHITE, GREY, BLACK = (255, 255, 255), (128, 128, 128), (0, 0, 0)


def disc(size: int = 100) -> photos.Pixels:
    y, x = np.mgrid[0:size, 0:size]
    return np.where(np.hypot(y - size / 2, x - size / 2) < size * 0.35, 255, 0).astype(np.uint8)


def flat(*colour: int) -> photos.Pixels:
    return np.full((100, 100, 3), colour, np.uint8)


HALF_WHITE_HALF_BLACK = np.where(
    np.arange(100)[:, np.newaxis, np.newaxis] < 50, flat(255, 255, 255), flat(0, 0, 0)
)


@pytest.mark.parametrize(
    ("colours", "ground"),
    [
        (flat(255, 255, 255), BLACK),
        (flat(230, 230, 230), BLACK),
        (flat(255, 255, 120), WHITE),
        (flat(0, 0, 0), WHITE),
        (flat(200, 60, 20), WHITE),
        (flat(128, 128, 128), WHITE),
        (HALF_WHITE_HALF_BLACK, GREY),
    ],
    ids=["white", "nearly white", "yellow", "black", "red", "grey", "white and black"],
)
def test_the_ground_is_white_unless_the_border_would_be_lost_on_it(
    colours: photos.Pixels, ground: tuple[int, int, int]
) -> None:
    assert choose_ground(colours, disc()) == ground


def test_only_the_border_counts() -> None:
    colours = flat(200, 60, 20)
    colours[30:70, 30:70] = 255
    assert choose_ground(colours, disc()) == WHITE
    colours = flat(255, 255, 255)
    colours[30:70, 30:70] = (200, 60, 20)
    assert choose_ground(colours, disc()) == BLACK


@pytest.mark.parametrize("value", [0, 51, 128])
def test_a_picture_of_one_transparency_has_no_border(value: int) -> None:
    assert choose_ground(flat(255, 255, 255), np.full((100, 100), value, np.uint8)) == WHITE


def test_a_faint_picture_has_a_border_too() -> None:
    assert choose_ground(flat(255, 255, 255), disc() // 5) == BLACK


def test_the_choice_is_the_same_across_strips() -> None:
    big = np.kron(disc(), np.ones((12, 12), np.uint8))
    assert choose_ground(np.full((*big.shape, 3), 255, np.uint8), big) == BLACK


def test_a_composite_is_rounded() -> None:
    colours = np.array([[[200, 0, 255]]], np.uint8)
    composite(colours, np.array([[51]], np.uint8), GREY)
    assert colours.tolist() == [[[142, 102, 153]]]


def test_a_white_subject_on_clear_ground_is_not_shown_on_white() -> None:
    rgba = np.dstack([flat(255, 255, 255), disc()])
    picture = decode(photos.save(rgba, "PNG"), max_pixels=10**6)
    assert picture.ground == BLACK
    assert (picture.rgb[0, 0] == 0).all()
    assert (picture.rgb[50, 50] == 255).all()
