"""On a CUDA device: one forward pass, pictures per second with eight clients, and one picture from bytes to PNG.

``python -m benchmarks.gpu`` fails if an answer is not 200. Without a CUDA device it measures nothing, and the exit code
is 0. Everything is measured at 1024 x 1024. Both sides must use the same weights; stock uses the device on its own.
"""

from __future__ import annotations

import statistics
import subprocess

from benchmarks import _harness, _load, _sides

SIDE = 1024
CLIENTS = 8
BATCH = 40
"""Pictures in one measurement of the throughput."""
PASSES = 50
"""Pictures in the measurement of the forward pass."""


def main() -> None:
    given = _harness.options(__doc__)
    import torch

    if not torch.cuda.is_available():
        print("gpu: torch sees no CUDA device here; nothing was measured")
        return
    report = _harness.Report("gpu", given)
    report.facts |= {"device": torch.cuda.get_device_name(), "driver": driver()}
    batch, passes = (8, 5) if given.quick else (BATCH, PASSES)
    checkpoint = _sides.weights()
    size = f"{SIDE} x {SIDE}"
    with _sides.scratch() as folder:
        picture, out = folder / "picture.jpg", folder / "cut-out.png"
        data = _sides.jpeg(SIDE, SIDE)
        picture.write_bytes(data)
        with (
            _sides.Service(
                _sides.used_home("auto"), WEIGHTS=checkpoint, DEVICE="cuda", WARMUP_INTERVAL=3600
            ) as service,
            _sides.Stock(_sides.used_home("stock"), checkpoint) as stock,
        ):
            service.wait("/warmup")
            for _ in range(_sides.UNMEASURED):
                service.cut_out(data)
                stock.cut_out(picture, out)
            stages = [service.stages(data) for _ in range(passes)]
            report.facts["precision"] = service.warmup()["precision"]
            report.add(
                _harness.Row(
                    f"forward pass, {size}: the stage infer", "ms", [stage["infer"] for stage in stages]
                )
            )
            report.extra["median of each stage, ms"] = {
                name: statistics.median(stage[name] for stage in stages) for name in stages[0]
            }
            sides = {
                "ours": lambda: 1000 * _harness.timed(lambda: service.cut_out(data)),
                "stock": lambda: 1000 * stock.cut_out(picture, out),
            }
            one = _harness.alternate(sides, passes, quiet=True)
            report.add(_harness.Row(f"{size}, JPEG in to PNG out", "ms", one["ours"], one["stock"]))
            many = _harness.alternate(
                {
                    "ours": lambda: batch / _load.post_all(service.port, [data] * batch, CLIENTS),
                    "stock": lambda: batch / sum(stock.cut_out(picture, out) for _ in range(batch)),
                },
                given.rounds,
            )
            report.add(
                _harness.Row(
                    f"{size}, {CLIENTS} clients",
                    "pictures/s",
                    many["ours"],
                    many["stock"],
                    other="stock, one after another",
                    rate=True,
                )
            )
    report.finish()
    _harness.bars(report, f"On {report.facts['device']}")


def driver() -> str:
    """The version of the device's driver."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    main()
