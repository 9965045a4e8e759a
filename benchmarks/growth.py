"""Measures whether memory grows over a thousand photographs of many sizes, formats and outputs.

``python -m benchmarks.growth [--pictures 1000] [--mode fast]`` posts the photographs one at a time to the service,
which runs the real network with dummy weights, and reads its resident size after each. The benchmark fails if the
confidence interval is above zero and the slope is more than 10 kB a picture.

It judges the slope over the second half, because by then all memory that is kept for later pictures has been taken.
Readings that follow each other are similar. So the confidence interval is that of a straight line through the means of
ten blocks.
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
"""The shortest and the longest side of a picture, in pixels."""
FORMATS = ("JPEG", "JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
OUTPUTS = ("rgba", "rgba", "mask", "green", "white", "blur", "overlay", "%23ffd166")
ANSWERS = ("png", "webp", "avif", "jpeg")
BLOCKS = 10
ALLOWED = 10_000
"""The allowed slope, in bytes a picture."""


@dataclass(frozen=True, slots=True)
class Slope:
    """The growth in bytes a picture, and the limits of its 95 % confidence interval."""

    value: float
    low: float
    high: float
    start: float
    """The value of the line at the first picture, in bytes."""

    @property
    def grows(self) -> bool:
        """Whether the interval is above zero and the slope is more than the allowed one."""
        return self.low > 0 and self.value > ALLOWED

    def __str__(self) -> str:
        return f"{self.value:+.0f} bytes a picture ({self.low:+.0f} to {self.high:+.0f})"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this benchmark has."""
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
            aim=f"slope not above zero, or below {ALLOWED} bytes a picture",
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
    """Yield photographs as files, each with its query. The seed is fixed. Most photographs are small."""
    rng = np.random.default_rng(11)
    shortest, longest = SIDES
    for _ in range(count):
        # The square of a uniform number makes half of the sides shorter than 128 pixels. All sizes still occur.
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
    """Fit a straight line to the means of blocks of readings.

    Args:
        resident: the resident size after each picture, in bytes.
        first: the first picture that counts.
    """
    numbers = np.arange(first, len(resident))
    blocks = np.array_split(numbers, min(BLOCKS, len(numbers) // 2))
    line = stats.linregress([block.mean() for block in blocks], [resident[block].mean() for block in blocks])
    reach = float(stats.t.ppf((1 + _harness.CONFIDENCE) / 2, len(blocks) - 2)) * float(line.stderr)
    value = float(line.slope)
    return Slope(value, value - reach, value + reach, float(line.intercept))


def draw(report: _harness.Report, resident: list[int], slope: Slope) -> None:
    """Draw every reading and the fitted line."""
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
