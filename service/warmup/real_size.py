"""The real size: the model input of a picture as clients send them.

``target`` reports it to the supervisor, which has it proved. A pure function.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from supervisor.protocol import Size

PHOTOGRAPH_PIXELS = 12_000_000
"""Of a telephone's photograph, whose sides are as 4 to 3."""


def real_size(model_input_size: Callable[[int, int], tuple[int, int]], *, max_pixels: int) -> Size:
    """The model input of a 12-megapixel photograph, or of the largest picture that is allowed, if that is smaller.

    Args:
        model_input_size: the engine's rule, from a picture's (width, height) to that of its model input.
        max_pixels: of a picture that a client may send.
    """
    height = max(1, math.isqrt(min(PHOTOGRAPH_PIXELS, max_pixels) * 3 // 4))
    return Size(*model_input_size(max(1, height * 4 // 3), height))
