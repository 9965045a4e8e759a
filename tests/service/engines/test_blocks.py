"""Blocks of a picture: which are clear, solid or soft, and which pixels are in them."""

from __future__ import annotations

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
    visible, soft = blocks.kinds(alpha, SIDE)
    for row, column in np.ndindex(visible.shape):
        block = alpha[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
        assert visible[row, column] == (block >= np.float32(1 / 255)).any()
        assert soft[row, column] == (visible[row, column] and (block < np.float32(254 / 255)).any())


@given(
    arrays.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 40))),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_parts_hold_every_pixel_of_the_chosen_blocks_once(
    chosen: blocks.Blocks, missing: int, cut: int
) -> None:
    shape = chosen.shape[0] * SIDE - missing, chosen.shape[1] * SIDE - cut
    found = np.zeros(shape, int)
    for rows, columns in blocks.parts(chosen, SIDE, shape):
        found[rows, columns] += 1
        assert columns.stop - columns.start <= blocks.LONGEST_RUN * SIDE
    expected = chosen.repeat(SIDE, axis=0).repeat(SIDE, axis=1)[: shape[0], : shape[1]]
    assert np.array_equal(found, expected)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_blocks_grow_by_one_to_every_side(chosen: blocks.Blocks) -> None:
    grown = blocks.grown(chosen)
    for row, column in np.ndindex(chosen.shape):
        around = chosen[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert grown[row, column] == around.any()
