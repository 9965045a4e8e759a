"""The partition of tokens into windows."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from service.engines.inspyrenet.forward.swin import WINDOW, Windows


@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_every_token_has_one_position_and_the_rest_is_padding(height: int, width: int) -> None:
    windows = Windows.over(height, width, torch.device("cpu"))
    for partition in (windows.plain, windows.shifted):
        indices = partition.gather
        assert indices.numel() == sum(partition.counts) * WINDOW * WINDOW
        assert torch.equal(indices[partition.scatter], torch.arange(height * width))
        assert int((indices < height * width).sum()) == height * width
