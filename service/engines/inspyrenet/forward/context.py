"""The context modules (the package's ``PAA_e``): 64 channels of features from one map of the backbone.

``model`` has one for each of the five maps. The results must equal those of the package's module up to rounding. What
is different: every BatchNorm is folded into its convolution, convolutions of the same input are computed as one, and
maps are channels-last.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from service.engines.inspyrenet.forward.axial_attention import AxialAttention
from service.engines.inspyrenet.forward.layers import Convolution, fold_batch_norm


class Context:
    """The features of one map of the backbone.

    Args:
        module: the package's ``PAA_e``.
        device: where it computes.
        dtype: of features and weights.
    """

    def __init__(self, module: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
        encoder = cast("Any", module)
        branches = encoder.branch1, encoder.branch2, encoder.branch3
        blocks = encoder.branch0, encoder.conv_res, *(branch.conv0 for branch in branches)
        first = [fold_batch_norm(block) for block in blocks]
        self._dtype = dtype
        self._first = Convolution(
            torch.cat([weight for weight, _ in first]),
            torch.cat([bias for _, bias in first]),
            device=device,
            dtype=dtype,
        )
        self._branches = [_Branch(branch, device=device, dtype=dtype) for branch in branches]
        self._last = Convolution.from_block(encoder.conv_cat, device=device, dtype=dtype)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """1 x C x H x W to 1 x 64 x H x W."""
        together = self._first(features.to(self._dtype, memory_format=torch.channels_last))
        plain, residual, *inputs = (
            part.contiguous(memory_format=torch.channels_last)
            for part in together.chunk(2 + len(self._branches), dim=1)
        )
        outputs = [branch(part) for branch, part in zip(self._branches, inputs, strict=True)]
        return self._last.add_relu(torch.cat([plain, *outputs], 1), residual)


class _Branch:
    """One of three branches (the package's ``PAA_kernel``) after its first convolution."""

    def __init__(self, branch: Any, *, device: torch.device, dtype: torch.dtype) -> None:
        self._row = Convolution.from_block(branch.conv1, device=device, dtype=dtype)
        self._column = Convolution.from_block(branch.conv2, device=device, dtype=dtype)
        self._attention = AxialAttention(branch.Hattn, branch.Wattn, device=device, dtype=dtype)
        # The gain doubles what the attention halves.
        self._last = Convolution.from_block(branch.conv3, device=device, dtype=dtype, gain=2.0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._last(self._attention(self._column(self._row(x))))
