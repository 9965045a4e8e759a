"""Writing a cut-out as PNG: the service's settings beside Pillow's default, which stock uses.

``python -m benchmarks.png`` fails if a file, read back, does not hold exactly the pixels that were written. Both sides
write the same pixels: the unmixed colours of each of scikit-image's photographs, with a matte.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import _harness
from benchmarks.scenes import PHOTOGRAPHS, matte, photograph
from service.engines.unmixing import estimate_foreground
from service.imaging.encode import encode as encode_answer
from service.imaging.options import Format

Pixels = npt.NDArray[np.uint8]

SIDE = 1024
KINDS = ("hair", "sigmoid")
"""Kinds of mattes; networks make such mattes of portraits."""


def main() -> None:
    given = _harness.options(__doc__)
    cv2.setNumThreads(1)
    report = _harness.Report("png", given)
    cut_outs = make_cut_outs(128 if given.quick else SIDE)
    encoders = {"ours": lambda pixels: encode_answer(pixels, Format.PNG), "stock": as_stock}
    files = {side: [encode(pixels) for pixels in cut_outs] for side, encode in encoders.items()}
    for written in files.values():
        for pixels, file in zip(cut_outs, written, strict=True):
            if not np.array_equal(np.asarray(Image.open(io.BytesIO(file))), pixels):
                raise RuntimeError("a PNG file does not hold the pixels that were written")
    sides = {side: milliseconds(encode, cut_outs) for side, encode in encoders.items()}
    samples = _harness.alternate(sides, given.rounds)
    sizes = {side: [len(file) / 1e6 for file in written] for side, written in files.items()}
    height, width = cut_outs[0].shape[:2]
    megapixels = width * height / 1e6
    per_megapixel = {side: [found / megapixels for found in samples[side]] for side in samples}
    report.add(
        _harness.Row(
            "time, a megapixel of RGBA",
            "ms",
            per_megapixel["ours"],
            per_megapixel["stock"],
            note=f"mean of {len(cut_outs)} cut-outs of {width} x {height}; all read back to the bit",
        )
    )
    total = {side: sum(found) for side, found in sizes.items()}
    report.add(
        _harness.Row(
            f"size of each of {len(cut_outs)} files",
            "MB",
            sizes["ours"],
            sizes["stock"],
            note=f"all together {total['ours']:.2f} MB, stock {total['stock']:.2f} MB: "
            f"{total['ours'] / total['stock']:.2f} times as large",
        )
    )
    report.finish()
    _harness.bars(report, "A cut-out as PNG")


def make_cut_outs(side: int) -> list[Pixels]:
    """H x W x 4: every photograph with every kind of matte. They are the same in every run."""
    cut_outs = []
    for seed, name in enumerate(PHOTOGRAPHS):
        for kind in KINDS:
            rgb, alpha = photograph(name, side, side), matte(kind, side, side, seed)
            mask = (alpha * 255).astype(np.uint8)
            cut_outs.append(np.dstack([estimate_foreground(rgb, alpha), mask]))
    return cut_outs


def as_stock(pixels: Pixels) -> bytes:
    """The bytes that ``result.save("cut-out.png")`` writes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def milliseconds(encode: Callable[[Pixels], bytes], cut_outs: list[Pixels]) -> Callable[[], float]:
    """A measurement of that encoder: its mean time for one cut-out."""

    def measure() -> float:
        start = time.perf_counter()
        for pixels in cut_outs:
            encode(pixels)
        return 1000 * (time.perf_counter() - start) / len(cut_outs)

    return measure


if __name__ == "__main__":
    main()
