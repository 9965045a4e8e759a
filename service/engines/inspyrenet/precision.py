"""Reduced precision: where it applies inside the network, and the check that decides whether it may be used.

bfloat16 keeps 8 bits of mantissa. Most of the network forgives that; some of it does not, and stays in float32. Which
is which was measured part by part (``benchmarks/precision.py``):

* the decoder and the three deepest context modules make the coarse saliency, which every later stage refines: three
  quarters of the deviation that bfloat16 causes there, for a fiftieth of the time,
* the transformer's residual stream: 48 additions, each of which would be rounded,
* the attention stages' sums over every position of the base size (a million), their softmax, and all saliency logits,
* the final sigmoid and min-max, which stretch whatever range is left to [0, 1].
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
"""The parts of the network (see :data:`service.engines.inspyrenet.forward.model.PARTS`) that ``bf16`` means."""

MEAN_TOLERANCE = 1 / 255
TAIL_TOLERANCE = 8 / 255
TAIL_QUANTILE = 0.999


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


def measure_deviation(exact: torch.Tensor, reduced: torch.Tensor) -> Deviation:
    """Compare two masks of the same picture."""
    difference = (exact.float() - reduced.float()).abs().flatten()
    # Not torch.quantile, which takes no more than 16 million values.
    rank = max(1, math.ceil(TAIL_QUANTILE * difference.numel()))
    tail = difference.kthvalue(rank).values
    return Deviation(mean=float(difference.mean()), tail=float(tail))
