"""From the start of the process to the first verified cut-out, on a fresh disk and with every cache present.

Ours ends with the first 200 on ``/warmup``; stock ends with its first 64 x 64 ``rgba``. Also: how long until ``/livez``
answers, beside ``python -c "import aiohttp.web"``; and whether the first client's picture of a real size is slower than
later ones. After every fresh start it is checked that nothing was cached where a fresh home would not clear it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import _harness, _sides

PHASES = ("import", "weights", "device", "first_probe", "total")
LATER_PICTURES = 3


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("cold", given)
    checkpoint = _sides.weights(given.out / "weights")
    first: list[float] = []
    later: list[float] = []
    live: list[float] = []
    phases: dict[str, list[float]] = {phase: [] for phase in PHASES}
    with _sides.scratch() as folder:
        canary, picture = (
            folder / "canary.jpg",
            _sides.jpeg(256, 256) if given.quick else _sides.jpeg(1024, 1024),
        )
        canary.write_bytes(_sides.jpeg(64, 64))

        def ours(home: Path, weights: Path, *, client: bool) -> float:
            began = time.time()
            with _sides.Service(home, WEIGHTS=weights) as service:
                live.append(service.wait("/livez"))
                seconds = service.wait("/warmup")
                if client:
                    first.append(_harness.timed(lambda: service.cut_out(picture)))
                    later.extend(
                        _harness.timed(lambda: service.cut_out(picture)) for _ in range(LATER_PICTURES)
                    )
                    found = service.metrics("inspyrenet_startup_duration_seconds")
                    for phase in PHASES:
                        phases[phase].append(found[f'{{phase="{phase}"}}'])
            if stray := _sides.caches_elsewhere(began):
                raise RuntimeError(f"cached outside of the fresh folders: {stray[:5]}")
            return seconds

        def theirs(home: Path, weights: Path) -> float:
            with _sides.Stock(home, weights) as stock:
                stock.cut_out(canary, folder / "canary.png")
                return time.perf_counter() - stock.started

        fresh = _harness.alternate(
            {
                "ours": lambda: ours(*_sides.fresh_home(folder, checkpoint), client=True),
                "stock": lambda: theirs(*_sides.fresh_home(folder, checkpoint)),
            },
            given.rounds,
        )
        report.add(_harness.Row("fresh disk", "s", fresh["ours"], fresh["stock"], reach="12 x, 20 x"))
        kept, kept_stock = _sides.fresh_home(folder, checkpoint), _sides.fresh_home(folder, checkpoint)
        ours(*kept, client=False)
        theirs(*kept_stock)
        again = _harness.alternate(
            {"ours": lambda: ours(*kept, client=False), "stock": lambda: theirs(*kept_stock)}, given.rounds
        )
        report.add(_harness.Row("every cache present", "s", again["ours"], again["stock"], reach="2 x, 3 x"))
        imports = [_harness.timed(_import_aiohttp) for _ in range(given.rounds)]
        report.add(
            _harness.Row(
                "start to /livez", "s", live, imports, other="import aiohttp.web", reach="1/3 x, 1/2 x"
            )
        )
        report.add(
            _harness.Row(
                "first client's picture after the first 200",
                "s",
                first,
                later,
                other="later ones",
                reach="at most 1.3, 1.1 times as long",
                note=f"{statistics.median(first) / statistics.median(later):.2f} times as long",
            )
        )
        for phase, seconds in phases.items():
            report.add(_harness.Row(f"phase {phase}", "s", seconds))
    report.finish()


def _import_aiohttp() -> None:
    subprocess.run([sys.executable, "-c", "import aiohttp.web"], cwd=_harness.ROOT, check=True)


if __name__ == "__main__":
    main()
