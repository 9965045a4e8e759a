"""Measures one 1024 x 1024 JPEG to a cut-out PNG: over HTTP from the service, in-process from stock, one at a time.

``python -m benchmarks.warm`` fails if an answer is not 200. It also compares the masks of both sides, and measures the
largest memory of each side. For the memory, each side runs in a new process, one process at a time, with the same
pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import _harness, _sides

SIDE = 1024
AIMS = {"auto": "2.5 x, 4 x", "fp32": "1.3 x, 2 x"}
"""The goals, by the value of ``INSPYRENET_PRECISION``."""


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("warm", given)
    side = 256 if given.quick else SIDE
    checkpoint = _sides.weights()
    with _sides.scratch() as folder:
        picture = folder / "picture.jpg"
        picture.write_bytes(_sides.jpeg(side, side))
        homes = {name: _sides.used_home(name) for name in (*AIMS, "stock")}
        time_and_masks(report, picture, homes, checkpoint, f"{side} x {side}")
        peak_memory(report, picture, homes, checkpoint, f"{side} x {side}")
    report.finish()
    print("  " + "; ".join(f"{key}: {value}" for key, value in report.extra.items()))
    _harness.bars(
        report, "One picture at a time, warm", [row for row in report.rows if row.unit in ("s", "GB")]
    )


def time_and_masks(
    report: _harness.Report, picture: Path, homes: dict[str, Path], checkpoint: Path, size: str
) -> None:
    """Measure all sides in turn, while all of them are warm, and compare the masks."""
    data, png = picture.read_bytes(), picture.with_name("stock.png")
    with (
        _sides.Service(homes["auto"], WEIGHTS=checkpoint, PRECISION="auto", WARMUP_INTERVAL=3600) as auto,
        _sides.Service(homes["fp32"], WEIGHTS=checkpoint, PRECISION="fp32", WARMUP_INTERVAL=3600) as fp32,
        _sides.Stock(homes["stock"], checkpoint) as stock,
    ):
        ours = {"auto": auto, "fp32": fp32}
        for service in ours.values():
            service.wait("/warmup")
        sides: dict[str, Callable[[], float]] = {
            **{
                name: partial(_harness.timed, partial(service.cut_out, data))
                for name, service in ours.items()
            },
            "stock": partial(stock.cut_out, picture, png),
        }
        for _ in range(_sides.UNMEASURED):
            for measure in sides.values():
                measure()
        samples = _harness.alternate(sides, report.given.rounds)
        stock.cut_out(picture, picture.with_name("map.png"), kind="map")
        theirs = np.asarray(Image.open(picture.with_name("map.png")))[..., 0].astype(int)
        for name, service in ours.items():
            note = f"PNG {len(service.cut_out(data)) / 1e6:.2f} MB, stock {png.stat().st_size / 1e6:.2f} MB"
            if name == "auto":
                chosen = service.warmup()
                note += f"; {chosen['precision']}: {chosen['precision_reason']}"
            row = _harness.Row(
                f"{size}, JPEG to PNG, {name}",
                "s",
                samples[name],
                samples["stock"],
                aim=AIMS[name],
                note=note,
            )
            report.add(row)
        for name, service in ours.items():
            mask = np.asarray(Image.open(io.BytesIO(service.cut_out(data, "?output=mask")))).astype(int)
            difference = np.abs(mask - theirs)
            row = _harness.Row(
                f"largest difference of the mask, {name}",
                "levels of 255",
                [float(difference.max())],
                aim="one: alpha within 1e-3, and both round down" if name == "fp32" else "",
                note=f"{difference.mean():.4f} in the mean",
            )
            report.add(row)
        report.extra["seconds by stage, all pictures"] = {
            name: service.metrics("inspyrenet_stage_duration_seconds_sum") for name, service in ours.items()
        }


def peak_memory(
    report: _harness.Report, picture: Path, homes: dict[str, Path], checkpoint: Path, size: str
) -> None:
    """Measure the largest memory of each side, in one new process at a time."""
    data = picture.read_bytes()

    def ours(precision: str) -> float:
        with _sides.Service(homes[precision], WEIGHTS=checkpoint, PRECISION=precision) as service:
            service.wait("/warmup")
            for _ in range(_sides.UNMEASURED):
                service.cut_out(data)
            return service.peak_memory() / 1e9

    def theirs() -> float:
        with _sides.Stock(homes["stock"], checkpoint) as stock:
            for _ in range(_sides.UNMEASURED):
                stock.cut_out(picture, picture.with_name("stock.png"))
            return stock.peak_memory() / 1e9

    sides: dict[str, Callable[[], float]] = {**{name: partial(ours, name) for name in AIMS}, "stock": theirs}
    samples = _harness.alternate(sides, report.given.rounds)
    for name in AIMS:
        what = f"peak memory, {_sides.UNMEASURED} pictures of {size}, {name}"
        report.add(_harness.Row(what, "GB", samples[name], samples["stock"]))


if __name__ == "__main__":
    main()
