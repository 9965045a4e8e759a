"""The backbone: a Swin transformer (the package's ``SwinTransformer``) with windows of 12 x 12 tokens.

``model`` calls it once in each pass. The results must equal those of the package's module up to rounding. What is
different:

* The package pads every stage to whole windows before its largest multiplications. Here only the attention processes
  the padding (at 1024 x 1024, a quarter more tokens in the two deepest stages); the projection after it does not.
* Padding, cyclic shift and partition into windows are one gather of rows, and their inverse is another.
* Windows with the same attention mask (there are four kinds) are processed together. So no mask is ever expanded over
  the windows.
* The attention is one fused operation.
* A CPU processes tokens and windows in chunks, each in the memory that the previous one has freed.

The residual stream, the normalisations, the patch embedding and the mergings between the stages are always float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.forward.layers import Linear, chunks, copy_to

WINDOW = 12
"""Side of a window, in tokens."""

CHUNK_TOKENS = 1 << 13
"""Tokens that a CPU processes at once."""

_WINDOW_TOKENS = WINDOW * WINDOW
_STAGES = 4
_MASKED = -100.0
"""What the network adds to the attention between tokens that are neighbours only because of the cyclic shift."""


class Backbone:
    """The five feature maps of the network's transformer.

    Args:
        network: the package's ``SwinTransformer``, with its weights.
        device: where it computes.
        dtype: of the multiplications inside the transformer's blocks.
        share_weights: see :class:`~service.engines.inspyrenet.forward.layers.Linear`.
    """

    def __init__(
        self, network: nn.Module, *, device: torch.device, dtype: torch.dtype, share_weights: bool
    ) -> None:
        swin = cast("Any", network)
        projection = swin.patch_embed.proj
        self._embed = copy_to(projection.weight, device), copy_to(projection.bias, device)
        self._stride = swin.patch_embed.patch_size
        self._embed_norm = _LayerNorm(swin.patch_embed.norm, device)
        self._stages = [
            [_Block(block, device=device, dtype=dtype, share_weights=share_weights) for block in stage.blocks]
            for stage in swin.layers
        ]
        self._norms = [_LayerNorm(getattr(swin, f"norm{stage}"), device) for stage in range(_STAGES)]
        self._mergings = [
            (
                _LayerNorm(stage.downsample.norm, device),
                Linear(
                    stage.downsample.reduction.weight,
                    None,
                    device=device,
                    dtype=torch.float32,
                    share_weights=share_weights,
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
        # This map is a copy, because the blocks change their input in place.
        maps = [_as_map(tokens.clone(), height, width)]
        for stage, blocks in enumerate(self._stages):
            windows = Windows.over(height, width, tokens.device)
            for block in blocks:
                tokens = block(tokens, windows)
            maps.append(_as_map(self._norms[stage](tokens), height, width))
            if stage < len(self._mergings):
                norm, reduction = self._mergings[stage]
                merged = _merge_neighbours(tokens.view(height, width, -1))
                height, width = merged.shape[:2]
                tokens = reduction(norm(merged.view(height * width, -1)))
        return maps


@dataclass(frozen=True, slots=True)
class Partition:
    """Which token is at which position in the windows, and the inverse."""

    gather: torch.Tensor
    """For every position in every window, the index of its token. The index after the last token means padding."""
    scatter: torch.Tensor
    """For every token, its position."""
    counts: tuple[int, ...]
    """The number of windows of each kind, in the order of the positions: inside, at the bottom, at the right, in the
    corner. Without a shift, all windows are of the first kind."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The two partitions of the tokens in one stage: without a shift, and shifted by half a window."""

    plain: Partition
    shifted: Partition

    @classmethod
    def over(cls, height: int, width: int, device: torch.device) -> Windows:
        """The windows over ``height`` x ``width`` tokens."""
        down, across = -(-height // WINDOW), -(-width // WINDOW)
        indices = torch.full((down * WINDOW, across * WINDOW), height * width)
        indices[:height, :width] = torch.arange(height * width).view(height, width)
        kinds = torch.zeros(down, across, dtype=torch.long)
        kinds[-1, :] += 1
        kinds[:, -1] += 2

        def partition(shift: int) -> Partition:
            rolled = torch.roll(indices, (-shift, -shift), (0, 1))
            windows = rolled.view(down, WINDOW, across, WINDOW).transpose(1, 2).reshape(-1, _WINDOW_TOKENS)
            counts = (down * across,)
            if shift:
                windows = windows[torch.argsort(kinds.flatten(), stable=True)]
                counts = tuple(torch.bincount(kinds.flatten(), minlength=4).tolist())
            gather = windows.flatten()
            scatter = torch.empty(height * width + 1, dtype=torch.long)
            scatter[gather] = torch.arange(gather.numel())
            return Partition(gather.to(device), scatter[:-1].to(device), counts)

        return cls(partition(0), partition(WINDOW // 2))


class _LayerNorm:
    """A LayerNorm over the channels."""

    def __init__(self, layer: Any, device: torch.device) -> None:
        self._weight, self._bias = copy_to(layer.weight, device), copy_to(layer.bias, device)
        self._eps = layer.eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self._weight.shape, self._weight, self._bias, self._eps)


class _Block:
    """One transformer block: attention within windows, then a perceptron (MLP) for every token."""

    def __init__(self, block: Any, *, device: torch.device, dtype: torch.dtype, share_weights: bool) -> None:
        def linear(layer: Any, *, gelu: bool = False) -> Linear:
            return Linear(
                layer.weight,
                layer.bias,
                device=device,
                dtype=dtype,
                gelu=gelu,
                share_weights=share_weights,
            )

        attention = block.attn
        self._dtype = dtype
        self._heads: int = attention.num_heads
        self._is_shifted = bool(block.shift_size)
        self._norm1, self._norm2 = _LayerNorm(block.norm1, device), _LayerNorm(block.norm2, device)
        self._qkv, self._proj = linear(attention.qkv), linear(attention.proj)
        self._up, self._down = linear(block.mlp.fc1, gelu=True), linear(block.mlp.fc2)
        table, index = attention.relative_position_bias_table, attention.relative_position_index
        bias = copy_to(table, device)[index.flatten().to(device)].view(_WINDOW_TOKENS, _WINDOW_TOKENS, -1)
        bias = bias.permute(2, 0, 1).unsqueeze(0)
        no_mask = torch.zeros(_WINDOW_TOKENS, _WINDOW_TOKENS, device=device)
        masks = _shift_masks(device) if self._is_shifted else [no_mask]
        self._biases = [(bias + mask).to(dtype).contiguous() for mask in masks]

    def __call__(self, tokens: torch.Tensor, windows: Windows) -> torch.Tensor:
        """Tokens x channels to tokens x channels; overwrites its input."""
        partition = windows.shifted if self._is_shifted else windows.plain
        attended = self._attend(self._attention_input(tokens), partition)
        attended = attended.index_select(0, partition.scatter)
        for rows in chunks(len(tokens), CHUNK_TOKENS, tokens.device):
            chunk = tokens[rows]
            chunk += self._proj(attended[rows])
            chunk += self._down(self._up(self._norm2(chunk).to(self._dtype)))
        return tokens

    def _attention_input(self, tokens: torch.Tensor) -> torch.Tensor:
        """The normalised tokens, followed by one token of zeros: the padding."""
        result = tokens.new_empty(len(tokens) + 1, tokens.shape[1], dtype=self._dtype)
        result[-1] = 0
        for rows in chunks(len(tokens), CHUNK_TOKENS, tokens.device):
            result[rows] = self._norm1(tokens[rows])
        return result

    def _attend(self, tokens: torch.Tensor, partition: Partition) -> torch.Tensor:
        """The result of the attention for each position of each window: positions x channels."""
        channels = tokens.shape[1]
        result = tokens.new_empty(len(partition.gather), channels)
        kinds = list(pairwise(accumulate(partition.counts, initial=0)))
        for windows in chunks(sum(partition.counts), CHUNK_TOKENS // _WINDOW_TOKENS, tokens.device):
            indices = partition.gather[windows.start * _WINDOW_TOKENS : windows.stop * _WINDOW_TOKENS]
            qkv = self._qkv(tokens.index_select(0, indices))
            qkv = qkv.view(-1, _WINDOW_TOKENS, 3, self._heads, channels // self._heads)
            query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()
            for (begin, end), bias in zip(kinds, self._biases, strict=True):
                first, last = max(begin, windows.start), min(end, windows.stop)
                if first < last:
                    same_kind = slice(first - windows.start, last - windows.start)
                    attended = functional.scaled_dot_product_attention(
                        query[same_kind], key[same_kind], value[same_kind], attn_mask=bias
                    )
                    positions = slice(first * _WINDOW_TOKENS, last * _WINDOW_TOKENS)
                    result[positions] = attended.transpose(1, 2).reshape(-1, channels)
        return result


def _shift_masks(device: torch.device) -> list[torch.Tensor]:
    """What is added to the attention in a shifted window of each kind, to keep tokens of different regions apart."""
    late = torch.arange(WINDOW, device=device) >= WINDOW // 2
    row, column = late.repeat_interleave(WINDOW).long(), late.repeat(WINDOW).long()
    regions = [torch.zeros_like(row), row, column, row * 2 + column]
    return [(region[:, None] != region[None, :]).float() * _MASKED for region in regions]


def _merge_neighbours(grid: torch.Tensor) -> torch.Tensor:
    """H x W x C to H/2 x W/2 x 4C, in the channel order of the network; an odd side is padded with zeros."""
    height, width = grid.shape[:2]
    if height % 2 or width % 2:
        grid = functional.pad(grid, (0, 0, 0, width % 2, 0, height % 2))
    return torch.cat([grid[0::2, 0::2], grid[1::2, 0::2], grid[0::2, 1::2], grid[1::2, 1::2]], -1)


def _as_map(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Tokens x C as a map of 1 x C x H x W, channels-last, without a copy."""
    return tokens.view(1, height, width, -1).permute(0, 3, 1, 2)
