"""The forward pass of the network of ``transparent_background``: its weights, its function, another order of work.

``benchmarks/forward.py`` measures it beside the package's own modules, and
``tests/service/engines/inspyrenet/test_forward.py`` holds it to their masks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import torch
from torch import nn

from service.engines.inspyrenet.forward.attention import AttentionStage, enlarged
from service.engines.inspyrenet.forward.heads import Context, Decoder, Pyramid
from service.engines.inspyrenet.forward.swin import Backbone

PARTS = (
    "backbone",
    *(f"context{number}" for number in range(1, 6)),
    "decoder",
    *(f"attention{number}" for number in range(3)),
)
"""The network's parts, by their names in the checkpoint; each has one precision."""


class Forward:
    """The network with frozen weights, ready to compute; refers to the package's network only if it borrows.

    Holds no state of its own between or during passes.

    Args:
        network: the package's ``InSPyReNet``, in evaluation mode, with its weights in float32 in main memory.
        device: where it computes.
        reduced: the parts that compute in bfloat16; see :mod:`service.engines.inspyrenet.precision`.
        borrow: compute with the network's own float32 tensors, where they are most: for the few passes until it is
            known which precision serves, copying them into the fastest layout takes longer than it saves.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        *,
        reduced: Collection[str] = (),
        borrow: bool = False,
    ) -> None:
        if unknown := set(reduced) - set(PARTS):
            raise ValueError(f"the network has no parts {sorted(unknown)}; it has {', '.join(PARTS)}")

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
                borrow=borrow,
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
        """The mask of one image.

        Args:
            image: 1 x 3 x H x W, float32, normalised, H and W multiples of 32.

        Returns:
            1 x 1 x H x W, float32, stretched to 0-1.
        """
        height, width = image.shape[-2:]
        quarter, half = (height // 4, width // 4), (height // 2, width // 2)
        x1, x2, x3, x4, x5 = (
            context(features) for context, features in zip(self._contexts, self._backbone(image), strict=True)
        )
        coarse, saliency = self._decoder([x3, x4, x5])
        features, laplacian2 = self._attention2(
            torch.cat([x2, enlarged(coarse.to(x2.dtype), quarter)], 1), quarter, saliency
        )
        saliency = self._pyramid(saliency, laplacian2)
        # Both are enlarged by the same factor: better together, in the stage, which need not enlarge all of it.
        features, laplacian1 = self._attention1(
            torch.cat([x1, features.to(x1.dtype)], 1), half, saliency, laplacian2
        )
        saliency = self._pyramid(saliency, laplacian1)
        laplacian0 = self._attention0.logits(features, (height, width), saliency, laplacian1)
        mask = torch.sigmoid(self._pyramid(saliency, laplacian0))
        low, high = mask.aminmax()
        return (mask - low) / (high - low + 1e-8)
