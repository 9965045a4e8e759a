"""Blocks of a picture: which are clear, solid or soft, and which pixels are in them."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.engines import blocks
from service.engines.protocol import Alpha

SIDE = 4
VALUES = st.sampled_from([0.0, 0.9 / 255, 1 / 255, 0.5, 253.9 / 255, 254 / 255, 1.0])
MASKS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=VALUES.map(np.float32)
)


@given(MASKS)
def test_a_block_is_visible_or_soft_if_any_of_its_pixels_is(alpha: Alpha) -> None:
    down, right = blocks.shape_of(SIDE, alpha.shape)
    visible, soft = blocks.kinds(alpha, SIDE)
    for row, column in np.ndindex(visible.shape):
        block = alpha[row * down : (row + 1) * down, column * right : (column + 1) * right]
        assert visible[row, column] == (block >= np.float32(1 / 255)).any()
        assert soft[row, column] == (visible[row, column] and (block < np.float32(254 / 255)).any())


@given(st.integers(1, 20), st.integers(1, 160), st.booleans(), st.randoms(use_true_random=False))
def test_parts_hold_every_pixel_of_the_chosen_blocks_once(
    height: int, width: int, upright: bool, random: Random
) -> None:
    shape = (width, height) if upright else (height, width)
    down, right = blocks.shape_of(SIDE, shape)
    chosen = np.array(
        [[random.random() < 0.7 for _ in range(0, shape[1], right)] for _ in range(0, shape[0], down)]
    )
    found = np.zeros(shape, int)
    for rows, columns in blocks.parts(chosen, SIDE, shape):
        found[rows, columns] += 1
        assert columns.stop - columns.start <= blocks.LONGEST_RUN * right
    expected = chosen.repeat(down, axis=0).repeat(right, axis=1)[: shape[0], : shape[1]]
    assert np.array_equal(found, expected)


def test_a_narrow_picture_has_no_more_blocks_than_a_square_one_of_its_size() -> None:
    for shape in ((1, 1 << 20), (1 << 20, 1), (1 << 18, 4)):
        visible, _ = blocks.kinds(np.ones(shape, np.float32), 32)
        assert visible.size <= (1 << 20) / 32**2


@given(arrays.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_blocks_grow_by_one_to_every_side(chosen: blocks.Blocks) -> None:
    grown = blocks.grown(chosen)
    for row, column in np.ndindex(chosen.shape):
        around = chosen[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert grown[row, column] == around.any()
