"""The whole forward pass: the function and the weights of the package's network, computed in another order.

``session`` builds it from the package's network and calls it for every mask. The masks must equal those of the
package's own modules up to rounding: ``tests/service/engines/inspyrenet/forward/test_model.py`` compares both, and
``benchmarks/forward.py`` measures both.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import torch
from torch import nn

from service.engines.inspyrenet.forward.attention_stage import AttentionStage
from service.engines.inspyrenet.forward.context import Context
from service.engines.inspyrenet.forward.decoder import Decoder
from service.engines.inspyrenet.forward.interpolation import enlarge
from service.engines.inspyrenet.forward.pyramid import Pyramid
from service.engines.inspyrenet.forward.swin import Backbone

PARTS = (
    "backbone",
    *(f"context{number}" for number in range(1, 6)),
    "decoder",
    *(f"attention{number}" for number in range(3)),
)
"""The network's parts, with their names in the checkpoint. Each part computes in one precision."""


class Forward:
    """The network with constant weights, ready to compute.

    It keeps no state during or between passes. It references the package's network only if it shares weights.

    Args:
        network: the package's ``InSPyReNet``, in evaluation mode, with its weights in float32 in main memory.
        device: where it computes.
        reduced: the parts that compute in bfloat16; see :mod:`service.engines.inspyrenet.precision`.
        share_weights: compute with the network's own float32 tensors in the backbone, which has most of them, instead
            of copies in the fastest layout. That is faster if only a few passes follow.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        *,
        reduced: Collection[str] = (),
        share_weights: bool = False,
    ) -> None:
        if unknown := set(reduced) - set(PARTS):
            raise ValueError(f"the network has no parts named {sorted(unknown)}; it has {', '.join(PARTS)}")

        def precision(part: str) -> torch.dtype:
            return torch.bfloat16 if part in reduced else torch.float32

        def attention_stage(number: int) -> AttentionStage:
            part = f"attention{number}"
            return AttentionStage(network.get_submodule(part), device=device, dtype=precision(part))

        with torch.inference_mode():
            self._backbone = Backbone(
                network.get_submodule("backbone"),
                device=device,
                dtype=precision("backbone"),
                share_weights=share_weights,
            )
            self._contexts = [
                Context(network.get_submodule(part), device=device, dtype=precision(part))
                for part in PARTS
                if part.startswith("context")
            ]
            self._decoder = Decoder(
                network.get_submodule("decoder"), device=device, dtype=precision("decoder")
            )
            self._attention2, self._attention1, self._attention0 = map(attention_stage, (2, 1, 0))
            self._pyramid = Pyramid(cast("Any", network).image_pyramid, device)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The mask of one image; see ``with_confidence``."""
        return self.with_confidence(image)[0]

    def with_confidence(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mask of one image, and its greatest value before it was stretched.

        Args:
            image: 1 x 3 x H x W, float32, normalised, H and W multiples of 32.

        Returns:
            The mask, 1 x 1 x H x W, float32, its range stretched to 0-1; and a scalar from 0 to 1.
        """
        height, width = image.shape[-2:]
        quarter, half = (height // 4, width // 4), (height // 2, width // 2)
        x1, x2, x3, x4, x5 = (
            context(features) for context, features in zip(self._contexts, self._backbone(image), strict=True)
        )
        coarse, saliency = self._decoder([x3, x4, x5])
        features, laplacian2 = self._attention2(
            torch.cat([x2, enlarge(coarse.to(x2.dtype), quarter)], 1), quarter, saliency
        )
        saliency = self._pyramid(saliency, laplacian2)
        # Both inputs are enlarged by the same factor. The stage does that for both together, and only in strips.
        features, laplacian1 = self._attention1(
            torch.cat([x1, features.to(x1.dtype)], 1), half, saliency, laplacian2
        )
        saliency = self._pyramid(saliency, laplacian1)
        laplacian0 = self._attention0.logits(features, (height, width), saliency, laplacian1)
        mask = torch.sigmoid(self._pyramid(saliency, laplacian0))
        low, high = mask.aminmax()
        return (mask - low) / (high - low + 1e-8), high
