"""Soft edges from a hard mask.

``engine`` calls it after the cut. Importing this module imports OpenCV, so it must not happen before the port is open.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from service.engines.protocol import RGB, Alpha

Mask = npt.NDArray[np.uint8]
"""H x W, uint8, 0 = background, 1 = foreground."""

Array = npt.NDArray[np.float32]

_SMOOTHNESS = (
    3e-4  # variance of a colour (0 to 1) below which the guided filter smooths instead of following edges
)
_BAND_SHARE = 1 / 140  # maximum distance of the soft edge from the hard edge, as a share of the long side


def refine(image: RGB, small: RGB, mask: Mask) -> Alpha:
    """A soft mask of the whole picture from a hard one of a reduced picture.

    The guided filter of He, Sun and Tang ("Guided Image Filtering", PAMI 2013, equations 19-20, colour guide),
    fitted on the reduced picture and evaluated on the whole one ("Fast Guided Filter", 2015), so that edges follow
    the full resolution. Away from the mask's edge, the mask is kept, so that texture inside a subject makes no holes.

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
    # One channel at a time: a picture of 50 megapixels then needs three planes of that size instead of eight.
    alpha = _resize(offset, width, height)
    for channel in range(3):
        plane = cv2.extractChannel(image, channel)
        alpha += cv2.multiply(
            _resize(slope[..., channel], width, height), plane, scale=1 / 255, dtype=cv2.CV_32F
        )
    # At hard edges the fit does not reach 0 and 1, so values within a tenth of either end count as 0 or 1.
    alpha = (alpha - np.float32(0.1)) / np.float32(0.8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    inside = _resize(cv2.erode(mask, disc, borderType=cv2.BORDER_REPLICATE).astype(np.float32), width, height)
    outside = _resize(cv2.dilate(mask, disc).astype(np.float32), width, height)
    return np.clip(alpha, inside, outside, out=alpha)


def _guided_fit(guide: Array, target: Array, radius: int) -> tuple[Array, Array]:
    """For each pixel, the linear function ``slope . colour + offset`` that best fits ``target`` in its neighbourhood.

    Returns:
        The slopes, h x w x 3, and the offsets, h x w.
    """

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
