"""Colour unmixing compared with PyMatting's ``estimate_foreground_ml``: error and CPU time.

``python -m benchmarks.foreground`` has no limit for the figures, so only an error makes it fail, such as a missing
PyMatting. The true foreground of every picture is known (see ``scenes``); the error is that of composites over new
backgrounds. Both sides must use one core.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from benchmarks import _harness, stock
from benchmarks.scenes import MATTES, composite_errors, scenes
from service.engines.unmixing import estimate_foreground

SIZES = ((64, 64), (300, 200), (600, 400), (1024, 1024), (2400, 1600))


def main() -> None:
    given = _harness.options(__doc__)
    cv2.setNumThreads(1)  # one core for both, because PyMatting uses only one
    report = _harness.Report("foreground", given)
    sides: dict[str, Callable[[Any, Any], Any]] = {
        "ours": estimate_foreground,
        "theirs": stock.estimate_foreground_ml,
    }
    for estimate in sides.values():
        estimate(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.float32))
    for width, height in SIZES[:2] if given.quick else SIZES:
        found: dict[str, dict[str, list[Any]]] = {side: {kind: [] for kind in MATTES} for side in sides}
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for scene in scenes(width, height):
            for side, estimate in sides.items():
                start = time.thread_time()
                colours = estimate(scene.image, scene.alpha)
                seconds[side].append(time.thread_time() - start)
                found[side][scene.kind].append(composite_errors(scene, colours))
        report.add(
            _harness.Row(
                f"{width} x {height}, CPU time",
                "ms",
                [1000 * s for s in seconds["ours"]],
                [1000 * s for s in seconds["theirs"]],
                other="PyMatting",
            )
        )
        for figure in ("mean", "p99"):
            for kind in MATTES:
                ours, theirs = (
                    [getattr(e, figure) for e in found[side][kind]] for side in ("ours", "theirs")
                )
                report.add(
                    _harness.Row(
                        f"{width} x {height}, {kind}, {figure} error",
                        "/255",
                        ours,
                        theirs,
                        other="PyMatting",
                        note=f"mean over scenes {statistics.fmean(ours):.3f}, PyMatting {statistics.fmean(theirs):.3f}",
                    )
                )
    report.finish()
    times = [row for row in report.rows if row.unit == "ms"]
    _harness.bars(report, "Colour unmixing, CPU time a picture", times)


if __name__ == "__main__":
    main()
