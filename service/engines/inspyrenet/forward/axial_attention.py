"""Self-attention along the columns and along the rows of a map, for the context modules and the decoder.

``context`` and ``decoder`` call it. The results must equal those of the package's ``SelfAttention`` up to rounding. The
softmax is always float32. What is different: the projections of both directions are one multiplication, and the
attention between all pairs of positions on an axis never exists as a whole if the axis is long. So the memory grows
with the length of the axis, not with its square.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.forward.layers import copy_to, fold_batch_norm, pixel_rows

PIECE_VALUES = 1 << 22
"""Values of the attention between positions that exist at once, on every device: 16 MiB in float32. An axis of up to
2048 positions (a side of 8192 pixels, at a quarter of the resolution) is a single piece."""


class AxialAttention:
    """Half the sum of a vertical and a horizontal self-attention, including their residuals.

    The package's module reinterprets flat channel-major memory as (rest, axis). That mixes both axes if the image is
    not square, and the same happens here. Because of the half, the two residuals add up to the input itself. The caller
    has to double the result, which it does with the gain of its next convolution.

    Args:
        vertical: the package's ``SelfAttention`` over the height.
        horizontal: the same over the width.
        device: where it computes.
        dtype: of features and weights; the softmax is computed in float32.
    """

    def __init__(
        self, vertical: nn.Module, horizontal: nn.Module, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        layers = []
        for module in (cast("Any", vertical), cast("Any", horizontal)):
            weight, bias = fold_batch_norm(module.value_conv)
            half = module.gamma.detach().float() / 2
            layers += [
                fold_batch_norm(module.query_conv),
                fold_batch_norm(module.key_conv),
                (weight * half, bias * half),
            ]
        self._sizes = [weight.shape[0] for weight, _ in layers]
        self._weight = copy_to(torch.cat([weight.flatten(1) for weight, _ in layers]), device, dtype)
        self._bias = copy_to(torch.cat([bias for _, bias in layers]), device, dtype).unsqueeze(1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """1 x C x H x W to the same; channels-last."""
        height, width = x.shape[-2:]
        # A matrix product instead of a 1 x 1 convolution: the reinterpretation needs its result channel-major.
        projected = torch.addmm(self._bias, self._weight, pixel_rows(x).t())
        query1, key1, value1, query2, key2, value2 = torch.split(projected, self._sizes)
        total = _attend(query1, key1, value1, height).add_(_attend(query2, key2, value2, width))
        total = total.view(1, -1, height, width).contiguous(memory_format=torch.channels_last)
        return total.add_(x)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, length: int) -> torch.Tensor:
    """Self-attention along an axis of that length; channel-major memory is read as (rest, axis).

    Every position has a softmax of its own, so the positions are worked through in pieces.
    """
    query, key = query.reshape(-1, length).float(), key.reshape(-1, length).float()
    value = value.reshape(-1, length)

    def attended(positions: slice) -> torch.Tensor:
        attention = functional.softmax(query[:, positions].t() @ key, dim=-1).to(value.dtype)
        return value @ attention.t()

    step = max(1, PIECE_VALUES // length)
    pieces = [attended(slice(start, start + step)) for start in range(0, length, step)]
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)).flatten()
