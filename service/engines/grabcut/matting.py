"""Soft edges from a hard mask, and the subject's own colours along them.

Importing this module imports OpenCV: do it in the worker's thread. Nothing here keeps state, so every function
may run on several threads at once.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from service.engines.protocol import RGB, Alpha

Mask = npt.NDArray[np.uint8]
"""H x W, uint8, 0 = background, 1 = foreground."""

Array = npt.NDArray[np.float32]

_SMOOTHNESS = 3e-4  # variance of a colour, 0 to 1, below which the guided filter smooths instead of following
_BAND_SHARE = 1 / 140  # the soft edge lies within this share of the long side from the hard one
_WIDE, _NARROW = 90, 6  # neighbourhoods of blur fusion's two passes in pixels, as in the paper
_TILE = 1024  # pixels a side; bounds the memory of blur fusion whatever the picture's size


def refine(image: RGB, small: RGB, mask: Mask) -> Alpha:
    """A soft mask of the whole picture from a hard one of a reduced picture.

    The guided filter of He, Sun and Tang ("Guided Image Filtering", PAMI 2013, equations 19-20, colour guide),
    fitted on the reduced picture and evaluated on the whole one ("Fast Guided Filter", 2015), so that edges
    follow the full resolution. Away from the mask's edge the mask is kept: texture inside a subject
    must not make holes in it.

    Args:
        image: H x W x 3.
        small: h x w x 3, the same picture reduced.
        mask: h x w.

    Returns:
        H x W, float32, in [0, 1].
    """
    radius = max(2, round(max(mask.shape) * _BAND_SHARE))
    slope, offset = _guided_fit(small.astype(np.float32) / np.float32(255), mask.astype(np.float32), radius)
    height, width = image.shape[:2]
    # One channel at a time: a 50 megapixel picture needs three such planes, not eight.
    alpha = _resize(offset, width, height)
    for channel in range(3):
        plane = cv2.extractChannel(image, channel)
        alpha += cv2.multiply(
            _resize(slope[..., channel], width, height), plane, scale=1 / 255, dtype=cv2.CV_32F
        )
    # The fit undershoots at hard edges: a tenth from either end counts as there.
    alpha = (alpha - np.float32(0.1)) / np.float32(0.8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    inside = _resize(cv2.erode(mask, disc, borderType=cv2.BORDER_REPLICATE).astype(np.float32), width, height)
    outside = _resize(cv2.dilate(mask, disc).astype(np.float32), width, height)
    return np.clip(alpha, inside, outside, out=alpha)


def _guided_fit(guide: Array, target: Array, radius: int) -> tuple[Array, Array]:
    """Per pixel the line ``slope . colour + offset`` that best gives ``target`` around it: h x w x 3 and h x w."""

    def mean(values: Array) -> Array:
        blurred: Array = cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)
        return blurred

    colour, wanted = mean(guide), mean(target)
    covariance = np.empty((*target.shape, 3, 3), dtype=np.float32)
    for i in range(3):
        for j in range(i, 3):
            entry = mean(guide[..., i] * guide[..., j]) - colour[..., i] * colour[..., j]
            covariance[..., i, j] = covariance[..., j, i] = entry
    covariance += np.eye(3, dtype=np.float32) * np.float32(_SMOOTHNESS)
    against = mean(guide * target[..., None]) - colour * wanted[..., None]
    slope = np.linalg.solve(covariance, against[..., None])[..., 0].astype(np.float32)
    offset = wanted - (slope * colour).sum(axis=-1)
    return mean(slope), mean(offset)


def _resize(plane: Array, width: int, height: int) -> Array:
    resized: Array = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


def foreground_colours(image: RGB, alpha: Alpha) -> RGB:
    """The subject's colours, without the background that shines through its soft edges.

    Blur fusion, two passes: Forte, "Approximate Fast Foreground Colour Estimation" (ICIP 2021), equations 4-8.
    Only tiles that hold soft pixels are computed: a solid pixel's colour is its own, a clear one's is never seen.

    Args:
        image: H x W x 3.
        alpha: H x W.

    Returns:
        H x W x 3; equal to ``image`` wherever alpha is 0 or 1.
    """
    result = image.copy()
    height, width = alpha.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            tile = slice(top, top + _TILE), slice(left, left + _TILE)
            soft = (alpha[tile] > 0) & (alpha[tile] < 1)
            if soft.any():
                # What a tile sees around it: its colours do not depend on where the tiles meet.
                around = (
                    slice(max(0, top - _WIDE), top + _TILE + _WIDE),
                    slice(max(0, left - _WIDE), left + _TILE + _WIDE),
                )
                colours = _solve_colours(image[around], alpha[around])
                inner = slice(top - around[0].start, None), slice(left - around[1].start, None)
                inside = colours[inner][: soft.shape[0], : soft.shape[1]]
                np.copyto(result[tile], inside, where=soft[..., None])
    return result


def _solve_colours(image: RGB, alpha: Alpha) -> RGB:
    """Both passes of blur fusion: first wide, for the colours far from the edge, then narrow, for what is near."""
    colours = image.astype(np.float32) / np.float32(255)
    weight = np.ascontiguousarray(alpha, dtype=np.float32)[..., None]
    front, behind = _blur_fusion(colours, colours, colours, weight, _WIDE)
    front, _ = _blur_fusion(colours, front, behind, weight, _NARROW)
    return np.rint(front * 255).astype(np.uint8)


def _blur_fusion(image: Array, front: Array, behind: Array, alpha: Array, size: int) -> tuple[Array, Array]:
    """One pass: blurred colours on both sides, then the correction that makes them composite to ``image``."""
    near_alpha = cv2.blur(alpha, (size, size))[..., None]
    near_front = cv2.blur(front * alpha, (size, size)) / (near_alpha + np.float32(1e-5))
    near_behind = cv2.blur(behind * (1 - alpha), (size, size)) / (1 - near_alpha + np.float32(1e-5))
    fused = near_front + alpha * (image - alpha * near_front - (1 - alpha) * near_behind)
    return np.clip(fused, 0, 1), near_behind
