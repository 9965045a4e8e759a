"""Parts of a bilinear enlargement, compared with the whole."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engines.inspyrenet.forward.interpolation import enlarge, enlarge_rows


@settings(deadline=None)
@given(rows=st.integers(1, 9), factor=st.integers(1, 3), data=st.data())
def test_some_rows_of_an_enlarged_map_equal_those_of_the_whole(
    rows: int, factor: int, data: st.DataObject
) -> None:
    size = (rows * factor, 4)
    start = data.draw(st.integers(0, size[0] - 1))
    stop = data.draw(st.integers(start + 1, size[0]))
    x = torch.randn(1, 2, rows, 3)
    torch.testing.assert_close(enlarge_rows(x, size, start, stop), enlarge(x, size)[:, :, start:stop])
