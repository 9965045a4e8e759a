"""Each loop in C against the same in NumPy, and both against what they are meant to compute."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from service.native import loops
from service.native.arrays import Bytes, Floats, Parts
from tests.service.native.inputs import SEEDS, SIDES, in_numpy, random, read_only, some_bytes
from tests.support.examples import examples

SMOOTHNESS = 1e-5, 0.01


def some_mask(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Values from a little below 0 to a little above 1, many of them at a limit of something."""
    limits = np.array([-0.001, 0, 0.05, 0.1, 0.9, 0.9999, 1, 1.001, *np.arange(256) / 255], np.float32)
    mixed = np.where(
        rng.random((height, width)) < 0.5, rng.random((height, width)), rng.choice(limits, (height, width))
    )
    return mixed.astype(np.float32)


def some_parts(rng: np.random.Generator, height: int, width: int) -> Parts:
    """The cells of a random division, some of them left out."""
    down = np.unique([0, *rng.integers(0, height, 3), height])
    across = np.unique([0, *rng.integers(0, width, 3), width])
    cells = [
        (top, bottom, left, right)
        for top, bottom in pairwise(down)
        for left, right in pairwise(across)
        if rng.random() < 0.7
    ]
    return np.array(cells, np.int32).reshape(-1, 4)


def test_the_library_is_compiled_here() -> None:
    assert loops.LIBRARY is not None


@given(SIDES, SIDES, st.tuples(st.integers(1, 40), st.integers(1, 40)), SEEDS)
@settings(deadline=None)
def test_kinds_of_blocks(height: int, width: int, shape: tuple[int, int], seed: int) -> None:
    mask = some_mask(random(seed), height, width)

    def compute() -> Any:
        return loops.block_kinds(mask, shape, visible=1 / 255, solid=254 / 255)

    for ours, numpys in zip(compute(), in_numpy(compute), strict=True):
        assert np.array_equal(ours, numpys)


@given(SIDES, SIDES, st.sampled_from([None, np.nan, np.inf, -np.inf, -0.01, 1.01]), SEEDS)
@settings(deadline=None)
def test_a_single_value_outside_is_found(height: int, width: int, wrong: float | None, seed: int) -> None:
    rng = random(seed)
    mask = some_mask(rng, height, width)
    if wrong is not None:
        mask[rng.integers(height), rng.integers(width)] = wrong

    def compute() -> bool:
        return loops.any_outside(mask, -0.001, 1.001)

    assert compute() == (wrong is not None)
    assert in_numpy(compute) == (wrong is not None)


@given(SIDES, SIDES, SEEDS)
@settings(deadline=None)
def test_what_a_mask_says(height: int, width: int, seed: int) -> None:
    mask = some_mask(random(seed), height, width)

    def compute() -> Any:
        return loops.survey(mask, low=0.1, high=0.9, visible=0.05)

    for ours, numpys in zip(compute(), in_numpy(compute), strict=True):
        assert np.array_equal(ours, numpys)


@given(SIDES, SIDES, SEEDS)
@settings(deadline=None)
def test_a_mask_joined_to_colours_has_the_levels_of_the_mask_alone(
    height: int, width: int, seed: int
) -> None:
    rng = random(seed)
    mask, colours = some_mask(rng, height, width), some_bytes(rng, height, width, 3)

    def compute() -> tuple[Bytes, Bytes]:
        levels, joined = np.empty((height, width), np.uint8), np.empty((height, width, 4), np.uint8)
        loops.mask_levels(mask, levels)
        loops.join_rgba(colours, mask, joined)
        return levels, joined

    for levels, joined in (compute(), in_numpy(compute)):
        assert np.array_equal(levels, (np.clip(mask, 0, 1) * np.float32(255)).astype(np.uint8))
        assert np.array_equal(joined, np.dstack([colours, levels]))


@given(SIDES, SIDES, st.booleans(), SEEDS)
@settings(deadline=None)
def test_a_front_is_blended_into_rectangles_only(height: int, width: int, apart: bool, seed: int) -> None:
    rng = random(seed)
    mask, front = some_mask(rng, height, width), some_bytes(rng, height, width, 3)
    canvas = some_bytes(rng, height, width + 5 * apart, 3)
    parts = some_parts(rng, height, width)

    def compute() -> Bytes:
        target = canvas.copy()[:, :width]
        loops.blend(target, front, mask, parts)
        return target

    weight = np.clip(mask, 0, 1)[..., np.newaxis]
    expected = canvas[:, :width].copy()
    for top, bottom, left, right in parts:
        part = np.s_[top:bottom, left:right]
        expected[part] = front[part] * weight[part] + expected[part] * (1 - weight[part])
    assert np.array_equal(compute(), expected)
    assert np.array_equal(in_numpy(compute), expected)


