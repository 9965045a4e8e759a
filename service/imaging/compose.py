"""From a picture and its mask to the pixels of the answer.

The pipeline calls ``compose`` after inference. The formulas are those of ``Remover.process`` in transparent-background
1.3.4, and a change must stay within one level of 255 of its results; it computes in float64, and this module in
float32. The package makes several float64 copies of the image. Here the arithmetic runs in strips of rows, so that
beside the input (7 bytes a pixel: RGB and the float32 mask) there is little more than the result.

Peak memory in bytes a pixel, beside the input and 13 MiB for the strips:

* mask: 1;
* rgba: 4, plus the memory of ``foreground`` if there is no threshold, plus 4 for the mask if it is reversed or the
  input was transparent;
* a flat background: 3;
* blur: 3;
* overlay: 5, of which 2 are for finding the outline; OpenCV takes some more for that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from service.engines.protocol import RGB, Alpha
from service.imaging.options import GREEN, Options, Output
from service.imaging.picture import Picture, Pixels, strips

Floats = npt.NDArray[np.float32]

Foreground = Callable[[RGB, Alpha], RGB]
"""Estimates the colours of the foreground alone, as ``Engine.foreground`` does."""

BLUR_SIGMA = 15.0
"""Standard deviation, in pixels, of the blur behind ``output=blur``."""

_BLUR_WIDTH = 1 << 15
"""Pixels of a row that are blurred at once. OpenCV keeps as many rows of its input as the blur is high: 91."""

_BLUR_REACH = 64
"""Pixels to each side that a blurred pixel depends on: more than half of 91."""

_TOLERANCE = 1e-3
"""How far outside 0-1 the values of a mask may be: reduced precision rounds."""


class BadMask(Exception):
    """The engine's mask has another size than the image, is not finite, or has values outside 0-1."""


def compose(picture: Picture, alpha: Alpha, options: Options, foreground: Foreground) -> Pixels:
    """Make the answer's pixels.

    First the threshold applies to the mask, then the reversal. Then the mask is multiplied by the input's own
    transparency, so that transparent parts of the input stay transparent or show the background, for all options.

    Args:
        picture: the image.
        alpha: its mask, H x W, float32, 0-1; left unchanged.
        options: what the answer looks like.
        foreground: called for ``rgba`` without a threshold.

    Returns:
        uint8: H x W for ``mask``, H x W x 4 for ``rgba``, else H x W x 3.

    Raises:
        BadMask: the mask is not valid for this picture.
    """
    check_mask(picture, alpha)
    match options.output:
        case Output.MASK:
            result = np.empty(alpha.shape, np.uint8)
            _write_mask(result, picture, alpha, options)
            return result
        case Output.RGBA:
            return _rgba(picture, alpha, options, foreground)
        case Output.BLUR:
            return _blur(picture, alpha, options)
        case Output.OVERLAY:
            return _overlay(picture, alpha, options)
        case Output.GREEN | Output.WHITE | Output.COLOUR:
            return _flat(picture, alpha, options)


def check_mask(picture: Picture, alpha: Alpha) -> None:
    """Make sure that a mask is valid for a picture.

    Raises:
        BadMask: wrong shape or type, NaN or infinity, or values outside 0-1 by more than rounding.
    """
    if alpha.shape != picture.rgb.shape[:2]:
        raise BadMask(f"the mask has shape {alpha.shape}, the image {picture.rgb.shape[:2]}")
    if alpha.dtype != np.float32:
        raise BadMask(f"the mask has type {alpha.dtype}, not float32")
    low, high = float(alpha.min()), float(alpha.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # false for NaN, too
        raise BadMask(f"the mask has values from {low} to {high}, not from 0 to 1")


def _mask(picture: Picture, alpha: Alpha, options: Options, rows: slice) -> Floats:
    """The mask of some rows after threshold, reversal and the input's transparency."""
    mask: Floats = np.clip(alpha[rows], 0, 1)
    if options.threshold is not None:
        mask = (mask > options.threshold).astype(np.float32)
    if options.reverse:
        np.subtract(1, mask, out=mask)
    if picture.alpha is not None:
        mask *= picture.alpha[rows] * np.float32(1 / 255)
    return mask


def _write_mask(target: Pixels, picture: Picture, alpha: Alpha, options: Options) -> None:
    for rows in strips(*alpha.shape):
        target[rows] = (_mask(picture, alpha, options, rows) * 255).astype(np.uint8)


def _rgba(picture: Picture, alpha: Alpha, options: Options, foreground: Foreground) -> Pixels:
    colours = picture.rgb
    if options.threshold is None:
        mask = alpha
        if options.reverse or picture.alpha is not None:
            mask = np.empty_like(alpha)
            for rows in strips(*alpha.shape):
                mask[rows] = _mask(picture, alpha, options, rows)
        # A transparent input was composited over white; the estimate removes that white again.
        colours = foreground(picture.rgb, mask)
    result = np.empty((*alpha.shape, 4), np.uint8)
    result[..., :3] = colours
    _write_mask(result[..., 3], picture, alpha, options)
    return result


def _blend(front: Floats, mask: Floats, back: Floats) -> Pixels:
    """front * mask + back * (1 - mask), truncated; overwrites ``front`` and ``back``."""
    weight = mask[..., np.newaxis]
    front *= weight
    back *= 1 - weight
    front += back
    return front.astype(np.uint8)


def _flat(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    result = np.empty_like(picture.rgb)
    for rows in strips(*alpha.shape):
        front = picture.rgb[rows].astype(np.float32)
        back = np.empty_like(front)
        back[...] = options.background
        result[rows] = _blend(front, _mask(picture, alpha, options, rows), back)
    return result


def _blur(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    result = _blurred(picture.rgb)
    for rows in strips(*alpha.shape):
        front, back = picture.rgb[rows].astype(np.float32), result[rows].astype(np.float32)
        result[rows] = _blend(front, _mask(picture, alpha, options, rows), back)
    return result


def _blurred(rgb: RGB) -> Pixels:
    import cv2  # noqa: PLC0415  # takes seconds, so it must not happen before the port is open

    height, width = rgb.shape[:2]
    if height > _BLUR_WIDTH > width:  # for each row, however short, OpenCV takes microseconds
        return np.ascontiguousarray(_blurred(np.ascontiguousarray(rgb.swapaxes(0, 1))).swapaxes(0, 1))
    if width <= _BLUR_WIDTH:
        whole: Pixels = cv2.GaussianBlur(rgb, (0, 0), BLUR_SIGMA)
        return whole
    result = np.empty_like(rgb)
    for left in range(0, width, _BLUR_WIDTH):
        right = min(left + _BLUR_WIDTH, width)
        start = max(left - _BLUR_REACH, 0)
        block = cv2.GaussianBlur(rgb[:, start : right + _BLUR_REACH], (0, 0), BLUR_SIGMA)
        result[:, left:right] = block[:, left - start : right - start]
    return result


def _overlay(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    import cv2  # noqa: PLC0415  # as above

    result = np.empty_like(picture.rgb)
    inside = np.empty(alpha.shape, np.uint8)
    tint = np.array(GREEN, np.uint16)
    for rows in strips(*alpha.shape):
        mask = _mask(picture, alpha, options, rows)
        inside[rows] = (mask > 0.5) * np.uint8(255)
        tinted = ((picture.rgb[rows] + tint) // 2).astype(np.float32)
        result[rows] = _blend(tinted, mask, picture.rgb[rows].astype(np.float32))
    border = cv2.Canny(inside, 50, 100)
    for rows in strips(*alpha.shape):
        result[rows][border[rows] != 0] = GREEN
    return result
