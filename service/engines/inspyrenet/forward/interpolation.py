"""Bilinear enlargement, as the package's network does it, and two variants that need less memory.

``model`` and ``attention_stage`` call it. Every function must equal ``torch.nn.functional.interpolate`` with
``align_corners=False``, or the part of it that its name says.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def enlarge(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``x`` at the size (height, width); ``x`` itself if it has that size already."""
    if x.shape[-2:] == size:
        return x
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def enlarge_block(x: torch.Tensor, size: tuple[int, int], rows: slice, columns: slice) -> torch.Tensor:
    """A block of ``enlarge(x, size)``, whose sides must be multiples of those of ``x``."""
    parts, crops, sides = [], [], []
    for axis, (side, block) in enumerate(zip(size, (rows, columns), strict=True)):
        length = x.shape[2 + axis]
        if side % length:
            raise ValueError(f"{side} rows or columns are not a multiple of {length}")
        factor = side // length
        first, last = max(block.start // factor - 1, 0), min(-(-block.stop // factor) + 1, length)
        parts.append(slice(first, last))
        crops.append(slice(block.start - first * factor, block.stop - first * factor))
        sides.append((last - first) * factor)
    enlarged = enlarge(x[:, :, parts[0], parts[1]], (sides[0], sides[1]))
    return enlarged[:, :, crops[0], crops[1]]


def enlarge_rows_adjoint(weights: torch.Tensor, rows: int) -> torch.Tensor:
    """The adjoint (transpose) of the linear map that enlarges ``rows`` rows to the number of rows of ``weights``."""
    _, channels, height, width = weights.shape
    if height == rows:
        return weights
    reduced: torch.Tensor = torch.ops.aten.upsample_bilinear2d_backward(
        weights, [height, width], [1, channels, rows, width], align_corners=False
    )
    return reduced