@given(SIDES, SIDES, st.integers(1, 40), SEEDS)
@settings(deadline=None)
def test_means_of_squares_also_where_they_are_cut_off(
    height: int, width: int, reduction: int, seed: int
) -> None:
    rng = random(seed)
    image, alpha = some_bytes(rng, height, width, 3), some_mask(rng, height, width)

    def compute() -> Any:
        return loops.reduce(image, alpha, reduction)

    down, across = np.arange(0, height, reduction), np.arange(0, width, reduction)

    def means(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        def sums(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.add.reduceat(np.add.reduceat(plane.astype(float), down, axis=0), across, axis=1)

        return sums(values) / sums(np.ones_like(values))

    for colours, mask in (compute(), in_numpy(compute)):
        assert np.abs(colours.transpose(1, 2, 0) - means(image)).max() <= 0.501
        assert np.abs(mask - means(alpha)).max() <= 1e-6
        assert np.array_equal(colours, np.rint(colours))


@given(st.integers(1, 6), SIDES, SIDES, st.floats(1, 3), SEEDS)
@settings(deadline=None)
def test_enlarging_planes(count: int, height: int, width: int, times: float, seed: int) -> None:
    planes = random(seed).random((count, height, width), np.float32) * 255
    size = int(height * times), int(width * times)

    def compute() -> Floats:
        return loops.enlarge(planes, size)

    assert np.abs(compute() - in_numpy(compute)).max() <= 0.05  # of 255: positions are rounded
    same = functional.interpolate(torch.from_numpy(planes)[None], size, mode="bilinear", align_corners=False)
    assert np.abs(compute() - same[0].numpy()).max() <= 0.05


@given(SIDES, SIDES, SIDES, SIDES, SEEDS)
@settings(deadline=None)
@example(23, 40, 23, 40, 0)
@example(23, 40, 31, 40, 0)
@example(23, 40, 23, 65, 0)
def test_a_mask_is_enlarged_as_pytorch_does(
    rows: int, columns: int, height: int, width: int, seed: int
) -> None:
    mask = random(seed).random((rows, columns), np.float32) * 1.2 - 0.1
    same = functional.interpolate(
        torch.from_numpy(mask)[None, None], (height, width), mode="bilinear", align_corners=True
    )
    expected = same[0, 0].clamp(0, 1).numpy()
    assert np.abs(loops.enlarge_mask(mask, (height, width)) - expected).max() <= 1e-4


def test_a_mask_of_the_right_size_stays_as_it_is() -> None:
    mask = random(0).random((30, 50), np.float32)
    assert np.array_equal(loops.enlarge_mask(mask, (30, 50)), mask)


@pytest.mark.parametrize("size", [(100, 90), (100, 32), (32, 32)])
def test_what_is_no_number_in_a_mask_is_none_in_the_enlarged_one(size: tuple[int, int]) -> None:
    """Else a network that computes nonsense would give a clear mask, which is valid."""
    mask = np.full((32, 32), 0.5, np.float32)
    mask[7, 9] = np.nan
    enlarged = loops.enlarge_mask(mask, size)
    assert np.isnan(enlarged).any()
    assert loops.any_outside(enlarged, 0, 1)
    assert np.isnan(loops.enlarge_mask(mask * np.nan, size)).all()


def test_without_the_library_a_mask_is_not_enlarged() -> None:
    with pytest.raises(RuntimeError, match="compiled library"):
        in_numpy(lambda: loops.enlarge_mask(np.ones((2, 2), np.float32), (4, 4)))


@given(SIDES, SIDES, st.integers(1, 5), SEEDS)
@settings(deadline=None, max_examples=examples(60))
def test_tiles_become_what_solving_the_whole_grid_gives(
    height: int, width: int, sweeps: int, seed: int
) -> None:
    rng = random(seed)
    start, colours = (rng.random((*planes, height, width), np.float32) * 255 for planes in ((2, 3), (3,)))
    alpha, tiles = np.clip(some_mask(rng, height, width), 0, 1), some_parts(rng, height, width)

    def compute(tiles: Parts) -> Floats:
        return loops.relax(start, colours, alpha, tiles, sweeps=sweeps, smoothness=SMOOTHNESS, momentum=1.6)

    whole = in_numpy(lambda: compute(np.array([[0, height, 0, width]], np.int32)))
    expected = start.copy()
    for top, bottom, left, right in tiles:
        expected[..., top:bottom, left:right] = whole[..., top:bottom, left:right]
    assert np.array_equal(compute(tiles), expected)
    assert np.array_equal(in_numpy(lambda: compute(tiles)), expected)


@given(SIDES, SIDES, st.sampled_from([1, 2, 3, 4, 8, 16]), SEEDS)
@settings(deadline=None, max_examples=examples(60))
def test_colours_of_rectangles(height: int, width: int, reduction: int, seed: int) -> None:
    rng = random(seed)
    image, alpha = some_bytes(rng, height, width, 3), np.clip(some_mask(rng, height, width), 0, 1)
    grid = rng.random((2, 3, -(-height // reduction), -(-width // reduction)), np.float32) * 255
    parts, others = some_parts(rng, height, width), some_parts(rng, height, width)

    def compute() -> tuple[Bytes, Bytes]:
        corrected, continued = np.zeros((2, height, width, 3), np.uint8)
        loops.unmix(
            image, alpha, corrected, grid=grid, reduction=reduction, parts=parts, smoothness=SMOOTHNESS[0]
        )
        loops.continue_colours(continued, grid=grid, reduction=reduction, parts=others)
        return corrected, continued

    for ours, numpys in zip(compute(), in_numpy(compute), strict=True):
        difference = np.abs(ours.astype(int) - numpys)
        assert difference.max() <= 1  # what lies between two levels may be rounded to either
        assert np.count_nonzero(difference) <= 3 + difference.size // 100
    for written, chosen in zip(compute(), (parts, others), strict=True):
        for top, bottom, left, right in chosen:
            written[top:bottom, left:right] = 0
        assert not written.any()


def test_colours_composite_to_the_picture() -> None:
    """Where F and B stay within 0-255, ``a F + (1 - a) B`` is the picture's pixel again."""
    rng = random(0)
    alpha = rng.uniform(0.2, 1, (40, 300)).astype(np.float32)
    grid = np.stack([np.full((3, 10, 75), 150, np.float32), np.full((3, 10, 75), 100, np.float32)])
    image = rng.integers(110, 140, (40, 300, 3), np.uint8)
    result = np.zeros_like(image)
    loops.unmix(
        image,
        alpha,
        result,
        grid=grid,
        reduction=4,
        parts=np.array([[0, 40, 0, 300]], np.int32),
        smoothness=SMOOTHNESS[0],
    )
    a = alpha[..., np.newaxis]
    gain = a / (a**2 + (1 - a) ** 2)
    exact = 150 + gain * (image - a * 150 - (1 - a) * 100)
    assert np.abs(result - exact).max() <= 0.51


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("an input of another type", lambda: loops.any_outside(np.zeros((2, 2)), 0, 1)),
        (
            "an output of another shape",
            lambda: loops.mask_levels(np.zeros((2, 2), np.float32), np.zeros((2, 3), np.uint8)),
        ),
        (
            "an output in Fortran's order",
            lambda: loops.mask_levels(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.uint8).T),
        ),
        (
            "an output that may not be written",
            lambda: loops.mask_levels(np.zeros((2, 2), np.float32), read_only(np.zeros((2, 2), np.uint8))),
        ),
        (
            "a target whose channels lie apart",
            lambda: loops.blend(
                np.zeros((2, 1, 6), np.uint8)[..., ::2],
                np.zeros((2, 1, 3), np.uint8),
                np.zeros((2, 1), np.float32),
                np.zeros((0, 4), np.int32),
            ),
        ),
        (
            "a target whose pixels lie apart",
            lambda: loops.blend(
                np.zeros((2, 3, 4), np.uint8)[..., :3],
                np.zeros((2, 3, 3), np.uint8),
                np.zeros((2, 3), np.float32),
                np.zeros((0, 4), np.int32),
            ),
        ),
    ],
)
def test_arrays_that_would_be_read_or_written_wrongly_are_refused(what: str, call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"where|contiguous|target"):
        call()
    with pytest.raises(ValueError, match=r"where|contiguous|target"):
        in_numpy(call)


@pytest.mark.parametrize("part", [(0, 3, 0, 2), (0, 2, 0, 4), (-1, 2, 0, 2), (1, 1, 0, 2), (0, 2, 2, 1)])
def test_rectangles_outside_of_the_picture_are_refused(part: tuple[int, int, int, int]) -> None:
    mask, colours = np.zeros((2, 3), np.float32), np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(ValueError, match="not inside 2 x 3"):
        loops.blend(colours, colours, mask, np.array([part], np.int32))


def test_inputs_in_any_order_give_the_same() -> None:
    mask = np.zeros((30, 50), np.float32)
    mask[3] = 1
    for given_mask in (mask, np.asfortranarray(mask), mask.repeat(2, axis=1)[:, ::2]):
        _, in_row, in_column = loops.survey(given_mask, low=0.1, high=0.9, visible=0.05)
        assert list(np.flatnonzero(in_row)) == [3]
        assert in_column.all()
