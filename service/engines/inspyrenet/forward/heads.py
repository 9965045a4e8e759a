"""What turns the backbone's maps into a coarse mask, and puts masks together: contexts, decoder, pyramid; rearranged.

What is different from the package's own modules, with the same results up to rounding:

* Every BatchNorm is folded into its convolution, convolutions of the same input are one, and maps are channels-last.
* The pyramid expands a map along one axis, then the other, by the taps that do not meet zeros: 7 instead of 49.

Saliency logits and every softmax are float32, whatever the features are.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.forward.layers import Convolution, fold, frozen, pixel_rows

_CHANNELS_LAST = torch.channels_last


class Context:
    """A PAA encoder: the features of one backbone map, 64 channels.

    Args:
        module: the package's ``PAA_e``.
        device: where it computes.
        dtype: of features and weights.
    """

    def __init__(self, module: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
        encoder = cast("Any", module)
        branches = encoder.branch1, encoder.branch2, encoder.branch3
        first = [fold(layer) for layer in (encoder.branch0, encoder.conv_res, *(b.conv0 for b in branches))]
        self._dtype = dtype
        self._first = Convolution(
            torch.cat([weight for weight, _ in first]),
            torch.cat([bias for _, bias in first]),
            device=device,
            dtype=dtype,
        )
        self._branches = [_Branch(branch, device=device, dtype=dtype) for branch in branches]
        self._last = Convolution.folded(encoder.conv_cat, device=device, dtype=dtype)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """1 x C x H x W to 1 x 64 x H x W."""
        together = self._first(features.to(self._dtype, memory_format=_CHANNELS_LAST))
        plain, residual, *inputs = (
            part.contiguous(memory_format=_CHANNELS_LAST)
            for part in together.chunk(2 + len(self._branches), dim=1)
        )
        outputs = [branch(part) for branch, part in zip(self._branches, inputs, strict=True)]
        return self._last.plus(torch.cat([plain, *outputs], 1), residual)


class _Branch:
    """A PAA kernel after its first convolution."""

    def __init__(self, branch: Any, *, device: torch.device, dtype: torch.dtype) -> None:
        self._row = Convolution.folded(branch.conv1, device=device, dtype=dtype)
        self._column = Convolution.folded(branch.conv2, device=device, dtype=dtype)
        self._attention = AxialAttention(branch.Hattn, branch.Wattn, device=device, dtype=dtype)
        self._last = Convolution.folded(branch.conv3, device=device, dtype=dtype, gain=2.0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._last(self._attention(self._column(self._row(x))))


class AxialAttention:
    """Half the sum of a vertical and a horizontal self-attention, their residuals included.

    The network reinterprets flat channel-major memory as (rest, axis), which mixes both axes where the image is not
    square; so does this. The half is for the caller to take back: the sum of both residuals is then one.

    Args:
        vertical: the package's ``SelfAttention`` over the height.
        horizontal: the same over the width.
        device: where it computes.
        dtype: of features and weights; the attention's weights are computed in float32.
    """

    def __init__(
        self, vertical: nn.Module, horizontal: nn.Module, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        layers = []
        for module in (cast("Any", vertical), cast("Any", horizontal)):
            weight, bias = fold(module.value_conv)
            half = module.gamma.detach().float() / 2
            layers += [fold(module.query_conv), fold(module.key_conv), (weight * half, bias * half)]
        self._sizes = [weight.shape[0] for weight, _ in layers]
        self._weight = frozen(torch.cat([weight.flatten(1) for weight, _ in layers]), device, dtype)
        self._bias = frozen(torch.cat([bias for _, bias in layers]), device, dtype).unsqueeze(1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """1 x C x H x W to the same; channels-last."""
        height, width = x.shape[-2:]
        # A product instead of a convolution of 1 x 1: its result is channel-major, as the reinterpretation needs it.
        projected = torch.addmm(self._bias, self._weight, pixel_rows(x).t())
        query1, key1, value1, query2, key2, value2 = torch.split(projected, self._sizes)
        total = _attend(query1, key1, value1, height).add_(_attend(query2, key2, value2, width))
        total = total.view(1, -1, height, width).contiguous(memory_format=_CHANNELS_LAST)
        return total.add_(x)


class Decoder:
    """The PAA decoder: features and the first, coarse saliency logits.

    Args:
        module: the package's ``PAA_d``.
        device: where it computes.
        dtype: of features and weights.
    """

    def __init__(self, module: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
        decoder = cast("Any", module)

        def convolution(layer: nn.Module, gain: float = 1.0) -> Convolution:
            return Convolution.folded(layer, device=device, dtype=dtype, gain=gain)

        self._dtype = dtype
        self._first = convolution(decoder.conv1)
        self._attention = AxialAttention(decoder.Hattn, decoder.Wattn, device=device, dtype=dtype)
        self._rest = [convolution(decoder.conv2, 2.0), convolution(decoder.conv3), convolution(decoder.conv4)]
        self._logits = convolution(decoder.conv5)

    def __call__(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Three maps, the finest first, to features and float32 logits at the size of the finest."""
        size = maps[0].shape[-2:]
        enlarged = [
            functional.interpolate(features.to(self._dtype), size=size, mode="bilinear", align_corners=True)
            for features in maps[:0:-1]
        ]
        x = torch.cat([*enlarged, maps[0].to(self._dtype)], 1)
        x = self._attention(self._first(x.contiguous(memory_format=_CHANNELS_LAST)))
        for convolution in self._rest:
            x = convolution(x)
        return x, self._logits(x).float()


class Pyramid:
    """The image pyramid: a map of twice the size from a coarse map and a Laplacian.

    Args:
        pyramid: the package's ``ImagePyramid``, of one channel.
        device: where it computes.
    """

    def __init__(self, pyramid: Any, device: torch.device) -> None:
        # The Gaussian kernel is a product: its marginal is one factor. Twice that, since half the samples are zeros.
        self._taps = frozen(pyramid.kernel[0, 0].sum(0) * 2, device)

    def __call__(self, coarse: torch.Tensor, laplacian: torch.Tensor) -> torch.Tensor:
        """1 x 1 x H x W (each at least 2) to 1 x 1 x 2H x 2W, float32."""
        expanded = self._expanded(self._expanded(coarse, 2), 3)
        if laplacian.shape != expanded.shape:
            laplacian = functional.interpolate(
                laplacian, expanded.shape[-2:], mode="bilinear", align_corners=True
            )
        return expanded.add_(laplacian)

    def _expanded(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Twice as long: zeros between the samples, reflected at the ends, then seven taps of which half meet zeros."""
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


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, length: int) -> torch.Tensor:
    """Self-attention along an axis of ``length``; channel-major memory is read as (rest, axis)."""
    query, key = query.reshape(-1, length).float(), key.reshape(-1, length).float()
    attention = functional.softmax(query.t() @ key, dim=-1).to(value.dtype)
    return (value.reshape(-1, length) @ attention.t()).flatten()
