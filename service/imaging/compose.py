"""From a picture and its mask to the pixels of the answer: ``transparent_background.Remover.process``, leaner.

The formulas are those of transparent-background 1.3.4, and its results are met within one level of 255 (it computes
in float64, here float32). It makes several float64 copies of the image; here the arithmetic runs in strips of
rows, so that beside the input (7 bytes a pixel: RGB and the float32 mask) there is little more than the result.

Peak memory, bytes a pixel, beside the input and 13 MiB for the strips: mask 1; rgba 4, plus what ``foreground`` takes
if there is no threshold (and 4 for the mask if it is reversed or the input was transparent); a flat background 3;
blur 3; overlay 5, of which 2 are to find the outline, where OpenCV takes some more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from service.engines.protocol import RGB, Alpha
from service.imaging.codec import STRIP_PIXELS, Picture, Pixels
from service.imaging.options import GREEN, Options, Output

Floats = npt.NDArray[np.float32]

Foreground = Callable[[RGB, Alpha], RGB]
"""Estimates the colours of the foreground alone, as ``Engine.foreground`` does."""

BLUR_SIGMA = 15.0
"""Standard deviation, in pixels, of the blur behind ``output=blur``."""

_TOLERANCE = 1e-3
"""How far outside 0-1 a mask may lie, for the rounding of reduced precision."""


class BadMask(Exception):
    """The engine's mask is of another size than the image, not finite, or outside 0-1."""


def compose(picture: Picture, alpha: Alpha, options: Options, foreground: Foreground) -> Pixels:
    """Make the answer's pixels.

    Threshold and reversal apply to the mask first, in that order; then the input's own transparency multiplies it,
    so that what was transparent stays transparent (or shows the background) whatever is asked for.

    Args:
        picture: the image.
        alpha: its mask, H x W, float32, 0-1; left unchanged.
        options: what to make of them.
        foreground: called for ``rgba`` without a threshold.

    Returns:
        uint8: H x W for ``mask``, H x W x 4 for ``rgba``, else H x W x 3.

    Raises:
        BadMask: the mask cannot be one.
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
    """Make sure that a mask can be one for this picture.

    Raises:
        BadMask: wrong shape or type, NaN or infinity, or values outside 0-1 (by more than rounding).
    """
    if alpha.shape != picture.rgb.shape[:2]:
        raise BadMask(f"the mask is {alpha.shape}, the image {picture.rgb.shape[:2]}")
    if alpha.dtype != np.float32:
        raise BadMask(f"the mask is of {alpha.dtype}, not float32")
    low, high = float(alpha.min()), float(alpha.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # false for NaN, too
        raise BadMask(f"the mask's values span {low} to {high}, not 0 to 1")


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    rows = max(1, STRIP_PIXELS // shape[1])
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


def _mask(picture: Picture, alpha: Alpha, options: Options, rows: slice) -> Floats:
    """The final mask of some rows: threshold, reversal, the input's transparency."""
    mask: Floats = np.clip(alpha[rows], 0, 1)
    if options.threshold is not None:
        mask = (mask > options.threshold).astype(np.float32)
    if options.reverse:
        np.subtract(1, mask, out=mask)
    if picture.alpha is not None:
        mask *= picture.alpha[rows] * np.float32(1 / 255)
    return mask


def _write_mask(target: Pixels, picture: Picture, alpha: Alpha, options: Options) -> None:
    for rows in _strips(alpha.shape):
        target[rows] = (_mask(picture, alpha, options, rows) * 255).astype(np.uint8)


def _rgba(picture: Picture, alpha: Alpha, options: Options, foreground: Foreground) -> Pixels:
    colours = picture.rgb
    if options.threshold is None:
        mask = alpha
        if options.reverse or picture.alpha is not None:
            mask = np.empty_like(alpha)
            for rows in _strips(alpha.shape):
                mask[rows] = _mask(picture, alpha, options, rows)
        # A transparent input over white is itself a blend by its alpha: the estimate takes the white out again.
        colours = foreground(picture.rgb, mask)
    result = np.empty((*alpha.shape, 4), np.uint8)
    result[..., :3] = colours
    _write_mask(result[..., 3], picture, alpha, options)
    return result


def _blend(front: Floats, mask: Floats, back: Floats) -> Pixels:
    """front * mask + back * (1 - mask), truncated; uses ``front`` and ``back`` up."""
    weight = mask[..., np.newaxis]
    front *= weight
    back *= 1 - weight
    front += back
    return front.astype(np.uint8)


def _flat(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    result = np.empty_like(picture.rgb)
    for rows in _strips(alpha.shape):
        front = picture.rgb[rows].astype(np.float32)
        back = np.empty_like(front)
        back[...] = options.background
        result[rows] = _blend(front, _mask(picture, alpha, options, rows), back)
    return result


def _blur(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    import cv2  # noqa: PLC0415  # seconds to import: only after the port is open, where it is needed

    result: Pixels = cv2.GaussianBlur(picture.rgb, (0, 0), BLUR_SIGMA)
    for rows in _strips(alpha.shape):
        front, back = picture.rgb[rows].astype(np.float32), result[rows].astype(np.float32)
        result[rows] = _blend(front, _mask(picture, alpha, options, rows), back)
    return result


def _overlay(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    import cv2  # noqa: PLC0415  # as above

    result = np.empty_like(picture.rgb)
    inside = np.empty(alpha.shape, np.uint8)
    tint = np.array(GREEN, np.uint16)
    for rows in _strips(alpha.shape):
        mask = _mask(picture, alpha, options, rows)
        inside[rows] = (mask > 0.5) * np.uint8(255)
        tinted = ((picture.rgb[rows] + tint) // 2).astype(np.float32)
        result[rows] = _blend(tinted, mask, picture.rgb[rows].astype(np.float32))
    border = cv2.Canny(inside, 50, 100)
    for rows in _strips(alpha.shape):
        result[rows][border[rows] != 0] = GREEN
    return result
