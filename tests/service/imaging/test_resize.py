"""Pixels in another size, made in strips: no seams, no shift, nothing from outside the part."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.imaging.resize import resize
from tests.support import photos


def at_once(pixels: photos.Pixels, box: tuple[float, ...], size: tuple[int, int]) -> photos.Pixels:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((900, 1200), (600, 450)),
        ((900, 1200), (1800, 1350)),
        ((2000, 300), (299, 1999)),
        ((70, 20_000), (10_000, 35)),
    ],
)
def test_strips_have_no_seams(shape: tuple[int, int], size: tuple[int, int]) -> None:
    # Not noise: between its two passes Pillow clips what overshoots, and the order of the passes depends on the sizes.
    scene = photos.photograph(shape[1], shape[0]) // 2 + 50
    ours = resize(scene, (0, 0, shape[1], shape[0]), size)
    assert np.abs(ours.astype(int) - at_once(scene, (0, 0, shape[1], shape[0]), size)).max() <= 1


def test_a_part_with_fractions_of_a_pixel_is_resized_without_a_shift() -> None:
    ramp = np.tile(np.linspace(0, 1, 1001, dtype=np.float32), (8, 1))
    result = resize(ramp, (100.25, 0, 300.75, 8), (401, 2))
    expected = (100.25 - 0.5 + (np.arange(401) + 0.5) / 2) / 1000
    assert np.abs(result[0] - expected)[8:-8].max() < 2e-3


@pytest.mark.parametrize("factor", [5, 16, 37, 1000])
def test_a_large_reduction_keeps_the_mean_and_the_place(factor: int) -> None:
    picture = np.zeros((factor * 8, factor * 8), np.float32)
    picture[: factor * 4, : factor * 2] = 1
    result = resize(picture, (0, 0, factor * 8, factor * 8), (8, 8))
    assert abs(float(result.mean()) - 0.125) < 0.005
    assert abs(float(result[1, 0]) - 1) < 0.1
    assert abs(float(result[6, 5])) < 0.1


def test_nothing_outside_the_part_shows() -> None:
    picture = np.full((40, 40, 3), 255, np.uint8)
    picture[10:30, 10:30] = 7
    assert (resize(picture, (10, 10, 30, 30), (33, 17)) == 7).all()
    assert (resize(picture, (10, 10, 30, 30), (1, 1)) == 7).all()


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(*[st.floats(0, 1)] * 4),
)
@settings(deadline=None)
def test_a_picture_of_one_colour_stays_one_whatever_the_sizes(
    shape: tuple[int, int], size: tuple[int, int], edges: tuple[float, ...]
) -> None:
    x, y = sorted(edges[:2]), sorted(edges[2:])
    left, right = x[0] * (shape[1] - 1), x[1] * (shape[1] - 1) + 1
    top, bottom = y[0] * (shape[0] - 1), y[1] * (shape[0] - 1) + 1
    result = resize(np.full((*shape, 3), 99, np.uint8), (left, top, right, bottom), size)
    assert result.shape == (size[1], size[0], 3)
    assert (result == 99).all()


@pytest.mark.memory
@pytest.mark.parametrize("size", [(3000, 2000), (1500, 1000), (30, 20), (30, 2000)])
def test_memory_stays_near_the_size_of_the_result(size: tuple[int, int]) -> None:
    picture = np.zeros((4000, 6000, 3), np.uint8)
    tracemalloc.start()
    try:
        resize(picture, (0, 0, 6000, 4000), size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * size[0] * size[1] + 3 * 24_000_000 / 8 + (8 << 20)


def test_the_mean_of_millions_of_pixels_is_exact() -> None:
    assert (resize(np.full((2500, 2500, 3), 77, np.uint8), (0, 0, 2500, 2500), (1, 1)) == 77).all()


def test_a_part_of_the_same_size_is_an_exact_copy() -> None:
    scene = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    result = resize(scene, (5, 6, 25, 16), (20, 10))
    assert np.array_equal(result, scene[6:16, 5:25])
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, scene)
