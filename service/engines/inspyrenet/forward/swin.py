"""The backbone, a Swin transformer of windows of 12 x 12, rearranged: the same function, less work.

What is different from the package's own modules:

* The network pads every stage to whole windows before its largest multiplications. Here only the attention sees the
  padding (at 1024 x 1024 a quarter more in the two deepest stages); the projection after it does not.
* Padding, cyclic shift and partition are one gather of rows, and their inverse is another.
* Windows that the shifted mask treats alike are attended to together, four kinds, so that no mask is ever expanded
  over the windows.
* The attention is fused.
* Tokens and windows are worked through in pieces, each in the memory of the one before.

The residual stream, the normalisations, the patch embedding and the mergings between the stages are always float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.forward.layers import Linear, frozen, pieces

WINDOW = 12
"""Side of a window, in tokens."""

ROWS = 1 << 13
"""Tokens that a CPU works on at a time."""

_TOKENS = WINDOW * WINDOW
_STAGES = 4
_APART = -100.0
"""What the network adds to the attention between tokens that the cyclic shift has brought together."""


class Backbone:
    """The five feature maps of the network's transformer.

    Args:
        network: the package's ``SwinTransformer``, with its weights.
        device: where it computes.
        dtype: of the multiplications inside the transformer's blocks.
        borrow: see :class:`~service.engines.inspyrenet.forward.layers.Linear`.
    """

    def __init__(
        self, network: nn.Module, *, device: torch.device, dtype: torch.dtype, borrow: bool = False
    ) -> None:
        swin = cast("Any", network)
        self._embed = frozen(swin.patch_embed.proj.weight, device), frozen(swin.patch_embed.proj.bias, device)
        self._stride = swin.patch_embed.patch_size
        self._embed_norm = _Norm(swin.patch_embed.norm, device)
        self._stages = [
            [_Block(block, device=device, dtype=dtype, borrow=borrow) for block in stage.blocks]
            for stage in swin.layers
        ]
        self._norms = [_Norm(getattr(swin, f"norm{stage}"), device) for stage in range(_STAGES)]
        self._mergings = [
            (
                _Norm(stage.downsample.norm, device),
                Linear(
                    stage.downsample.reduction.weight,
                    None,
                    device=device,
                    dtype=torch.float32,
                    borrow=borrow,
                ),
            )
            for stage in list(swin.layers)[:-1]
        ]

    def __call__(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Five maps of a 1 x 3 x H x W image, at 1/4, 1/4, 1/8, 1/16 and 1/32 of its sides; float32, channels-last."""
        weight, bias = self._embed
        patches = functional.conv2d(
            image.contiguous(memory_format=torch.channels_last), weight, bias, stride=self._stride
        )
        height, width = patches.shape[-2:]
        tokens = self._embed_norm(patches.permute(0, 2, 3, 1).reshape(height * width, -1))
        # A copy: the blocks add to their input in place.
        maps = [_as_map(tokens.clone(), height, width)]
        for stage, blocks in enumerate(self._stages):
            windows = Windows.over(height, width, tokens.device)
            for block in blocks:
                tokens = block(tokens, windows)
            maps.append(_as_map(self._norms[stage](tokens), height, width))
            if stage < len(self._mergings):
                norm, reduction = self._mergings[stage]
                merged = _merged(tokens.view(height, width, -1))
                height, width = merged.shape[:2]
                tokens = reduction(norm(merged.view(height * width, -1)))
        return maps


