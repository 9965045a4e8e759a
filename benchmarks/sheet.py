"""Draws the README's sheet of subjects: photographs and what the embedded engine cuts out of them.

``python -m benchmarks.sheet docs/images/subjects.jpg`` writes it. The photographs come with scikit-image and are free
to show. They must not be selected by the quality of their cut-outs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.scenes import Pixels
from benchmarks.subjects import photograph
from service.engines.u2netp.engine import U2netpEngine

ORDER = ("astronaut", "camera", "coffee", "chelsea", "rocket")
HEIGHT, GAP, SQUARE = 240, 6, 12
"""Pixels: of a picture, between two, of the chequered ground."""
LIGHT, DARK = 236, 200


def main() -> None:
    engine = U2netpEngine()
    engine.prepare(lambda *_: None)
    engine.load(lambda *_: None)
    pairs = [_pair(engine, photograph(name)) for name in ORDER]
    lines = [
        np.hstack([pairs[0], _white(HEIGHT, 3 * GAP), pairs[1]]),
        np.hstack([pairs[2], _white(HEIGHT, 3 * GAP), pairs[3]]),
        pairs[4],
    ]
    width = max(line.shape[1] for line in lines)
    rows: list[Pixels] = []
    for line in lines:
        rest = width - line.shape[1]
        centred = [_white(HEIGHT, rest // 2), line, _white(HEIGHT, rest - rest // 2)]
        rows += [np.hstack(centred), _white(GAP, width)]
    Image.fromarray(np.vstack(rows[:-1])).save(Path(sys.argv[1]), quality=85, optimize=True, progressive=True)


def _pair(engine: U2netpEngine, image: Pixels) -> Pixels:
    """A photograph and its cut-out before a chequered ground, side by side."""
    image = np.ascontiguousarray(image)
    alpha = engine.infer(image).alpha
    cut = np.dstack([engine.foreground(image, alpha), np.rint(alpha * 255).astype(np.uint8)])
    size = round(image.shape[1] * HEIGHT / image.shape[0]), HEIGHT
    y, x = np.indices((HEIGHT, size[0])) // SQUARE
    ground = np.where((x + y) % 2 == 0, LIGHT, DARK).astype(np.uint8)
    shown = Image.fromarray(ground).convert("RGBA")
    shown.alpha_composite(Image.fromarray(cut, "RGBA").resize(size, Image.Resampling.LANCZOS))
    before = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    return np.hstack([np.asarray(before), _white(HEIGHT, GAP), np.asarray(shown.convert("RGB"))])


def _white(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), 255, np.uint8)


if __name__ == "__main__":
    main()
