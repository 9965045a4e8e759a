"""From a picture and its mask to the pixels of the answer.

The pipeline calls ``compose`` after inference. The formulas are those of ``Remover.process`` in transparent-background
1.3.4, and a change must stay within one level of 255 of its results; it computes in float64, and this module in
float32. Colours that a client asks for are sRGB, so they are brought into the picture's own colour space first. What
shows through a transparent input is the picture's ground, and it is taken off where the answer has another one.

The package makes several float64 copies of the image. Here the arithmetic runs in strips of rows, so that
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
from service.imaging.colour.profiles import in_space_of
from service.imaging.options import GREEN, WHITE, Options, Output
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


def _mask(picture: Picture, alpha: Alpha, options: Options, rows: slice, *, own: bool = True) -> Floats:
    """The mask of some rows after threshold and reversal, and with ``own``, after the input's transparency."""
    mask: Floats = np.clip(alpha[rows], 0, 1)
    if options.threshold is not None:
        mask = (mask > options.threshold).astype(np.float32)
    if options.reverse:
        np.subtract(1, mask, out=mask)
    if own and picture.alpha is not None:
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
        colours = foreground(picture.rgb, mask)
    result = np.empty((*alpha.shape, 4), np.uint8)
    result[..., :3] = colours
    _restore_own_colours(result, picture)
    _write_mask(result[..., 3], picture, alpha, options)
    return result


def _restore_own_colours(result: Pixels, picture: Picture) -> None:
    """Where the input itself is partly transparent, its colours are known and need no estimate: take the ground off."""
    if picture.alpha is None:
        return
    ground = np.array(picture.ground, np.float32)
    for rows in strips(*picture.alpha.shape):
        own = picture.alpha[rows]
        soft = (own > 0) & (own < 255)
        weight = own[soft][:, np.newaxis] * np.float32(1 / 255)
        colours = (picture.rgb[rows][soft] - ground * (1 - weight)) / weight
        result[rows][soft, :3] = np.clip(colours + 0.5, 0, 255).astype(np.uint8)


def _over(picture: Picture, rows: slice, back: Floats) -> Floats:
    """Some rows of the picture; its transparent parts show ``back`` (h x w x 3) instead of the picture's ground."""
    colours = picture.rgb[rows].astype(np.float32)
    if picture.alpha is not None:
        shown = back - np.array(picture.ground, np.float32)
        shown *= ((255 - picture.alpha[rows]) * np.float32(1 / 255))[..., np.newaxis]
        colours += shown
        np.clip(colours, 0, 255, out=colours)
    return colours


def _shown(picture: Picture, rows: slice) -> Pixels:
    """Some rows of the picture as a viewer shows them: over white."""
    if picture.alpha is None or picture.ground == WHITE:
        return picture.rgb[rows]
    white = np.full(picture.rgb[rows].shape, 255, np.float32)
    shown: Pixels = (_over(picture, rows, white) + 0.5).astype(np.uint8)
    return shown


def _blend(front: Floats, mask: Floats, back: Floats) -> Pixels:
    """front * mask + back * (1 - mask), truncated; overwrites ``front`` and ``back``."""
    weight = mask[..., np.newaxis]
    front *= weight
    back *= 1 - weight
    front += back
    return front.astype(np.uint8)


def _flat(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    background = in_space_of(picture.icc, options.background or WHITE)
    result = np.empty_like(picture.rgb)
    for rows in strips(*alpha.shape):
        back = np.empty(result[rows].shape, np.float32)
        back[...] = background
        mask = _mask(picture, alpha, options, rows, own=False)
        result[rows] = _blend(_over(picture, rows, back), mask, back)
    return result


def _blur(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    shown: Pixels = picture.rgb
    if picture.alpha is not None and picture.ground != WHITE:
        shown = np.empty_like(picture.rgb)
        for rows in strips(*alpha.shape):
            shown[rows] = _shown(picture, rows)
    result = _blurred(shown)
    for rows in strips(*alpha.shape):
        back = result[rows].astype(np.float32)
        mask = _mask(picture, alpha, options, rows, own=False)
        result[rows] = _blend(_over(picture, rows, back), mask, back)
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

    green = in_space_of(picture.icc, GREEN)
    result = np.empty_like(picture.rgb)
    inside = np.empty(alpha.shape, np.uint8)
    tint = np.array(green, np.uint16)
    for rows in strips(*alpha.shape):
        mask = _mask(picture, alpha, options, rows)
        inside[rows] = (mask > 0.5) * np.uint8(255)
        shown = _shown(picture, rows)
        tinted = ((shown + tint) // 2).astype(np.float32)
        result[rows] = _blend(tinted, mask, shown.astype(np.float32))
    border = cv2.Canny(inside, 50, 100)
    for rows in strips(*alpha.shape):
        result[rows][border[rows] != 0] = green
    return result
