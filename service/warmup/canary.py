"""The canary: the picture that a probe sends, and the check of the cut-out that comes back.

``target`` uses both. A picture must stay the same while a process runs, because a judge compares each mask with the
first one that passed.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.imaging.png_writer import write_png
from supervisor.protocol import Outcome, ProbeError

DRIFT_TOLERANCE = 2 / 255
"""A probe fails if its alpha (0-1) differs by more than this, in the mean, from that of the first probe that passed."""


_STRIP_ROWS = 64
"""Rows that are computed at once, so that a picture of several megapixels takes little memory beside its pixels."""


def picture(width: int, height: int) -> bytes:
    """A PNG of ``width`` x ``height`` pixels, always the same: a textured disc on a calmer textured ground."""
    random = np.random.default_rng(20)
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        rows = rgb[top : top + _STRIP_ROWS]
        y, x = np.mgrid[top : top + len(rows), 0:width].astype(np.float64)
        y, x = y / height, x / width
        noise = random.normal(0.0, 1.0, rows.shape)
        disc = ((x - 0.5) ** 2 + (y - 0.55) ** 2 < 0.3**2)[..., None]
        stripes = np.sin(24 * np.pi * (x + 0.6 * y))[..., None]
        subject = np.array([205, 84, 40]) + 30 * stripes + 10 * noise
        ground = np.array([120, 150, 175]) + 40 * (y - 0.5)[..., None] + 4 * noise
        rows[...] = np.clip(np.where(disc, subject, ground), 0, 255)
    return write_png(rgb)


class Judge:
    """Decides whether an answer is a cut-out of the canary.

    It remembers the alpha of the first probe that passed. A new load or precision needs a new judge.

    Args:
        size: width and height of the canary, in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._first_alpha: npt.NDArray[np.uint8] | None = None

    def check(self, body: bytes) -> None:
        """Judge an encoded RGBA image.

        Raises:
            ProbeError: ``bad_output``, with what was wrong.
        """
        try:
            with Image.open(io.BytesIO(body), formats=["PNG"]) as image:
                image.load()
                mode, size = image.mode, image.size
                alpha = np.asarray(image.getchannel("A")) if mode == "RGBA" else None
        except Exception as error:
            raise ProbeError(Outcome.BAD_OUTPUT, "the cut-out of the canary does not decode") from error
        if size != self._size:
            raise ProbeError(
                Outcome.BAD_OUTPUT,
                f"the cut-out is {size[0]}x{size[1]} pixels; the canary has {self._size[0]}x{self._size[1]}",
            )
        if alpha is None:
            raise ProbeError(Outcome.BAD_OUTPUT, f"the cut-out has no alpha channel (mode {mode})")
        if alpha.min() == alpha.max():
            raise ProbeError(
                Outcome.BAD_OUTPUT, f"the mask is constant (alpha {alpha.min() / 255:.3f} everywhere)"
            )
        if self._first_alpha is None:
            self._first_alpha = alpha
            return
        drift = float(np.mean(np.abs(alpha.astype(np.int16) - self._first_alpha))) / 255
        if drift > DRIFT_TOLERANCE:
            raise ProbeError(
                Outcome.BAD_OUTPUT,
                f"the mask drifted by {drift * 255:.1f}/255 in the mean from the first passing probe's; "
                f"at most {DRIFT_TOLERANCE * 255:.0f}/255 is tolerated",
            )
