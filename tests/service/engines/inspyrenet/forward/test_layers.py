"""The chunks in which a CPU works."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from service.engines.inspyrenet.forward.layers import chunks


@given(total=st.integers(0, 300), size=st.integers(1, 50))
def test_chunks_cover_everything_once_and_none_is_too_large(total: int, size: int) -> None:
    found = list(chunks(total, size, torch.device("cpu")))
    assert [number for chunk in found for number in range(chunk.start, chunk.stop)] == list(range(total))
    assert all(0 < chunk.stop - chunk.start <= size for chunk in found)
    assert len(found) == -(-total // size)
    assert len(list(chunks(total, size, torch.device("cuda")))) <= 1
