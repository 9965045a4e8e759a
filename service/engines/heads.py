"""What turns the backbone's maps into a mask: context modules, decoder, attention stages, image pyramid; rearranged.

What is different from the package's own modules, with the same results up to rounding:

* Every BatchNorm is folded into its convolution, convolutions of the same input are one, and maps are channels-last.
* An attention stage (SICA) spreads three or five context vectors over the image by weights of as many channels; its
  next convolution is linear, so it is applied to those few channels rather than to the 64 that they spread.
* It sums its features over a fixed base size, whatever the image's: up to a million positions for a thumbnail. The
  enlargement is linear, so its rows are applied to the weights instead, and only the columns of the features are
  enlarged (:func:`pooled_context`).
* On a CPU it works through the image in strips: of a large one, no map of 64 channels ever exists at full size.
* The pyramid expands a map along one axis, then the other, by the taps that do not meet zeros: 7 instead of 49.

Saliency logits, probabilities, the sums over positions and every softmax are float32, whatever the features are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from service.engines.kernels import Convolution, fold, frozen, pieces

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
        projected = torch.addmm(self._bias, self._weight, _rows(x).t())
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


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, length: int) -> torch.Tensor:
    """Self-attention along an axis of ``length``; channel-major memory is read as (rest, axis)."""
    query, key = query.reshape(-1, length).float(), key.reshape(-1, length).float()
    attention = functional.softmax(query.t() @ key, dim=-1).to(value.dtype)
    return (value.reshape(-1, length) @ attention.t()).flatten()


def _vectors(context: torch.Tensor, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Convolutions of 1 x 1 with ReLUs, of context vectors: n x C to n x depth."""
    for weight, bias in layers:
        context = functional.linear(context, weight.flatten(1), bias).relu_()
    return context


def _pointwise(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A convolution of 1 x 1 in float32 of a channels-last map of any precision: outputs x pixels."""
    rows = _rows(x)
    if x.dtype == torch.float32 or x.device.type != "cpu":
        return weight @ rows.float().t()
    result = weight.new_empty(weight.shape[0], rows.shape[0])
    for start in range(0, rows.shape[0], CACHED_PIXELS):
        these = slice(start, start + CACHED_PIXELS)
        result[:, these] = weight @ rows[these].float().t()
    return result


def _rows(x: torch.Tensor) -> torch.Tensor:
    """A channels-last 1 x C x H x W as pixels x C, without a copy."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
