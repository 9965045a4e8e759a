"""The image pyramid (the package's ``ImagePyramid``): combines a coarse map and a Laplacian to a map of twice the size.

``model`` calls it after each attention stage. The results must equal those of the package's class up to rounding. What
is different: a map is expanded along one axis and then along the other, and only by the taps of the kernel that do not
meet zeros: 7 multiplications for each pixel instead of 49.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from service.engines.inspyrenet.forward.layers import copy_to


class Pyramid:
    """A map of twice the size from a coarse map and a Laplacian.

    Args:
        pyramid: the package's ``ImagePyramid``, of one channel.
        device: where it computes.
    """

    def __init__(self, pyramid: Any, device: torch.device) -> None:
        # The Gaussian kernel is the product of two equal factors, and its sum over one axis is one of them. It is
        # doubled, because half of the samples of an expanded map are zeros.
        self._taps = copy_to(pyramid.kernel[0, 0].sum(0) * 2, device)

    def __call__(self, coarse: torch.Tensor, laplacian: torch.Tensor) -> torch.Tensor:
        """The sum of the expanded coarse map and the Laplacian: 1 x 1 x 2H x 2W, float32.

        Args:
            coarse: 1 x 1 x H x W, each side at least 2.
            laplacian: of any size.
        """
        expanded = self._expanded(self._expanded(coarse, 2), 3)
        if laplacian.shape != expanded.shape:
            laplacian = functional.interpolate(
                laplacian, expanded.shape[-2:], mode="bilinear", align_corners=True
            )
        return expanded.add_(laplacian)

    def _expanded(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """The map expanded to twice its length along one axis.

        The package inserts zeros between the samples, reflects the ends, and applies seven taps, half of which meet
        zeros. Here only the others are applied.
        """
        length = x.shape[axis]
        before, last, beside = (x.narrow(axis, index, 1) for index in (1, length - 1, length - 2))
        padded = torch.cat([before, x, last, beside], axis)

        def filtered(taps: torch.Tensor) -> torch.Tensor:
            result = taps[0] * padded.narrow(axis, 0, length)
            for shift, tap in enumerate(taps[1:], 1):
                result += tap * padded.narrow(axis, shift, length)
            return result

        return torch.stack([filtered(self._taps[1::2]), filtered(self._taps[::2])], axis + 1).flatten(
            axis, axis + 1
        )