@dataclass(frozen=True, slots=True)
class Partition:
    """Which token stands where in the windows, and back."""

    gather: torch.Tensor
    """For every place in every window, the number of its token; that after the last one is padding."""
    scatter: torch.Tensor
    """For every token, its place."""
    counts: tuple[int, ...]
    """Windows of each kind, in the order in which they come: inside, at the bottom, at the right, in the corner; all of
    them are of the first kind where there is no shift."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The two partitions of one stage of one image: as it lies, and shifted by half a window."""

    plain: Partition
    shifted: Partition

    @classmethod
    def over(cls, height: int, width: int, device: torch.device) -> Windows:
        """The windows over ``height`` x ``width`` tokens."""
        down, across = -(-height // WINDOW), -(-width // WINDOW)
        numbers = torch.full((down * WINDOW, across * WINDOW), height * width)
        numbers[:height, :width] = torch.arange(height * width).view(height, width)
        kinds = torch.zeros(down, across, dtype=torch.long)
        kinds[-1, :] += 1
        kinds[:, -1] += 2

        def partition(shift: int) -> Partition:
            rolled = torch.roll(numbers, (-shift, -shift), (0, 1))
            places = rolled.view(down, WINDOW, across, WINDOW).transpose(1, 2).reshape(-1, _TOKENS)
            counts = (down * across,)
            if shift:
                places = places[torch.argsort(kinds.flatten(), stable=True)]
                counts = tuple(torch.bincount(kinds.flatten(), minlength=4).tolist())
            gather = places.flatten()
            scatter = torch.empty(height * width + 1, dtype=torch.long)
            scatter[gather] = torch.arange(gather.numel())
            return Partition(gather.to(device), scatter[:-1].to(device), counts)

        return cls(partition(0), partition(WINDOW // 2))


class _Norm:
    """A LayerNorm over the channels."""

    def __init__(self, layer: Any, device: torch.device) -> None:
        self._weight, self._bias = frozen(layer.weight, device), frozen(layer.bias, device)
        self._eps = layer.eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self._weight.shape, self._weight, self._bias, self._eps)


class _Block:
    """One transformer block: attention within windows, then a perceptron for every token."""

    def __init__(self, block: Any, *, device: torch.device, dtype: torch.dtype, borrow: bool) -> None:
        def linear(layer: Any, *, gelu: bool = False) -> Linear:
            return Linear(layer.weight, layer.bias, device=device, dtype=dtype, gelu=gelu, borrow=borrow)

        attention = block.attn
        self._dtype = dtype
        self._heads: int = attention.num_heads
        self._is_shifted = bool(block.shift_size)
        self._norm1, self._norm2 = _Norm(block.norm1, device), _Norm(block.norm2, device)
        self._qkv, self._proj = linear(attention.qkv), linear(attention.proj)
        self._up, self._down = linear(block.mlp.fc1, gelu=True), linear(block.mlp.fc2)
        table, index = attention.relative_position_bias_table, attention.relative_position_index
        bias = frozen(table, device)[index.flatten().to(device)].view(_TOKENS, _TOKENS, -1)
        bias = bias.permute(2, 0, 1).unsqueeze(0)
        masks = _masks(device) if self._is_shifted else [torch.zeros(_TOKENS, _TOKENS, device=device)]
        self._biases = [(bias + mask).to(dtype).contiguous() for mask in masks]

    def __call__(self, tokens: torch.Tensor, windows: Windows) -> torch.Tensor:
        """Tokens x channels to the same; overwrites its input."""
        partition = windows.shifted if self._is_shifted else windows.plain
        attended = self._attend(self._normalised(tokens), partition).index_select(0, partition.scatter)
        for rows in pieces(len(tokens), ROWS, tokens.device):
            these = tokens[rows]
            these += self._proj(attended[rows])
            these += self._down(self._up(self._norm2(these).to(self._dtype)))
        return tokens

    def _normalised(self, tokens: torch.Tensor) -> torch.Tensor:
        """The input of the attention, and after it a token of zeros: the padding."""
        result = tokens.new_empty(len(tokens) + 1, tokens.shape[1], dtype=self._dtype)
        result[-1] = 0
        for rows in pieces(len(tokens), ROWS, tokens.device):
            result[rows] = self._norm1(tokens[rows])
        return result

    def _attend(self, tokens: torch.Tensor, partition: Partition) -> torch.Tensor:
        """Places x channels: what each place of each window attends to."""
        channels = tokens.shape[1]
        result = tokens.new_empty(len(partition.gather), channels)
        kinds = list(pairwise(accumulate(partition.counts, initial=0)))
        for windows in pieces(sum(partition.counts), ROWS // _TOKENS, tokens.device):
            places = partition.gather[windows.start * _TOKENS : windows.stop * _TOKENS]
            qkv = self._qkv(tokens.index_select(0, places))
            query, key, value = (
                qkv.view(-1, _TOKENS, 3, self._heads, channels // self._heads).permute(2, 0, 3, 1, 4).unbind()
            )
            for (begin, end), bias in zip(kinds, self._biases, strict=True):
                first, last = max(begin, windows.start), min(end, windows.stop)
                if first < last:
                    these = slice(first - windows.start, last - windows.start)
                    attended = functional.scaled_dot_product_attention(
                        query[these], key[these], value[these], attn_mask=bias
                    )
                    result[first * _TOKENS : last * _TOKENS] = attended.transpose(1, 2).reshape(-1, channels)
        return result


def _masks(device: torch.device) -> list[torch.Tensor]:
    """What the shift adds to the attention within a window of each kind: tokens of different regions stay apart."""
    late = torch.arange(WINDOW, device=device) >= WINDOW // 2
    row, column = late.repeat_interleave(WINDOW).long(), late.repeat(WINDOW).long()
    regions = [torch.zeros_like(row), row, column, row * 2 + column]
    return [(region[:, None] != region[None, :]).float() * _APART for region in regions]


def _merged(grid: torch.Tensor) -> torch.Tensor:
    """H x W x C to H/2 x W/2 x 4C, in the order of the network; an odd side is padded with zeros."""
    height, width = grid.shape[:2]
    if height % 2 or width % 2:
        grid = functional.pad(grid, (0, 0, 0, width % 2, 0, height % 2))
    return torch.cat([grid[0::2, 0::2], grid[1::2, 0::2], grid[0::2, 1::2], grid[1::2, 1::2]], -1)


def _as_map(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Tokens x C to 1 x C x H x W, channels-last, without a copy."""
    return tokens.view(1, height, width, -1).permute(0, 3, 1, 2)
