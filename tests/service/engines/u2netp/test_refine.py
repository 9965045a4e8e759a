"""The enlarged mask follows the picture's own edges, and stays the network's where the colours do not tell."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from service.engines.protocol import RGB, Alpha
from service.engines.u2netp import refine

SIDE = 320


def disc(height: int, width: int) -> Alpha:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    return (distance < 0.3).astype(np.float32)


def scene(height: int, width: int, colours: tuple[int, int]) -> tuple[RGB, RGB, Alpha, Alpha]:
    """A disc: the picture, what the network sees of it, the network's blurred mask, the true mask."""
    truth = disc(height, width)
    grey = np.where(truth == 1, *colours).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    image = np.clip(grey[..., None] + noise, 0, 255).astype(np.uint8)
    square = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    mask = cv2.GaussianBlur(disc(SIDE, SIDE), (0, 0), 3)
    return image, square, mask, truth


@pytest.mark.parametrize("size", [(600, 900), (320, 320), (1500, 700)])
def test_a_blurred_edge_becomes_as_sharp_as_the_pictures_own(size: tuple[int, int]) -> None:
    image, square, mask, truth = scene(*size, (200, 60))
    alpha = refine.refine(image, square, mask)
    bare = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(alpha - truth).mean() < np.abs(bare - truth).mean() / 4


def test_where_both_sides_look_alike_the_networks_edge_stays() -> None:
    image, square, mask, truth = scene(600, 900, (120, 120))
    alpha = refine.refine(image, square, mask)
    bare = cv2.resize(mask, (900, 600), interpolation=cv2.INTER_LINEAR)
    assert np.abs(alpha - truth).mean() <= np.abs(bare - truth).mean()
    assert np.abs(np.diff(alpha, axis=1)).max() < 0.1  # no speckle from the noise


def test_texture_inside_a_subject_makes_no_holes() -> None:
    image, _, mask, _ = scene(600, 900, (200, 60))
    image[250:350:4, 300:600] = 30
    alpha = refine.refine(image, cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), mask)
    assert alpha[250:350, 380:520].min() == 1


def test_the_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    image, square, mask, _ = scene(500, 700, (200, 60))
    whole = refine.refine(image, square, mask)
    monkeypatch.setattr(refine, "_STRIP_PIXELS", 7 * 700)
    assert np.array_equal(refine.refine(image, square, mask), whole)


def test_a_picture_that_lies_on_its_side_gives_the_same_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    image, square, mask, _ = scene(300, 700, (200, 60))
    whole = refine.refine(image, square, mask)
    monkeypatch.setattr(refine, "_LONGEST_ROW", 500)
    assert np.abs(refine.refine(image, square, mask) - whole).max() < 1e-3


@pytest.mark.parametrize("size", [(200_000, 1), (1, 200_000), (2000, 1000)])
def test_memory_beyond_the_mask_is_bounded(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    square, mask = np.zeros((SIDE, SIDE, 3), np.uint8), disc(SIDE, SIDE)
    tracemalloc.start()
    alpha = refine.refine(image, square, mask)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * alpha.nbytes + image.nbytes + 40e6
