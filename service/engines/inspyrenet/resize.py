"""The size at which an image is fed to the network: pure arithmetic, no imports, safe from any thread.

transparent-background rounds each side to a multiple of 32 with Python's ``round`` (half to even) and knows no
lower bound: a side of 16 or less becomes 0 and the network dies with "height and width must be > 0". In
``dynamic`` mode it caps only the *short* side, at 1280, so 20000 x 1280 would go to the network whole. Here both
ends are closed, and everything in between is the package's own answer.
"""

from __future__ import annotations

import math
from typing import Literal

ResizeMode = Literal["static", "dynamic"]

STRIDE = 32
"""The network halves the image five times: each side of its input is a multiple of 2**5."""

DYNAMIC_SHORT_SIDE = 1280
"""What ``Remover`` passes as ``L`` to the package's ``dynamic_resize``: the longest the short side may be."""


def package_size(width: int, height: int) -> tuple[int, int]:
    """What the package's ``dynamic_resize(L=1280)`` answers, its zeros and its giants included.

    The same operations in the same order as the package, since floating point decides the halves.
    """
    w: float = width
    h: float = height
    if w >= h > DYNAMIC_SHORT_SIDE:
        w, h = w / (h / DYNAMIC_SHORT_SIDE), DYNAMIC_SHORT_SIDE
    elif h > w > DYNAMIC_SHORT_SIDE:
        h, w = h / (w / DYNAMIC_SHORT_SIDE), DYNAMIC_SHORT_SIDE
    return round(w / STRIDE) * STRIDE, round(h / STRIDE) * STRIDE


def model_input_size(
    width: int, height: int, *, resize: ResizeMode, base_size: tuple[int, int], max_model_pixels: int
) -> tuple[int, int]:
    """The (width, height) in pixels fed to the network for an image of ``width`` x ``height`` pixels.

    Each side is a multiple of 32 and at least 32, and the product is at most ``max_model_pixels``; where the
    package's own answer already fulfils that, it is the answer. Larger inputs are scaled down keeping the ratio,
    as far as multiples of 32 allow; a side never falls under 32.

    Args:
        width: of the image, at least 1.
        height: of the image, at least 1.
        resize: ``static`` always answers ``base_size`` (bounded as above); ``dynamic`` follows the image.
        base_size: (width, height) of the mode, from the package's configuration.
        max_model_pixels: the bound; at least 32 x 32.

    Raises:
        ValueError: a side is below 1, or the bound leaves no valid size at all.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image of {width}x{height} pixels has no model input")
    if max_model_pixels < STRIDE * STRIDE:
        raise ValueError(
            f"max_model_pixels={max_model_pixels} is below {STRIDE}x{STRIDE}, the smallest model input"
        )
    wanted = base_size if resize == "static" else package_size(width, height)
    w, h = (max(STRIDE, side) for side in wanted)
    if w * h <= max_model_pixels:
        return w, h
    return _scaled_down(w, h, max_model_pixels)


def _scaled_down(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """A size of about that ratio, in multiples of 32, of at most ``max_pixels`` and not far below."""
    scale = math.sqrt(max_pixels / (width * height))
    w, h = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height))
    # Rounding up, or raising a thin side to 32, may have gone over the bound: then the long side gives way.
    if w >= h:
        return min(w, max_pixels // h // STRIDE * STRIDE), h
    return w, min(h, max_pixels // w // STRIDE * STRIDE)


def safe_canary_size(requested: int) -> int:
    """The side in pixels of the (square) canary to use where ``requested`` was asked for.

    A side is safe when the package's own arithmetic gives a model input without help; an unsafe one is raised to
    32, the smallest canary that reaches the network pixel for pixel. ``static`` would take any side, but the
    answer does not depend on the mode: a canary that is safe stays so when the mode is changed.
    """
    return requested if requested > 0 and min(package_size(requested, requested)) >= STRIDE else STRIDE
