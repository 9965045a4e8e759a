"""Whether memory grows: a thousand photographs of many sizes, formats and outputs through the real network.

``python -m benchmarks.growth [--pictures 1000] [--mode fast]`` posts them one at a time to the service with dummy
weights and reads its resident size after each. What is judged is the slope over the second half, when what is kept
for later pictures has long been taken: its confidence interval is that of a straight line through the means of ten
blocks, since neighbouring readings resemble each other. It fails if the slope is surely above zero and more than 10 kB
a picture.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image
from scipy import stats

from benchmarks import _harness, _sides
from benchmarks.scenes import PHOTOGRAPHS, photograph

PICTURES = 1000
SIDES = (64, 1024)
"""Pixels of the shortest and the longest side there is."""
FORMATS = ("JPEG", "JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
OUTPUTS = ("rgba", "rgba", "mask", "green", "white", "blur", "overlay", "%23ffd166")
ANSWERS = ("png", "webp", "avif", "jpeg")
BLOCKS = 10
ALLOWED = 10_000
"""Bytes a picture."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Bytes a picture, and where that lies with 95 % confidence."""

    value: float
    low: float
    high: float
    start: float
    """Bytes at the first picture, by the same line."""

    @property
    def grows(self) -> bool:
        """Whether it is surely above zero, and more than is allowed."""
        return self.low > 0 and self.value > ALLOWED

    def __str__(self) -> str:
        return f"{self.value:+.0f} bytes a picture ({self.low:+.0f} to {self.high:+.0f})"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes beside the usual."""
    parser.add_argument("--pictures", type=int, help=f"how many (default {PICTURES})")
    parser.add_argument("--mode", choices=("base", "fast"), default="base", help="which network")


def main() -> None:
    given = _harness.options(__doc__, add=arguments)
    report = _harness.Report("growth", given)
    count = given.more.pictures or (40 if given.quick else PICTURES)
    report.facts["mode"] = given.more.mode
    began = time.monotonic()
    resident = []
    with _sides.Service(_sides.used_home("growth"), WEIGHTS="dummy", MODE=given.more.mode) as service:
        service.wait("/warmup")
        for number, (picture, query) in enumerate(pictures(count)):
            service.cut_out(picture, query)
            resident.append(service.memory())
            if number % 50 == 49:
                print(f"  {number + 1}/{count}: {resident[-1] / 1e6:.1f} MB", file=sys.stderr, flush=True)
    slope = fit(np.array(resident, float), first=count // 2)
    report.add(
        _harness.Row(
            f"resident size, second half of {count} pictures",
            "MB",
            [size / 1e6 for size in resident[count // 2 :]],
            note=f"slope {slope}",
            reach=f"slope not above zero, or below {ALLOWED} bytes a picture",
        )
    )
    report.extra |= {
        "slope, bytes a picture": asdict(slope),
        "resident bytes": resident,
        "seconds": time.monotonic() - began,
    }
    report.finish()
    draw(report, resident, slope)
    if slope.grows and not given.quick:
        raise SystemExit(f"memory grows: {slope}")


def pictures(count: int) -> Iterator[tuple[bytes, str]]:
    """Photographs as files, each with the query it is posted with; seeded, mostly small."""
    rng = np.random.default_rng(11)
    shortest, longest = SIDES
    for _ in range(count):
        # The square of a uniform number: half of the sides are below 128 pixels, and yet each size comes up.
        width, height = (
            round(shortest * (longest / shortest) ** (share**2)) for share in rng.uniform(size=2)
        )
        buffer = io.BytesIO()
        name, file_format = str(rng.choice(PHOTOGRAPHS)), str(rng.choice(FORMATS))
        Image.fromarray(photograph(name, width, height)).save(buffer, file_format)
        output = str(rng.choice(OUTPUTS))
        answer = str(rng.choice(ANSWERS[:-1] if output == "rgba" else ANSWERS))  # JPEG has no transparency
        yield buffer.getvalue(), f"?output={output}&format={answer}"


def fit(resident: np.ndarray, *, first: int) -> Slope:
    """The straight line through the means of blocks of the readings from ``first`` on.

    Args:
        resident: bytes, after each picture.
        first: the first picture that counts.
    """
    numbers = np.arange(first, len(resident))
    blocks = np.array_split(numbers, min(BLOCKS, len(numbers) // 2))
    line = stats.linregress([block.mean() for block in blocks], [resident[block].mean() for block in blocks])
    reach = float(stats.t.ppf((1 + _harness.CONFIDENCE) / 2, len(blocks) - 2)) * float(line.stderr)
    value = float(line.slope)
    return Slope(value, value - reach, value + reach, float(line.intercept))


def draw(report: _harness.Report, resident: list[int], slope: Slope) -> None:
    """Every reading, and the line."""
    title = f"Resident memory, photographs of {SIDES[0]} to {SIDES[1]} pixels a side ({report.facts['mode']})"
    figure, axis = _harness.axes(title, "pictures", "MB")
    axis.plot(np.arange(1, len(resident) + 1), np.array(resident) / 1e6, color=_harness.OURS, linewidth=0.8)
    judged = np.array([len(resident) // 2, len(resident) - 1])
    axis.plot(judged + 1, (slope.start + slope.value * judged) / 1e6, color="#b3475a", label=str(slope))
    axis.set_ylim(0, 1.15 * max(resident) / 1e6)
    axis.legend(frameon=False, loc="lower right")
    _harness.save(figure, report.given, report.name)


if __name__ == "__main__":
    main()
