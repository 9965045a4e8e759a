"""Enlarges the network's small mask to the picture's size, and moves its edges to the edges in the picture.

The engine calls it in the device thread. The memory that it needs beside the result must stay bounded for pictures of
any size, so it works in strips. ``benchmarks/quality.py`` measures what it gains, and was used to choose the constants
below.

It is the guided filter of He, Sun and Tang ("Guided Image Filtering", PAMI 2013, equations 19 and 20, colour guide).
The filter is fitted on the network's input and evaluated on the whole picture ("Fast Guided Filter", 2015). There is
one addition: where the picture's colours do not explain the mask, the mask is only enlarged.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from service.engines.protocol import RGB, Alpha
from service.engines.unmixing import enlarge_rows

Array = npt.NDArray[np.float32]

_RADIUS = 8  # pixels of the network's input
# Variance of a colour (0 to 1). Where it is smaller, the filter smooths the mask and does not follow the colours.
_SMOOTHNESS = np.float32(1e-4)
# Variance of a mask that has no edge to explain.
_FLAT = np.float32(1e-4)
# Share of the mask's variance that the colours explain: at the first the filter is not used, at the second fully.
_LEAST_EXPLAINED, _WELL_EXPLAINED = 0.2, 0.7
# The network is unsure about hard edges too. So values this close to 0 or 1 count as 0 or 1.
_MARGIN = 0.15
_STRIP_PIXELS = 1 << 17
_LONGEST_ROW = 1 << 15  # pixels


def refine(image: RGB, square: RGB, mask: Alpha) -> Alpha:
    """The mask of the whole picture.

    Args:
        image: H x W x 3.
        square: s x s x 3, the same picture as the network saw it.
        mask: s x s.

    Returns:
        H x W, in [0, 1].
    """
    height, width = image.shape[:2]
    if width > _LONGEST_ROW > height:  # a strip is at least a row
        upright = refine(np.ascontiguousarray(image.swapaxes(0, 1)), square.swapaxes(0, 1), mask.T)
        return np.ascontiguousarray(upright.T)
    slope, others = _fit(square.astype(np.float32) / np.float32(255), np.ascontiguousarray(mask))
    if width < len(
        mask
    ):  # across first: otherwise the strips of a narrow picture would be larger than the picture
        slope, others = (_enlarge_columns(grid, width) for grid in (slope, others))
    alpha = np.empty((height, width), np.float32)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        weighted = enlarge_rows(slope, strip, height, width)
        weighted *= image[strip]
        offset, enlarged, trust = cv2.split(enlarge_rows(others, strip, height, width))
        filtered = _stretch(weighted.sum(axis=-1) + offset.reshape(len(weighted), width))
        enlarged = _stretch(enlarged.reshape(filtered.shape))
        alpha[strip] = enlarged + (filtered - enlarged) * trust.reshape(filtered.shape)
    return alpha


def _fit(guide: Array, mask: Array) -> tuple[Array, Array]:
    """For the window around each pixel, fit the line ``slope . colour + offset`` to the mask.

    Returns:
        ``slope`` for colours from 0 to 255, s x s x 3; and ``offset``, the mask, and the weight of the line (0 to 1),
        s x s x 3.
    """

    def mean(values: Array) -> Array:
        blurred: Array = cv2.blur(values, (2 * _RADIUS + 1, 2 * _RADIUS + 1), borderType=cv2.BORDER_REFLECT)
        return blurred

    colour, level = mean(guide), mean(mask)
    covariance = np.empty((*mask.shape, 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            entry = mean(guide[..., i] * guide[..., j]) - colour[..., i] * colour[..., j]
            covariance[..., i, j] = covariance[..., j, i] = entry
    covariance += np.eye(3, dtype=np.float32) * _SMOOTHNESS
    against = mean(guide * mask[..., None]) - colour * level[..., None]
    slope = np.linalg.solve(covariance, against[..., None])[..., 0].astype(np.float32)
    offset = level - (slope * colour).sum(axis=-1)
    explained = (slope * against).sum(axis=-1) / (mean(mask * mask) - level * level + _FLAT)
    trust = (mean(np.clip(explained, 0, 1)) - _LEAST_EXPLAINED) / (_WELL_EXPLAINED - _LEAST_EXPLAINED)
    others = np.stack([mean(offset), mask, np.clip(trust, 0, 1)], axis=-1)
    return mean(slope) / np.float32(255), others.astype(np.float32)


def _stretch(alpha: Array) -> Array:
    stretched: Array = np.clip((alpha - np.float32(_MARGIN)) / np.float32(1 - 2 * _MARGIN), 0, 1)
    return stretched


def _enlarge_columns(grid: Array, width: int) -> Array:
    resized: Array = cv2.resize(grid, (width, len(grid)), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(len(grid), width, 3)
