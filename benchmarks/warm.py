"""A 1024 x 1024 JPEG to a cut-out PNG: over HTTP from the service, in-process from stock; one at a time.

Also says how far the service's fp32 mask is from stock's.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from benchmarks import _harness, _sides

SIDE = 1024


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("warm", given)
    side = 256 if given.quick else SIDE
    checkpoint = _sides.weights(given.out / "weights")
    with _sides.scratch() as folder:
        picture = folder / "picture.jpg"
        picture.write_bytes(_sides.jpeg(side, side))
        homes = {name: folder / name for name in ("auto", "fp32", "stock")}
        for home in homes.values():
            home.mkdir()
        with (
            _sides.Service(homes["auto"], WEIGHTS=checkpoint, PRECISION="auto", WARMUP_INTERVAL=3600) as auto,
            _sides.Service(homes["fp32"], WEIGHTS=checkpoint, PRECISION="fp32", WARMUP_INTERVAL=3600) as fp32,
            _sides.Stock(homes["stock"], checkpoint) as stock,
        ):
            auto.wait("/warmup")
            fp32.wait("/warmup")
            data = picture.read_bytes()
            ours = {"auto": auto, "fp32": fp32}
            sides = {
                **{name: lambda s=s: _harness.timed(lambda: s.cut_out(data)) for name, s in ours.items()},
                "stock": lambda: stock.cut_out(picture, folder / "stock.png"),
            }
            for measure in sides.values():
                measure()  # unmeasured: whatever the first one sets up
            samples = _harness.alternate(sides, given.rounds)
            chosen = auto.warmup()
            size = f"{side} x {side}"
            aims = {"auto": "2.5 x, 4 x", "fp32": "1.3 x, 2 x"}
            for name, s in ours.items():
                stock_bytes = (folder / "stock.png").stat().st_size
                note = f"PNG {len(s.cut_out(data)) / 1e6:.2f} MB, stock {stock_bytes / 1e6:.2f} MB"
                if name == "auto":
                    note += f"; {chosen['precision']}: {chosen['precision_reason']}"
                row = _harness.Row(
                    f"{size}, JPEG to PNG, {name}", "s", samples[name], samples["stock"], reach=aims[name]
                )
                report.add(_harness.Row(row.what, row.unit, row.ours, row.theirs, reach=row.reach, note=note))
            stock.cut_out(picture, folder / "map.png", kind="map")
            theirs = np.asarray(Image.open(folder / "map.png"))[..., 0].astype(int)
            for name, s in ours.items():
                mask = np.asarray(Image.open(io.BytesIO(s.cut_out(data, "?output=mask")))).astype(int)
                difference = np.abs(mask - theirs)
                report.extra[f"mask difference, {name}, levels of 255"] = {
                    "mean": difference.mean(),
                    "largest": int(difference.max()),
                }
            report.extra["stages"] = {
                name: s.metrics("inspyrenet_stage_duration_seconds_sum") for name, s in ours.items()
            }
    report.finish()
    print("  " + "; ".join(f"{key}: {value}" for key, value in report.extra.items()))


if __name__ == "__main__":
    main()
