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


def enlarge_rows(x: torch.Tensor, size: tuple[int, int], start: int, stop: int) -> torch.Tensor:
    """Rows ``start`` to ``stop`` of ``enlarge(x, size)``, whose height must be a multiple of that of ``x``."""
    rows, height = x.shape[2], size[0]
    if height % rows:
        raise ValueError(f"{height} rows are not a multiple of {rows}")
    factor = height // rows
    above, below = max(start // factor - 1, 0), min(-(-stop // factor) + 1, rows)
    enlarged = enlarge(x[:, :, above:below], ((below - above) * factor, size[1]))
    return enlarged[:, :, start - above * factor : stop - above * factor]


def enlarge_rows_adjoint(weights: torch.Tensor, rows: int) -> torch.Tensor:
    """The adjoint (transpose) of the linear map that enlarges ``rows`` rows to the number of rows of ``weights``."""
    _, channels, height, width = weights.shape
    if height == rows:
        return weights
    reduced: torch.Tensor = torch.ops.aten.upsample_bilinear2d_backward(
        weights, [height, width], [1, channels, rows, width], align_corners=False
    )
    return reduced
