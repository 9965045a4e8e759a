"""The size of the model input for an image of any size: pure arithmetic, callable from any thread.

The engine calls it for every image, and ``service.app`` for the size of the canary. It must give the package's own size
wherever that is valid and within the limit.

transparent-background rounds each side to a multiple of 32 with Python's ``round`` (half to even), without a lower
limit. So a side of 16 or less becomes 0, and the network fails with "height and width must be > 0". In ``dynamic`` mode
the package limits only the *short* side, to 1280, so the network would get 20000 x 1280 whole. Here both a minimum and
a maximum apply, and the maximum has two parts. The number of pixels limits memory. The length of a side limits time as
well: the network's axial attention compares every position on a side with every other, so its work grows with the
square. 131072 x 32 has as many pixels as 2048 x 2048, but 64 times as many pairs of positions.
"""

from __future__ import annotations

import math
from typing import Literal

ResizeMode = Literal["static", "dynamic"]

STRIDE = 32
"""The network halves the image five times, so each side of its input must be a multiple of 2**5."""

DYNAMIC_SHORT_SIDE = 1280
"""The maximum of the short side: what ``Remover`` passes as ``L`` to the package's ``dynamic_resize``."""

MAX_SIDE = 16384
"""The maximum of the long side, in pixels. With 4194304 pixels, the default limit, it applies only to pictures that are
more than 64 times as long as wide: no panorama is."""


def package_size(width: int, height: int) -> tuple[int, int]:
    """The result of the package's ``dynamic_resize(L=1280)``, including sides of 0 and sizes that are too large.

    The operations and their order are the package's own: floating-point rounding decides how an exact half is rounded.
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
    """The (width, height) in pixels of the model input for an image of ``width`` x ``height`` pixels.

    Each side is a multiple of 32, at least 32 and at most ``MAX_SIDE``, and the product is at most
    ``max_model_pixels``. If the package's own size meets these conditions, it is the result. Larger sizes are scaled
    down; the ratio is kept as far as multiples of 32 allow, and no side becomes smaller than 32. An image that is as
    large as a model input has that model input.

    Args:
        width: of the image, at least 1.
        height: of the image, at least 1.
        resize: ``static`` always gives ``base_size`` (with the same limits); ``dynamic`` depends on the image.
        base_size: (width, height) of the mode, from the package's configuration.
        max_model_pixels: the limit; at least 32 x 32.

    Raises:
        ValueError: a side is below 1, or the limit is below 32 x 32.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image of {width}x{height} pixels has no model input")
    if max_model_pixels < STRIDE * STRIDE:
        raise ValueError(
            f"max_model_pixels={max_model_pixels} is below {STRIDE}x{STRIDE}, the smallest model input"
        )
    wanted = base_size if resize == "static" else package_size(width, height)
    w, h = (max(STRIDE, side) for side in wanted)
    if w * h <= max_model_pixels and max(w, h) <= MAX_SIDE:
        return w, h
    return _scaled_down(w, h, max_model_pixels)


def _scaled_down(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """A size of about the same ratio, in multiples of 32, within both limits and not much smaller."""
    scale = min(math.sqrt(max_pixels / (width * height)), MAX_SIDE / max(width, height))
    w, h = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height))
    # Rounding up, or raising a thin side to 32, may have exceeded the limit. Then the long side is shortened.
    if w >= h:
        return min(w, max_pixels // h // STRIDE * STRIDE), h
    return w, min(h, max_pixels // w // STRIDE * STRIDE)


def safe_canary_size(requested: int) -> int:
    """The side in pixels of the square canary to use if ``requested`` is configured.

    A side is safe if the package's own arithmetic gives a valid model input. An unsafe side is raised to 32, the
    smallest canary that the network gets without resizing. ``static`` accepts any side, but the result does not depend
    on the resize mode: a safe canary stays safe when the mode is changed.
    """
    return requested if requested > 0 and min(package_size(requested, requested)) >= STRIDE else STRIDE
