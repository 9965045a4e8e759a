"""The axial attention: worked through in pieces, it gives the same and needs no memory for the square of a side."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from service.engines.inspyrenet.forward import axial_attention
from service.engines.inspyrenet.forward.axial_attention import PIECE_VALUES, AxialAttention

CPU = torch.device("cpu")
CHANNELS = 8


class Block(nn.Module):
    """A 1 x 1 convolution as the package's ``Conv2d`` block holds it."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, outputs, 1)
        self.bn = self.relu = None


class Direction(nn.Module):
    """The parameters of the package's ``SelfAttention``."""

    def __init__(self) -> None:
        super().__init__()
        self.query_conv, self.key_conv = Block(2), Block(2)
        self.value_conv = Block(CHANNELS)
        self.gamma = nn.Parameter(torch.ones(1))


@pytest.fixture
def attention() -> AxialAttention:
    torch.manual_seed(0)
    return AxialAttention(Direction(), Direction(), device=CPU, dtype=torch.float32)


def features(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, CHANNELS, height, width, generator=generator)
    return x.contiguous(memory_format=torch.channels_last)


class LargestTensor(TorchDispatchMode):
    """Remembers how many values the largest tensor had that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.numel())
        return result


@pytest.mark.parametrize("size", [(8, 300), (300, 8), (64, 64), (8, 7)])
@pytest.mark.parametrize("values", [1, 100, 5000])
def test_pieces_of_any_length_give_what_the_whole_map_gives(
    attention: AxialAttention, size: tuple[int, int], values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.inference_mode():
        whole = attention(features(*size))
        monkeypatch.setattr(axial_attention, "PIECE_VALUES", values)
        pieces = attention(features(*size))
    assert float((whole - pieces).abs().max()) < 1e-5


@pytest.mark.parametrize("size", [(8, 512), (512, 8), (8, 2048)])
def test_no_tensor_grows_with_the_square_of_a_side(
    attention: AxialAttention, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axial_attention, "PIECE_VALUES", PIECE_VALUES // 64)
    largest = LargestTensor()
    with largest, torch.inference_mode():
        attention(features(*size))
    # The projections of all channels are the largest that grows with the size.
    assert largest.values <= max(PIECE_VALUES // 64, 2 * 12 * size[0] * size[1])


def test_ordinary_sides_are_one_piece() -> None:
    """A side of 8192 pixels at the resolution of the second context module: such masks stay bit for bit the same."""
    assert PIECE_VALUES >= (8192 // 4) ** 2
