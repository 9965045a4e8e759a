"""Parts of a bilinear enlargement, compared with the whole."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engines.inspyrenet.forward.interpolation import enlarge, enlarge_block

SIDE = st.tuples(st.integers(1, 9), st.integers(1, 3))


@settings(deadline=None)
@given(down=SIDE, across=SIDE, data=st.data())
def test_a_block_of_an_enlarged_map_equals_that_of_the_whole(
    down: tuple[int, int], across: tuple[int, int], data: st.DataObject
) -> None:
    size = (down[0] * down[1], across[0] * across[1])

    def block(side: int) -> slice:
        start = data.draw(st.integers(0, side - 1))
        return slice(start, data.draw(st.integers(start + 1, side)))

    rows, columns = block(size[0]), block(size[1])
    x = torch.randn(1, 2, down[0], across[0])
    torch.testing.assert_close(enlarge_block(x, size, rows, columns), enlarge(x, size)[:, :, rows, columns])
