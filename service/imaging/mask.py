"""The mask as the options want it, strip by strip, and whether it is valid at all.

``compose`` and ``subject`` read masks through ``mask_rows``, so that they always agree on what the foreground is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.engines.protocol import Alpha
from service.imaging.options import Options
from service.imaging.picture import Picture
from service.imaging.placement import Box
from service.native import loops

Floats = npt.NDArray[np.float32]

_TOLERANCE = 1e-3
"""How far outside 0-1 the values of a mask may be: reduced precision rounds."""


class BadMask(Exception):
    """The engine's mask has another size than the image, is not finite, or has values outside 0-1."""


def check_mask(picture: Picture, alpha: Alpha) -> None:
    """Make sure that a mask is valid for a picture.

    Raises:
        BadMask: wrong shape or type, NaN or infinity, or values outside 0-1 by more than rounding.
    """
    if alpha.shape != picture.rgb.shape[:2]:
        raise BadMask(f"the mask has shape {alpha.shape}, the image {picture.rgb.shape[:2]}")
    if alpha.dtype != np.float32:
        raise BadMask(f"the mask has type {alpha.dtype}, not float32")
    if loops.any_outside(alpha, -_TOLERANCE, 1 + _TOLERANCE):
        raise BadMask(f"the mask has values from {alpha.min()} to {alpha.max()}, not from 0 to 1")


def is_unchanged(picture: Picture, options: Options) -> bool:
    """Whether ``mask_rows`` gives the rows of the engine's mask themselves."""
    return options.threshold is None and not options.reverse and picture.alpha is None


def mask_rows(picture: Picture, alpha: Alpha, options: Options, rows: slice, *, own: bool = True) -> Floats:
    """The mask of some rows after threshold and reversal, and with ``own``, after the input's transparency.

    Where nothing changes it is a view of ``alpha``, so nobody may write to it. Its values may lie as far outside 0-1 as
    ``check_mask`` allows.
    """
    mask = alpha[rows]
    if options.threshold is not None:
        mask = (mask > options.threshold).astype(np.float32)
    if options.reverse:
        mask = np.subtract(1, mask)
    if own and picture.alpha is not None:
        mask = mask * (picture.alpha[rows] * np.float32(1 / 255))
    return mask


def keep_only(alpha: Alpha, box: Box) -> None:
    """Make everything outside a box background, in place."""
    alpha[: box.top] = 0
    alpha[box.bottom :] = 0
    alpha[box.rows, : box.left] = 0
    alpha[box.rows, box.right :] = 0
