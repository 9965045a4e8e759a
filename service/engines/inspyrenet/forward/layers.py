"""Linear and convolution layers with frozen weights, stored the way the device multiplies fastest.

On a CPU the weights are reordered once into oneDNN's own layout, and biases and activations are fused into the
multiplication, a convolution's sums too: the operators that torch's own compiler emits, without a compiler. Elsewhere
they are the plain ones.
Every tensor kept is a copy, unless it is asked to borrow.
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
        borrow: leave float32 weights where they are, which takes no time, and multiply a quarter slower.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        gelu: bool = False,
        borrow: bool = False,
    ) -> None:
        self._gelu = gelu
        self._packed = _packs(device, dtype) and not borrow
        self._bias = None if bias is None else frozen(bias, device, dtype)
        # A single call finds the layout for any number of rows.
        self._weight = (
            _onednn._reorder_linear_weight(weight.detach().to(dtype), None)
            if self._packed
            else weight.detach().to(device, dtype, copy=not borrow)
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
        self._packed = _packs(device, dtype)
        self._bias = None if bias is None else frozen(bias, device, dtype)
        self._weight = (
            _onednn._reorder_convolution_weight(
                weight.detach().to(dtype), self._padding, [1, 1], self._dilation, 1, None
            )
            if self._packed
            else frozen(weight, device, dtype).contiguous(memory_format=torch.channels_last)
        )

    @classmethod
    def folded(
        cls,
        layer: nn.Module,
        *,
        device: torch.device,
        dtype: torch.dtype,
        inputs: slice = slice(None),
        bias: bool = True,
        relu: bool | None = None,
        gain: float = 1.0,
    ) -> Convolution:
        """One of the network's ``Conv2d`` blocks, its BatchNorm folded into the weights.

        Args:
            layer: with ``conv``, ``bn`` (or None) and ``relu`` (or None).
            device: where it computes.
            dtype: of weights, inputs and outputs.
            inputs: the input channels to keep.
            bias: keep the bias.
            relu: instead of what the block says.
            gain: the inputs are multiplied by it.
        """
        block = cast("Any", layer)
        weight, offset = fold(block)
        return cls(
            weight[:, inputs] * gain,
            offset if bias else None,
            padding=block.conv.padding,
            dilation=block.conv.dilation,
            relu=block.relu is not None if relu is None else relu,
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

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """``relu(conv(x) + other)``; ``other`` is of the output's shape and precision."""
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


def pieces(total: int, size: int, device: torch.device) -> Iterator[slice]:
    """Slices of about the same length that cover ``total``: on a CPU of at most ``size``, elsewhere one.

    What is computed of a piece lies in memory that the piece before has just given back, instead of in fresh pages
    from the kernel. A GPU's memory is at hand anyway, and its parallelism needs all at once.
    """
    count = -(-total // size) if device.type == "cpu" else 1
    step = -(-total // max(count, 1))
    return (slice(start, min(start + step, total)) for start in range(0, total, max(step, 1)))


def pixel_rows(x: torch.Tensor) -> torch.Tensor:
    """A channels-last 1 x C x H x W as pixels x C, without a copy."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def fold(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias, in float32, of a convolution with its BatchNorm in it: the same function, up to rounding.

    Args:
        layer: one of the network's ``Conv2d`` blocks, in evaluation mode.
    """
    block = cast("Any", layer)
    weight, bias = block.conv.weight.detach().float(), block.conv.bias
    offset = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach().float()
    if block.bn is None:
        return weight, offset
    gain = block.bn.weight.detach() / torch.sqrt(block.bn.running_var + block.bn.eps)
    return weight * gain.view(-1, 1, 1, 1), block.bn.bias.detach() + (offset - block.bn.running_mean) * gain


def frozen(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A copy that belongs to nobody else."""
    return tensor.detach().to(device=device, dtype=dtype, copy=True)


def _packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN takes layers of that precision on that device."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype is torch.float32 or bool(_onednn._is_mkldnn_bf16_supported())
