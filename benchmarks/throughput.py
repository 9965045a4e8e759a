"""Measures a batch of photographs: four clients of the service, compared with stock in a loop over the same files.

``python -m benchmarks.throughput`` fails if an answer is not 200. The batch is 24 photographs of 0.05 to 1 megapixels,
in portrait and landscape format, the same in every run. The clients post them over HTTP; a client that is free takes
the next one. Stock cuts them out one after another in its own process, as its README shows.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import _harness, _load, _sides
from benchmarks.scenes import PHOTOGRAPHS, photograph

COUNT = 24
CLIENTS = 4
MEGAPIXELS = (0.05, 1.0)
SHAPES = (1.0, 4 / 3, 3 / 2, 16 / 9)
"""Long side divided by short side."""
FORMATS = ("JPEG", "JPEG", "JPEG", "PNG")
"""The formats that cameras and editors write, about as often as they occur."""


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("throughput", given)
    checkpoint = _sides.weights()
    count, largest = (4, 0.12) if given.quick else (COUNT, MEGAPIXELS[1])
    with _sides.scratch() as folder:
        files = batch(folder, count, largest)
        pictures = [path.read_bytes() for path in files]
        with (
            # With the default deadline, a slow machine would refuse a client that waits behind three large pictures.
            _sides.Service(_sides.used_home("auto"), WEIGHTS=checkpoint, REQUEST_TIMEOUT=3600) as service,
            _sides.Stock(_sides.used_home("stock"), checkpoint) as stock,
        ):
            service.wait("/warmup")

            def ours() -> float:
                return 60 * count / _load.post_all(service.port, pictures, CLIENTS)

            def theirs() -> float:
                return 60 * count / sum(stock.cut_out(path, folder / "cut-out.png") for path in files)

            for _ in range(_sides.UNMEASURED):
                service.cut_out(pictures[0])
                stock.cut_out(files[0], folder / "cut-out.png")
            samples = _harness.alternate({"ours": ours, "stock": theirs}, given.rounds)
            precision = service.warmup()["precision"]
    report.extra["pictures"] = [path.name for path in files]
    report.add(
        _harness.Row(
            f"{count} photographs, {CLIENTS} clients",
            "pictures/min",
            samples["ours"],
            samples["stock"],
            other="stock, one after another",
            rate=True,
            note=precision,
        )
    )
    report.finish()
    _harness.bars(report, f"{count} photographs of {MEGAPIXELS[0]:g} to {largest:g} megapixels")


def batch(folder: Path, count: int, largest: float) -> list[Path]:
    """Write the photographs as files, with a fixed seed.

    Args:
        folder: for the files.
        count: number of photographs.
        largest: megapixels of the largest one. The sizes are spaced evenly on a logarithmic scale.
    """
    rng = np.random.default_rng(7)
    names = itertools.cycle(PHOTOGRAPHS)
    files = []
    for number, size in enumerate(rng.permutation(np.geomspace(MEGAPIXELS[0], largest, count))):
        shape, file_format = float(rng.choice(SHAPES)), str(rng.choice(FORMATS))
        short = math.sqrt(1e6 * size / shape)
        width, height = (round(short), round(short * shape))[:: rng.choice((-1, 1))]
        name = next(names)
        path = folder / f"{number:02d}-{name}-{width}x{height}.{file_format.lower()}"
        Image.fromarray(photograph(name, width, height)).save(path, file_format, quality=90)
        files.append(path)
    return files


if __name__ == "__main__":
    main()
