"""Each loop that writes files, in C against the same in NumPy, and both against what they are meant to compute."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.native import coding
from service.native.arrays import Bytes
from service.native.coding_arrays import WebpFilter
from tests.service.native.inputs import SEEDS, SIDES, in_numpy, random, some_bytes
from tests.support.examples import examples


@given(SIDES, SIDES, st.sampled_from([1, 3, 4]), SEEDS)
@settings(deadline=None)
def test_paeths_filter_is_that_of_the_recommendation(
    height: int, width: int, channels: int, seed: int
) -> None:
    rng = random(seed)
    rows, above = some_bytes(rng, height, width * channels), some_bytes(rng, width * channels)

    def compute() -> Bytes:
        filtered = np.empty((height, 1 + width * channels), np.uint8)
        coding.filter_by_paeth(rows, above, filtered, channels)
        return filtered

    filtered = compute()
    assert np.array_equal(filtered, in_numpy(compute))
    assert (filtered[:, 0] == 4).all()
    padded = np.pad(np.vstack([above, rows]).astype(int), ((0, 0), (channels, 0)))
    left, up, corner = padded[1:, :-channels], padded[:-1, channels:], padded[:-1, :-channels]
    distances = np.abs(np.stack([left, up, corner]) - (left + up - corner))
    predicted = np.choose(distances.argmin(axis=0), (left, up, corner))  # the first of equal ones
    assert np.array_equal(filtered[:, 1:], (rows - predicted).astype(np.uint8))


@given(SIDES, SIDES, SEEDS)
@settings(deadline=None)
def test_grey_rows_are_filtered_alike_and_can_be_restored(height: int, width: int, seed: int) -> None:
    rng = random(seed)
    rows, above = some_bytes(rng, height, width), some_bytes(rng, width)
    costs = rng.integers(0, 256, 256, np.uint8)

    def compute() -> Bytes:
        filtered = np.empty((height, 1 + width), np.uint8)
        coding.filter_grey(rows, above, filtered, costs)
        return filtered

    filtered = compute()
    assert np.array_equal(filtered, in_numpy(compute))
    ups = rows - np.vstack([above, rows[:-1]])
    for kind, candidate in ((0, rows), (2, ups)):
        assert np.array_equal(filtered[filtered[:, 0] == kind, 1:], candidate[filtered[:, 0] == kind])
        assert (costs[filtered[:, 1:]].sum(axis=1) <= costs[candidate].sum(axis=1)).all()


def some_pixels(rng: np.random.Generator, height: int, width: int) -> Bytes:
    """RGBA of which some is clear, some soft and some solid: in blocks, in rows or in single pixels."""
    pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
    shape = [(-(-height // 8), -(-width // 8)), (height, 1), (height, width)][rng.integers(3)]
    kinds = rng.choice(3, shape, p=rng.dirichlet([1, 1, 1]))
    spread = kinds.repeat(-(-height // shape[0]), axis=0).repeat(-(-width // shape[1]), axis=1)[
        :height, :width
    ]
    pixels[..., 3] = np.choose(spread, (0, pixels[..., 3], 255))
    return pixels


def predict(mask: Bytes, filtered: WebpFilter) -> Bytes:
    """As RFC 9649 has it, pixel by pixel."""
    predictions = np.zeros(mask.shape, np.uint8)
    if filtered is WebpFilter.UNFILTERED:
        return predictions
    for y, x in np.ndindex(mask.shape):
        left, above = int(mask[y, x - 1]), int(mask[y - 1, x])
        if x == 0:
            predictions[y, x] = above if y > 0 else 0
        elif y == 0 or filtered is WebpFilter.HORIZONTAL:
            predictions[y, x] = left
        else:
            predictions[y, x] = min(max(left + above - int(mask[y - 1, x - 1]), 0), 255)
    return predictions


@given(SIDES, SIDES, st.sampled_from(WebpFilter), SEEDS)
@settings(deadline=None, max_examples=examples(60))
def test_a_mask_for_webp_is_filtered_alike(height: int, width: int, filtered: WebpFilter, seed: int) -> None:
    pixels = some_pixels(random(seed), height, width)
    image = coding.webp_mask(pixels, filtered)
    assert np.array_equal(image, in_numpy(lambda: coding.webp_mask(pixels, filtered)))
    assert not image[..., 2:].any()
    marks = (image[..., 1] & 1) * 255 if filtered is WebpFilter.GRADIENT else 0
    assert (image[..., 0] == marks).all()


@pytest.mark.parametrize("filtered", WebpFilter)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (23, 37)])
def test_a_mask_for_webp_is_filtered_as_its_specification_says(
    shape: tuple[int, int], filtered: WebpFilter
) -> None:
    pixels = some_pixels(random(3), *shape)
    mask = pixels[..., 3]
    assert np.array_equal(coding.webp_mask(pixels, filtered)[..., 1], mask - predict(mask, filtered))


@given(st.integers(1, 12), st.integers(1, 12), SEEDS)
@settings(deadline=None)
def test_colours_that_cannot_be_seen_are_replaced_alike(down: int, across: int, seed: int) -> None:
    pixels = some_pixels(random(seed), 8 * down, 8 * across)

    def compute() -> Bytes:
        changed = pixels.copy()
        coding.webp_colours(changed)
        return changed

    changed = compute()
    assert np.array_equal(changed, in_numpy(compute))
    visible = pixels[..., 3] > 0
    assert np.array_equal(changed[visible], pixels[visible])


def test_clear_pixels_get_the_mean_of_their_neighbours_or_the_first_one_of_a_clear_run() -> None:
    pixels = np.zeros((8, 24, 4), np.uint8)
    pixels[0, 0], pixels[0, 1] = (10, 20, 30, 255), (20, 40, 60, 1)
    pixels[0, 8] = 7, 8, 9, 0
    coding.webp_colours(pixels)
    assert [tuple(map(int, pixel[:3])) for pixel in pixels[1, :2]] == [(15, 30, 45)] * 2
    assert (pixels[4, :8, :3] == (15, 30, 45)).all()
    assert (pixels[:, 8:] == (7, 8, 9, 0)).all()


@pytest.mark.parametrize(
    ("what", "call"),
    [
        (
            "a row above that is too short",
            lambda: coding.filter_by_paeth(
                np.zeros((2, 8), np.uint8), np.zeros(7, np.uint8), np.zeros((2, 9), np.uint8), 4
            ),
        ),
        (
            "no whole blocks",
            lambda: coding.webp_colours(np.zeros((8, 12, 4), np.uint8)),
        ),
        (
            "pixels of three channels",
            lambda: coding.webp_mask(np.zeros((8, 8, 3), np.uint8), WebpFilter.GRADIENT),
        ),
        (
            "nothing to compress",
            lambda: coding.deflate_block(np.zeros(0, np.uint8), np.zeros(3, np.uint32), channels=4),
        ),
        (
            "too much to compress",
            lambda: coding.deflate_block(
                np.zeros((1 << 24) + 1, np.uint8), np.zeros(3, np.uint32), channels=4
            ),
        ),
        (
            "pixels of two channels",
            lambda: coding.deflate_block(np.zeros(9, np.uint8), np.zeros(3, np.uint32), channels=2),
        ),
        (
            "too many pending bits",
            lambda: coding.deflate_block(np.zeros(9, np.uint8), np.array([0, 8, 1], np.uint32), channels=1),
        ),
        (
            "a state of another type",
            lambda: coding.deflate_block(np.zeros(9, np.uint8), np.array([0, 0, 1]), channels=1),
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_c_sees_it(what: str, call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()


def test_compressing_without_the_library_is_refused() -> None:
    with pytest.raises(RuntimeError):
        in_numpy(lambda: coding.deflate_block(np.zeros(9, np.uint8), np.zeros(3, np.uint32), channels=1))


def test_several_threads_at_the_same_time_get_the_same_bits_as_one() -> None:
    rng = random(2)
    rows, pixels = some_bytes(rng, 300, 4000), some_pixels(rng, 160, 400)

    def compute(_: int) -> list[bytes]:
        filtered, changed = np.empty((300, 4001), np.uint8), pixels.copy()
        coding.filter_by_paeth(rows, rows[-1], filtered, 4)
        coding.webp_colours(changed)
        block = coding.deflate_block(filtered.reshape(-1), np.array([0, 0, 1], np.uint32), channels=4)
        mask = coding.webp_mask(pixels, WebpFilter.GRADIENT)
        return [filtered.tobytes(), changed.tobytes(), block, mask.tobytes()]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(compute, range(8)))
    assert all(result == results[0] for result in results)
