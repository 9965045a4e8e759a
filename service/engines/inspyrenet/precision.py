"""Reduced precision: which parts of the network may use bfloat16, and how the masks of both precisions are compared.

``session`` uses it to choose the precision. Whatever changes here, a person must see no difference in the mask.

bfloat16 keeps 8 bits of mantissa. That is enough for most of the network. ``benchmarks/precision.py`` measured it part
by part, and the following stay in float32:

* The decoder and the three deepest context modules. They make the coarse saliency, which every later stage refines. In
  bfloat16 they would cause three quarters of the deviation, and save a fiftieth of the time.
* The transformer's residual stream: 48 additions, each of which would be rounded.
* The attention stages' sums over every position of the base size (a million), their softmax, and all saliency logits.
* The final sigmoid and the min-max normalisation, which stretches any range to [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from service.host.cpu import has_native_bf16

Precision = Literal["fp32", "bf16"]
Wanted = Literal["auto", "fp32", "bf16"]

REDUCED_PARTS = frozenset({"backbone", "context1", "context2", "attention0", "attention1", "attention2"})
"""The parts that compute in bfloat16 if the precision is ``bf16``; all parts are listed in
:data:`service.engines.inspyrenet.forward.model.PARTS`."""

MEAN_TOLERANCE = 1 / 255
TAIL_TOLERANCE = 8 / 255
TAIL_QUANTILE = 0.999


@dataclass(frozen=True, slots=True)
class Choice:
    """The precision in use, and why; both are shown in ``/warmup`` and in ``engine_info``."""

    name: Precision
    reason: str


@dataclass(frozen=True, slots=True)
class Deviation:
    """The difference between the bfloat16 mask and the float32 mask, in units of alpha (0 to 1)."""

    mean: float
    tail: float
    """The 99.9th percentile."""

    @property
    def acceptable(self) -> bool:
        """Whether both figures are within the tolerance; NaN is not."""
        return self.mean <= MEAN_TOLERANCE and self.tail <= TAIL_TOLERANCE

    def __str__(self) -> str:
        return (
            f"mean {self.mean * 255:.2f}/255 (limit 1), 99.9th percentile {self.tail * 255:.2f}/255 (limit 8)"
        )


def unsuitable_hardware(device: torch.device) -> str:
    """Why bfloat16 saves no time on this device, or an empty string if it does."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return "" if major >= 8 else f"this GPU (compute capability {major}.{minor}) has no native bf16"
    return "" if has_native_bf16() else "this CPU has no native bf16 (AVX512_BF16, AMX or Arm BF16)"


def measure_deviation(exact: torch.Tensor, reduced: torch.Tensor) -> Deviation:
    """Compare two masks of the same picture, both float32 and of the same shape."""
    difference = (exact - reduced).abs().flatten()
    # torch.quantile accepts at most 16 million values.
    rank = max(1, math.ceil(TAIL_QUANTILE * difference.numel()))
    tail = difference.kthvalue(rank).values
    return Deviation(mean=float(difference.mean()), tail=float(tail))
