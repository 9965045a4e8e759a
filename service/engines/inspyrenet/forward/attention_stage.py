"""The attention stages (the package's ``SICA``), each of which refines the saliency at one resolution.

``model`` has three and calls them from the coarsest to the finest. The results must equal those of the package's module
up to rounding. What is different:

* Every BatchNorm is folded into its convolution, and maps are channels-last.
* A stage distributes three or five context vectors over the image, with a weight for each vector and pixel. The next
  convolution is linear, so it is applied to these few maps of weights, instead of to the 64 channels that result.
* A stage sums its features over a base size that does not depend on the image: up to a million positions even for a
  thumbnail. Enlarging is linear. So the vertical part of it is applied to the weights of the sum instead, and only the
  columns of the features are enlarged (:func:`pooled_context`).
* On a CPU, a stage works through the image in blocks. So a map of 64 channels never exists for a whole large image,
  whatever its shape.

Saliency logits, probabilities, the sums over positions and the softmax are always float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.forward.interpolation import enlarge, enlarge_block, enlarge_rows_adjoint
from service.engines.inspyrenet.forward.layers import (
    Convolution,
    chunks,
    copy_to,
    fold_batch_norm,
    pixel_rows,
)

_CHANNELS_LAST = torch.channels_last

FLOAT32_PIXELS = 1 << 15
"""Pixels whose channels a CPU converts to float32 at once, so that they stay in its cache."""

POOLED_VALUES = 1 << 22
"""Values of the features, enlarged along the rows, that a CPU sums up at once."""

BLOCK_PIXELS = 1 << 17
"""Pixels of a block: the part of an image that a CPU works on at once."""

BLOCK_ROWS = 64
"""Rows of a block of a wide image. The margins of a block are computed twice; with fewer rows, they would be a larger
share of the work. So a block is at most 2048 pixels wide."""

_MARGIN = 5
"""Rows and columns around a pixel that its result depends on: a stage has five 3 x 3 convolutions in sequence."""


class AttentionStage:
    """Refines the saliency at one resolution: gives features, and the logits of the Laplacian to add.

    Args:
        module: the package's ``SICA``.
        device: where it computes.
        dtype: of features and weights.
    """

    def __init__(self, module: nn.Module, *, device: torch.device, dtype: torch.dtype) -> None:
        stage = cast("Any", module)

        def convolution(block: nn.Module, **options: Any) -> Convolution:
            return Convolution.from_block(block, device=device, dtype=dtype, **options)

        def float32(block: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
            weight, bias = fold_batch_norm(block)
            return copy_to(weight, device), copy_to(bias, device)

        features: int = stage.in_channel
        self._depth: int = stage.depth
        self._dtype = dtype
        self._base_size: tuple[int, int] = stage.stage_size
        self._scale: float = stage.depth**-0.5
        self._thresholds = [copy_to(stage.threshold, device)]
        if stage.lmap_in:
            self._thresholds.append(copy_to(stage.lthreshold, device))
        self._query = [convolution(block) for block in stage.conv_query]
        self._key = [float32(block) for block in stage.conv_key]
        self._value = [float32(block) for block in stage.conv_value]
        self._first_output = float32(stage.conv_out1)
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
            source: 1 x C x h x w, the features before they are enlarged; ``size`` is a multiple of h x w.
            size: (height, width) at which the stage works.
            saliency: float32 logits so far, of any size.
            laplacian: float32 logits of the previous stage, of any size; None in the first stage.
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
        """The logits alone, for the arguments of :meth:`__call__`.

        Args:
            features: where to write the features as well; without it they are not kept.
        """
        height, width = size
        refine = self._refine_function(source, size, saliency, laplacian)
        logits = saliency.new_empty(1, 1, height, width)
        for columns in chunks(width, BLOCK_PIXELS // BLOCK_ROWS, source.device):
            for rows in chunks(height, BLOCK_PIXELS // (columns.stop - columns.start), source.device):
                y, logits[:, :, rows, columns] = refine(rows, columns)
                if features is not None:
                    features[:, :, rows, columns] = y
                del y  # the next block uses its memory
        return logits

    def _refine_function(
        self,
        source: torch.Tensor,
        size: tuple[int, int],
        saliency: torch.Tensor,
        laplacian: torch.Tensor | None,
    ) -> Callable[[slice, slice], tuple[torch.Tensor, torch.Tensor]]:
        """A function that computes features and logits of a block of rows and columns."""
        height, width = size
        probabilities = self._probabilities(size, saliency, laplacian)
        context = pooled_context(enlarge(probabilities, self._base_size)[0], source, size)
        key, value = _linear_relu(context, self._key) * self._scale, _linear_relu(context, self._value)
        # The first output convolution, multiplied by the context vectors: it has 3 or 5 input channels instead of 64.
        kernel = torch.einsum("ochw,vc->ovhw", self._first_output[0], value).to(self._dtype)
        kernel, bias = kernel.contiguous(memory_format=_CHANNELS_LAST), self._first_output[1].to(self._dtype)
        source = source.to(self._dtype)
        weight, offset = self._logits[0].flatten(1), self._logits[1].unsqueeze(1)

        def refine(rows: slice, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
            # The convolutions pad a block with zeros, also where the image continues. The margins keep that out of the
            # result.
            tall, wide = _with_margin(rows, height), _with_margin(columns, width)
            x = enlarge_block(source, size, tall, wide)
            similarity = _pointwise(self._query[1](self._query[0](x)), key)
            weights = functional.softmax(similarity, dim=0).view(1, -1, *x.shape[2:])
            weights = weights.to(self._dtype, memory_format=_CHANNELS_LAST)
            y = functional.conv2d(weights, kernel, bias, padding=1).relu_()
            y = self._last(self._merge_context.add_relu(y, self._merge_features(x)))
            y = y[:, :, rows.start - tall.start : rows.stop - tall.start]
            y = y[..., columns.start - wide.start : columns.stop - wide.start]
            return y, (_pointwise(y, weight) + offset).view(1, 1, *y.shape[2:])

        return refine

    def _probabilities(
        self, size: tuple[int, int], saliency: torch.Tensor, laplacian: torch.Tensor | None
    ) -> torch.Tensor:
        """For each pixel: how much it is foreground, background and undecided, and how much positive and negative
        detail the Laplacian has there."""
        threshold = self._thresholds[0]
        above = torch.sigmoid(enlarge(saliency, size)) - threshold
        maps = [above.clip(0, 1), (-above).clip(0, 1), threshold - above.abs()]
        if laplacian is not None:
            detail = torch.sigmoid(enlarge(laplacian, size)) - self._thresholds[1]
            maps += [detail.clip(0, 1), (-detail).clip(0, 1)]
        return torch.cat(maps, 1)


def _with_margin(part: slice, length: int) -> slice:
    return slice(max(part.start - _MARGIN, 0), min(part.stop + _MARGIN, length))


def pooled_context(probabilities: torch.Tensor, source: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Features summed over all positions of the base size, weighted by each of the probability maps.

    The package's module enlarges ``source`` to ``size``, then to the base size, and reads the flat channel-major result
    as (positions, C): channel c of position n is the element n * C + c. If a row of the base size is a whole number of
    such positions, each position is a run of C pixels of one row of one channel. Then enlarging the rows is the same
    linear map for every element, and sum(P * enlarge(f)) = sum(adjoint(P) * f). So the rows of the few maps P are
    reduced, instead of enlarging the rows of all features f.

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
        features = enlarge(enlarge(source.float().contiguous(), size), (base_height, base_width))
        return probabilities.flatten(1) @ features.contiguous().view(-1, channels)
    runs = base_width // channels
    weights = probabilities.reshape(1, maps * channels, base_height, runs)
    weights = enlarge_rows_adjoint(enlarge_rows_adjoint(weights, size[0]), rows).view(maps, channels, -1)
    context = weights.new_zeros(maps, channels)
    values = rows * max(size[1], base_width)
    for chunk in chunks(channels, max(POOLED_VALUES // values, 1), source.device):
        features = source[:, chunk].float().contiguous()
        features = enlarge(enlarge(features, (rows, size[1])), (rows, base_width))
        context += weights[:, chunk].reshape(maps, -1) @ features.view(-1, channels)
        del features  # the next chunk uses its memory
    return context


def _linear_relu(context: torch.Tensor, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """1 x 1 convolutions with ReLUs, applied to context vectors: n x C to n x depth."""
    for weight, bias in layers:
        context = functional.linear(context, weight.flatten(1), bias).relu_()
    return context


def _pointwise(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A 1 x 1 convolution in float32 of a channels-last map in any precision: outputs x pixels."""
    rows = pixel_rows(x)
    if x.dtype == torch.float32 or x.device.type != "cpu":
        return weight @ rows.float().t()
    result = weight.new_empty(weight.shape[0], rows.shape[0])
    for start in range(0, rows.shape[0], FLOAT32_PIXELS):
        chunk = slice(start, start + FLOAT32_PIXELS)
        result[:, chunk] = weight @ rows[chunk].float().t()
    return result
