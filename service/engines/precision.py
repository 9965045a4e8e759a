"""Reduced precision: where it applies inside the network, and the check that decides whether it may be used.

bfloat16 keeps 8 bits of mantissa. Most of the network forgives that; some of it does not, and stays in float32:

* the attention of SICA, which sums over every position of the base size (a million) before a softmax,
* the transformer's residual stream: 48 additions, each of which would be rounded. It is float32 where it begins, in the
  patch embedding and the three mergings, and then stays so by type promotion, around bfloat16 branches,
* the saliency logits: the decoder, the heads of SICA and the image pyramid that adds them up,
* the final sigmoid and min-max, which stretch whatever range is left to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from service.cpu import has_native_bf16

Precision = Literal["fp32", "bf16"]
Wanted = Literal["auto", "fp32", "bf16"]

MEAN_TOLERANCE = 1 / 255
TAIL_TOLERANCE = 8 / 255
TAIL_QUANTILE = 0.999
_SENSITIVE = (
    "backbone.patch_embed",
    *(f"backbone.layers.{stage}.downsample" for stage in range(3)),
    "decoder",
    "attention0",
    "attention1",
    "attention2",
)
_ROBUST_INSIDE = ("conv_query", "conv_out1", "conv_out2", "conv_out3")


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far the reduced mask is from the float32 one, in units of alpha (0 to 1)."""

    mean: float
    tail: float
    """The 99.9th percentile."""

    @property
    def acceptable(self) -> bool:
        """Whether both figures are inside the tolerance; a NaN is not."""
        return self.mean <= MEAN_TOLERANCE and self.tail <= TAIL_TOLERANCE

    def __str__(self) -> str:
        return (
            f"mean {self.mean * 255:.2f}/255 (limit 1), 99.9th percentile {self.tail * 255:.2f}/255 (limit 8)"
        )


def unsuitable_hardware(device: torch.device) -> str:
    """Why bfloat16 gains nothing on this device, or an empty string if it does."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return "" if major >= 8 else f"this GPU (compute capability {major}.{minor}) has no native bf16"
    return "" if has_native_bf16() else "this CPU has no native bf16 (AVX512_BF16, AMX or Arm BF16)"


def use_bf16(network: nn.Module, device_type: str) -> Callable[[], None]:
    """Make the network compute in bfloat16 where that is safe; its parameters stay float32.

    Returns:
        A function that takes it back.
    """
    replaced: list[tuple[Any, str, Any]] = []

    def run_in(owner: Any, method: str, *, bf16: bool) -> None:
        function = getattr(owner, method)

        def in_region(*inputs: Any) -> Any:
            with torch.autocast(device_type, dtype=torch.bfloat16, enabled=bf16):
                return _as_float32(function(*map(_as_float32, inputs)))

        replaced.append((owner, method, function))
        setattr(owner, method, in_region)

    for name in _SENSITIVE:
        run_in(network.get_submodule(name), "forward", bf16=False)
        for robust in _ROBUST_INSIDE if name.startswith("attention") else ():
            run_in(network.get_submodule(f"{name}.{robust}"), "forward", bf16=True)
    run_in(network.image_pyramid, "reconstruct", bf16=False)
    run_in(network, "forward", bf16=True)

    def undo() -> None:
        for owner, method, function in reversed(replaced):
            setattr(owner, method, function)

    return undo


def measure_deviation(exact: torch.Tensor, reduced: torch.Tensor) -> Deviation:
    """Compare two masks of the same picture."""
    difference = (exact.float() - reduced.float()).abs().flatten()
    return Deviation(mean=float(difference.mean()), tail=float(difference.quantile(TAIL_QUANTILE)))


def _as_float32(value: Any) -> Any:
    """Floating tensors in float32, also inside the pairs and lists that the modules pass on; all else as it is."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    return type(value)(map(_as_float32, value)) if isinstance(value, list | tuple) else value
