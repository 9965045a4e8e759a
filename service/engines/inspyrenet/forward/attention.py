"""The attention stages (SICA), which refine the saliency at one resolution after another; rearranged.

What is different from the package's own module, with the same results up to rounding:

* Every BatchNorm is folded into its convolution, and maps are channels-last.
* A stage spreads three or five context vectors over the image by weights of as many channels; its next convolution is
  linear, so it is applied to those few channels rather than to the 64 that they spread.
* It sums its features over a fixed base size, whatever the image's: up to a million positions for a thumbnail. The
  enlargement is linear, so its rows are applied to the weights instead, and only the columns of the features are
  enlarged (:func:`pooled_context`).
* On a CPU it works through the image in strips: of a large one, no map of 64 channels ever exists at full size.

Saliency logits, probabilities, the sums over positions and the softmax are float32, whatever the features are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.forward.layers import Convolution, fold, frozen, pieces, pixel_rows

_CHANNELS_LAST = torch.channels_last

CACHED_PIXELS = 1 << 15
"""Pixels whose channels are widened to float32 at a time on a CPU, rather than all of them at once."""

POOLED_VALUES = 1 << 22
"""Values of the features that a CPU pools at a time."""

STRIP_PIXELS = 1 << 17
"""Pixels of the strip of an image that a CPU works on at a time."""

STRIP_ROWS = 64
"""Rows that it may have at any width: its margins are computed twice."""

_MARGIN = 5
"""Rows of its surroundings that a pixel of a stage depends on: as many convolutions of 3 x 3 follow each other."""


class AttentionStage:
    """SICA: refines the saliency at one resolution; features and the logits of the Laplacian to add.

    Args:
        module: the package's ``SICA``.
        device: where it computes.
        dtype: of features and weights.
    """

    def __init__(self, module: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
        stage = cast("Any", module)

        def convolution(layer: nn.Module, **more: Any) -> Convolution:
            return Convolution.folded(layer, device=device, dtype=dtype, **more)

        def float32(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
            weight, bias = fold(layer)
            return frozen(weight, device), frozen(bias, device)

        features: int = stage.in_channel
        self._depth: int = stage.depth
        self._dtype = dtype
        self._base_size: tuple[int, int] = stage.stage_size
        self._scale: float = stage.depth**-0.5
        self._thresholds = [frozen(stage.threshold, device)]
        if stage.lmap_in:
            self._thresholds.append(frozen(stage.lthreshold, device))
        self._query = [convolution(layer) for layer in stage.conv_query]
        self._key = [float32(layer) for layer in stage.conv_key]
        self._value = [float32(layer) for layer in stage.conv_value]
        self._spread = float32(stage.conv_out1)
        # The convolution of two concatenated maps is the sum of two convolutions.
        self._merge_features = convolution(stage.conv_out2, inputs=slice(features), relu=False)
        self._merge_context = convolution(stage.conv_out2, inputs=slice(features, None), bias=False)
        self._last = convolution(stage.conv_out3)
        self._logits = float32(stage.conv_out4)

    def __call__(
        self,
        source: torch.Tensor,
        size: tuple[int, int],
        saliency: torch.Tensor,
        laplacian: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and float32 logits at ``size``.

        Args:
            source: 1 x C x h x w, the features before they are enlarged; ``size`` is a multiple of theirs.
            size: (height, width) to work at.
            saliency: float32 logits so far, of any size.
            laplacian: float32 logits of the stage before, of any size; None in the first stage.
        """
        shape = (1, self._depth, *size)
        features = torch.empty(shape, dtype=self._dtype, device=source.device, memory_format=_CHANNELS_LAST)
        return features, self.logits(source, size, saliency, laplacian, features=features)

    def logits(
        self,
        source: torch.Tensor,
        size: tuple[int, int],
        saliency: torch.Tensor,
        laplacian: torch.Tensor | None,
        *,
        features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The logits; the features only if there is somewhere to write them."""
        height, width = size
        refine = self._refinement(source, size, saliency, laplacian)
        logits = saliency.new_empty(1, 1, height, width)
        for rows in pieces(height, max(STRIP_PIXELS // width, STRIP_ROWS), source.device):
            y, logits[:, :, rows] = refine(rows)
            if features is not None:
                features[:, :, rows] = y
            del y  # its memory is for the next strip
        return logits

    def _refinement(
        self,
        source: torch.Tensor,
        size: tuple[int, int],
        saliency: torch.Tensor,
        laplacian: torch.Tensor | None,
    ) -> Callable[[slice], tuple[torch.Tensor, torch.Tensor]]:
        """What computes features and logits of some rows."""
        height, width = size
        probabilities = self._probabilities(size, saliency, laplacian)
        context = pooled_context(enlarged(probabilities, self._base_size)[0], source, size)
        key, value = _vectors(context, self._key) * self._scale, _vectors(context, self._value)
        # The first output convolution, of the context vectors spread by their weights: 5 channels instead of 64.
        kernel = torch.einsum("ochw,vc->ovhw", self._spread[0], value).to(self._dtype)
        kernel, bias = kernel.contiguous(memory_format=_CHANNELS_LAST), self._spread[1].to(self._dtype)
        source = source.to(self._dtype)
        weight, offset = self._logits[0].flatten(1), self._logits[1].unsqueeze(1)

        def refine(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
            # At the edges of a strip the convolutions meet zeros where the image goes on: that is what margins are for.
            above, below = max(rows.start - _MARGIN, 0), min(rows.stop + _MARGIN, height)
            x = enlarged_rows(source, size, above, below)
            similarity = _pointwise(self._query[1](self._query[0](x)), key)
            weights = functional.softmax(similarity, dim=0).view(1, -1, below - above, width)
            weights = weights.to(self._dtype, memory_format=_CHANNELS_LAST)
            y = functional.conv2d(weights, kernel, bias, padding=1).relu_()
            y = self._last(self._merge_context.plus(y, self._merge_features(x)))
            y = y[:, :, rows.start - above : rows.stop - above]
            return y, (_pointwise(y, weight) + offset).view(1, 1, -1, width)

        return refine

    def _probabilities(
        self, size: tuple[int, int], saliency: torch.Tensor, laplacian: torch.Tensor | None
    ) -> torch.Tensor:
        """How much each pixel is foreground, background, undecided and, from the Laplacian, detail of either."""
        threshold = self._thresholds[0]
        above = torch.sigmoid(enlarged(saliency, size)) - threshold
        maps = [above.clip(0, 1), (-above).clip(0, 1), threshold - above.abs()]
        if laplacian is not None:
            detail = torch.sigmoid(enlarged(laplacian, size)) - self._thresholds[1]
            maps += [detail.clip(0, 1), (-detail).clip(0, 1)]
        return torch.cat(maps, 1)


def pooled_context(probabilities: torch.Tensor, source: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Features summed over all positions of the base size, weighted by each of the probability maps.

    The network enlarges ``source`` to ``size``, then to the base size, and reads the flat channel-major result as
    (positions, C): channel c of position n is the element n * C + c. Where a row of the base size is a whole number of
    such positions, each is a run of C pixels of one row of one channel. Enlarging rows is then the same linear map for
    every element, and sum(P * enlarge(f)) = sum(adjoint(P) * f): the rows of the few maps are reduced, instead of
    those of all features being enlarged.

    Args:
        probabilities: maps x height x width of the base size, float32.
        source: 1 x C x h x w.
        size: (height, width) that the features are enlarged to before the base size.

    Returns:
        maps x C, float32.
    """
    maps, base_height, base_width = probabilities.shape
    channels, rows = source.shape[1:3]
    if base_width % channels:
        features = enlarged(enlarged(source.float().contiguous(), size), (base_height, base_width))
        return probabilities.flatten(1) @ features.contiguous().view(-1, channels)
    runs = base_width // channels
    weights = probabilities.reshape(1, maps * channels, base_height, runs)
    weights = _reduce_rows(_reduce_rows(weights, size[0]), rows).view(maps, channels, -1)
    context = weights.new_zeros(maps, channels)
    for these in pieces(channels, max(POOLED_VALUES // (rows * base_width), 1), source.device):
        features = source[:, these].float().contiguous()
        features = enlarged(enlarged(features, (rows, size[1])), (rows, base_width))
        context += weights[:, these].reshape(maps, -1) @ features.view(-1, channels)
        del features  # its memory is for the next piece
    return context


def enlarged(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear interpolation to (height, width), as the network does it; nothing where the size is that already."""
    if x.shape[-2:] == size:
        return x
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def enlarged_rows(x: torch.Tensor, size: tuple[int, int], start: int, stop: int) -> torch.Tensor:
    """Rows ``start`` to ``stop`` of ``enlarged(x, size)``, which is a whole number of times as high."""
    rows, height = x.shape[2], size[0]
    if height % rows:
        raise ValueError(f"{height} rows are no multiple of {rows}")
    factor = height // rows
    above, below = max(start // factor - 1, 0), min(-(-stop // factor) + 1, rows)
    some = enlarged(x[:, :, above:below], ((below - above) * factor, size[1]))
    return some[:, :, start - above * factor : stop - above * factor]


def _reduce_rows(weights: torch.Tensor, rows: int) -> torch.Tensor:
    """The adjoint of the interpolation of ``rows`` rows to those of ``weights``."""
    _, channels, height, width = weights.shape
    if height == rows:
        return weights
    reduced: torch.Tensor = torch.ops.aten.upsample_bilinear2d_backward(
        weights, [height, width], [1, channels, rows, width], align_corners=False
    )
    return reduced


def _vectors(context: torch.Tensor, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Convolutions of 1 x 1 with ReLUs, of context vectors: n x C to n x depth."""
    for weight, bias in layers:
        context = functional.linear(context, weight.flatten(1), bias).relu_()
    return context


def _pointwise(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A convolution of 1 x 1 in float32 of a channels-last map of any precision: outputs x pixels."""
    rows = pixel_rows(x)
    if x.dtype == torch.float32 or x.device.type != "cpu":
        return weight @ rows.float().t()
    result = weight.new_empty(weight.shape[0], rows.shape[0])
    for start in range(0, rows.shape[0], CACHED_PIXELS):
        these = slice(start, start + CACHED_PIXELS)
        result[:, these] = weight @ rows[these].float().t()
    return result
