"""The decoder (the package's ``PAA_d``): features and the first, coarse saliency logits.

``model`` calls it once in each pass, with the three deepest maps. The results must equal those of the package's module
up to rounding. What is different: every BatchNorm is folded into its convolution, and maps are channels-last. The
saliency logits are always float32.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.forward.axial_attention import AxialAttention
from service.engines.inspyrenet.forward.layers import Convolution


class Decoder:
    """Features and coarse saliency logits from the three deepest maps.

    Args:
        module: the package's ``PAA_d``.
        device: where it computes.
        dtype: of features and weights.
    """

    def __init__(self, module: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
        decoder = cast("Any", module)

        def convolution(block: nn.Module, gain: float = 1.0) -> Convolution:
            return Convolution.from_block(block, device=device, dtype=dtype, gain=gain)

        self._dtype = dtype
        self._first = convolution(decoder.conv1)
        self._attention = AxialAttention(decoder.Hattn, decoder.Wattn, device=device, dtype=dtype)
        # The gain doubles what the attention halves.
        self._rest = [convolution(decoder.conv2, 2.0), convolution(decoder.conv3), convolution(decoder.conv4)]
        self._logits = convolution(decoder.conv5)

    def __call__(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and float32 logits at the size of the finest map.

        Args:
            maps: three, the finest first.
        """
        size = maps[0].shape[-2:]
        enlarged = [
            functional.interpolate(features.to(self._dtype), size=size, mode="bilinear", align_corners=True)
            for features in maps[:0:-1]
        ]
        x = torch.cat([*enlarged, maps[0].to(self._dtype)], 1)
        x = self._attention(self._first(x.contiguous(memory_format=torch.channels_last)))
        for convolution in self._rest:
            x = convolution(x)
        return x, self._logits(x).float()
