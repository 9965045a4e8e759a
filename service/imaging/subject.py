"""What a mask says about its picture: where the subject is, and how sure the mask is of its edges.

The pipeline calls ``measure`` for every picture of a client, because the answer's headers tell both. So it must stay
cheap: one pass over the mask.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.engines.protocol import Alpha
from service.imaging.mask import is_unchanged, mask_rows
from service.imaging.options import Options
from service.imaging.picture import Picture, strips
from service.imaging.placement import Box
from service.native import loops

LEAST_ALPHA = 0.05
"""A pixel with less foreground belongs to no subject: masks have a faint haze, which nobody sees."""

_UNCERTAIN = (0.1, 0.9)


class Subject(NamedTuple):
    """What was found in a picture."""

    box: Box | None
    """Of everything that the answer keeps, in the upright input; None if it keeps nothing."""
    uncertainty: float
    """0-1: the share of the input's pixels whose alpha is from 0.1 to 0.9 in the engine's mask."""


def measure(picture: Picture, alpha: Alpha, options: Options) -> Subject:
    """Find the subject.

    The box belongs to the mask after threshold, reversal and the input's own transparency. The uncertainty belongs to
    the mask before them, which are no doubts of the engine.

    Args:
        picture: the image.
        alpha: its mask, valid.
        options: threshold and reversal.
    """
    if is_unchanged(picture, options):
        uncertain, in_row, in_column = _survey(alpha)
        return Subject(_box(in_column, in_row), uncertain / alpha.size)
    height, width = alpha.shape
    in_row, in_column = np.zeros(height, bool), np.zeros(width, bool)
    uncertain = 0
    for rows in strips(height, width):
        uncertain += _survey(alpha[rows])[0]
        mask = mask_rows(picture, alpha, options, rows)
        _, in_row[rows], columns = _survey(mask)
        in_column |= columns
    return Subject(_box(in_column, in_row), uncertain / alpha.size)


def _survey(mask: Alpha) -> tuple[int, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """How many pixels are uncertain; which rows and columns have the subject."""
    return loops.survey(mask, low=_UNCERTAIN[0], high=_UNCERTAIN[1], visible=LEAST_ALPHA)


def _box(in_column: npt.NDArray[np.bool_], in_row: npt.NDArray[np.bool_]) -> Box | None:
    columns, rows = np.flatnonzero(in_column), np.flatnonzero(in_row)
    if not len(columns):
        return None
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)
