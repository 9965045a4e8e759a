"""Linear and convolution layers with constant weights, stored in the layout that the device multiplies fastest.

All modules of the forward pass build their layers with it. Every stored tensor must be a copy, unless the caller asks
to share weights: the package's network is deleted after the load.

On a CPU, the weights are reordered once into oneDNN's own layout ("packed"). Bias, activation and a convolution's
addition are fused into the multiplication. These are the operators that torch's own compiler emits, used without the
compiler. Other devices use the plain operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

_onednn: Any = torch.ops.mkldnn


class Linear:
    """``x @ weight.T + bias``, in one precision, optionally followed by the (exact) GELU.

    Args:
        weight: outputs x inputs.
        bias: of the outputs, or None.
        device: where it computes.
        dtype: of weights, inputs and outputs.
        gelu: apply the activation.
        share_weights: use the given float32 weights instead of a packed copy. That takes no time here, and makes the
            multiplication a quarter slower.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        gelu: bool = False,
        share_weights: bool = False,
    ) -> None:
        self._gelu = gelu
        self._packed = _can_pack(device, dtype) and not share_weights
        self._bias = None if bias is None else copy_to(bias, device, dtype)
        # Without a number of rows, oneDNN chooses a layout that works for any.
        self._weight = (
            _onednn._reorder_linear_weight(weight.detach().to(dtype), None)
            if self._packed
            else weight.detach().to(device, dtype, copy=not share_weights)
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rows x inputs to rows x outputs."""
        if self._packed:
            activation, variant = ("gelu", "none") if self._gelu else ("none", "")
            return cast(
                "torch.Tensor",
                _onednn._linear_pointwise(x, self._weight, self._bias, activation, [], variant),
            )
        y = functional.linear(x, self._weight, self._bias)
        return functional.gelu(y) if self._gelu else y


class Convolution:
    """A convolution of stride 1 over a channels-last batch of one, in one precision, optionally with a ReLU.

    Args:
        weight: outputs x inputs x height x width.
        bias: of the outputs, or None.
        padding: rows and columns of zeros on each side.
        dilation: vertical and horizontal.
        relu: apply the activation.
        device: where it computes.
        dtype: of weights, inputs and outputs.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        relu: bool = False,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._padding = list(padding)
        self._dilation = list(dilation)
        self._relu = relu
        self._packed = _can_pack(device, dtype)
        self._bias = None if bias is None else copy_to(bias, device, dtype)
        self._weight = (
            _onednn._reorder_convolution_weight(
                weight.detach().to(dtype), self._padding, [1, 1], self._dilation, 1, None
            )
            if self._packed
            else copy_to(weight, device, dtype).contiguous(memory_format=torch.channels_last)
        )

    @classmethod
    def from_block(
        cls,
        block: nn.Module,
        *,
        device: torch.device,
        dtype: torch.dtype,
        inputs: slice = slice(None),
        bias: bool = True,
        relu: bool | None = None,
        gain: float = 1.0,
    ) -> Convolution:
        """The convolution of one of the network's ``Conv2d`` blocks, with its BatchNorm folded into the weights.

        Args:
            block: with ``conv``, ``bn`` (or None) and ``relu`` (or None).
            device: where it computes.
            dtype: of weights, inputs and outputs.
            inputs: the input channels to keep.
            bias: keep the bias.
            relu: overrides the block's own ReLU.
            gain: a factor for the inputs.
        """
        parts = cast("Any", block)
        weight, offset = fold_batch_norm(block)
        return cls(
            weight[:, inputs] * gain,
            offset if bias else None,
            padding=parts.conv.padding,
            dilation=parts.conv.dilation,
            relu=parts.relu is not None if relu is None else relu,
            device=device,
            dtype=dtype,
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """1 x inputs x H x W to 1 x outputs x H x W, both channels-last."""
        if self._packed:
            return cast(
                "torch.Tensor",
                _onednn._convolution_pointwise(
                    x,
                    self._weight,
                    self._bias,
                    self._padding,
                    [1, 1],
                    self._dilation,
                    1,
                    "relu" if self._relu else "none",
                    [],
                    "",
                ),
            )
        y = functional.conv2d(x, self._weight, self._bias, padding=self._padding, dilation=self._dilation)
        return y.relu_() if self._relu else y

    def add_relu(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """``relu(conv(x) + other)``; ``other`` has the shape and precision of the output."""
        if self._packed:
            return cast(
                "torch.Tensor",
                _onednn._convolution_pointwise.binary(
                    x,
                    other,
                    self._weight,
                    self._bias,
                    self._padding,
                    [1, 1],
                    self._dilation,
                    1,
                    "add",
                    None,
                    "relu",
                    [],
                    None,
                ),
            )
        y = functional.conv2d(x, self._weight, self._bias, padding=self._padding, dilation=self._dilation)
        return y.add_(other).relu_()


def chunks(total: int, size: int, device: torch.device) -> Iterator[slice]:
    """Slices of about the same length that cover ``total``: on a CPU of at most ``size`` each, else a single one.

    On a CPU, the results of a chunk use the memory that the previous chunk has just freed, instead of new pages from
    the kernel. A GPU keeps its memory anyway, and needs the whole work at once to run in parallel.
    """
    count = -(-total // size) if device.type == "cpu" else 1
    step = -(-total // max(count, 1))
    return (slice(start, min(start + step, total)) for start in range(0, total, max(step, 1)))


def pixel_rows(x: torch.Tensor) -> torch.Tensor:
    """A channels-last map of 1 x C x H x W as a matrix of pixels x C, without a copy."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def fold_batch_norm(block: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias, in float32, of one convolution that replaces a convolution and its BatchNorm.

    The function is the same up to rounding.

    Args:
        block: one of the network's ``Conv2d`` blocks, in evaluation mode.
    """
    parts = cast("Any", block)
    weight, bias = parts.conv.weight.detach().float(), parts.conv.bias
    offset = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach().float()
    if parts.bn is None:
        return weight, offset
    gain = parts.bn.weight.detach() / torch.sqrt(parts.bn.running_var + parts.bn.eps)
    return weight * gain.view(-1, 1, 1, 1), parts.bn.bias.detach() + (offset - parts.bn.running_mean) * gain


def copy_to(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A copy that shares no memory with ``tensor``, on that device and in that precision."""
    return tensor.detach().to(device=device, dtype=dtype, copy=True)


def _can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN supports layers of that precision on that device."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype is torch.float32 or bool(_onednn._is_mkldnn_bf16_supported())
