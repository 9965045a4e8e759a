"""Measures the time from process start to the first cut-out: on a fresh disk, with all caches, and read-only.

``python -m benchmarks.cold`` fails if a start or a check of the caches fails. A start of the service ends with the
first 200 on ``/warmup``. A start of stock ends with its first 64 x 64 ``rgba``. The benchmark also measures two other
things:

- the time until ``/livez`` answers, and beside it the time of ``python -c "import aiohttp.web"``;
- whether the first picture of a client is slower than later ones. The second picture is left out, because the service
  may still be busy after the first 200.

A "fresh disk" is a new home that contains only the checkpoint. After every start on one, the benchmark checks two
things: that no cache was written outside of that home, and that the known cache (numba's code, for stock) was written
into it. If it was not there, a start would have read it from another place. The service caches nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import _anatomy, _harness, _isolated, _sides
from service.host.cpu import available_cpus

LATER = slice(1, 4)
"""Of the pictures after the first one, those that are measured: the third to the fifth picture."""
KNOWN = {"stock": "numba/"}
"""For a side that is known to cache something, the folder in its home."""


@dataclass(slots=True)
class Starts:
    """Starts both sides, and keeps what they show beside the time that they take."""

    folder: Path
    checkpoint: Path
    picture: bytes
    """The picture that the clients post."""
    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    ours: list[dict[str, float]] = field(default_factory=list)
    stock: list[dict[str, float]] = field(default_factory=list)
    """For each start of a side, the seconds of each part (``ours``, ``stock``)."""
    phases: list[dict[str, float]] = field(default_factory=list)
    caches: dict[str, list[str]] = field(default_factory=dict)
    """For each side, the files that a first start leaves in its home."""
    kept: dict[str, tuple[Path, Path]] = field(default_factory=dict)
    """For each side, the home and the checkpoint of the last start on a fresh disk."""

    def fresh(self) -> tuple[Path, Path]:
        """Return a home without caches, and the checkpoint in it."""
        return _sides.fresh_home(self.folder, self.checkpoint)

    def ours_again(self) -> float:
        """Return the seconds to the first 200 on ``/warmup``, with the caches of an earlier start."""
        home, weights = self.kept["ours"]
        with _sides.Service(home, WEIGHTS=weights) as service:
            return service.wait("/warmup")

    def ours_fresh(self) -> float:
        """Return the seconds to the first 200 on ``/warmup`` on a fresh disk. Then post pictures as a client."""
        (home, weights), began = self.fresh(), time.time()
        with _sides.Service(home, WEIGHTS=weights) as service:
            seconds = service.wait("/warmup")
            self.first.append(_harness.timed(lambda: service.cut_out(self.picture)))
            further = [_harness.timed(lambda: service.cut_out(self.picture)) for _ in range(LATER.stop)]
            self.later.extend(further[LATER])
            found = service.metrics("inspyrenet_startup_duration_seconds")
        self.phases.append({phase: found[f'{{phase="{phase}"}}'] for phase in _anatomy.PHASES})
        self.ours.append(_anatomy.of_service(self.phases[-1]))
        self._check_caches("ours", home, began)
        self.kept["ours"] = home, weights
        return seconds

    def stock_again(self) -> float:
        """Return the seconds to the first cut-out of stock, with the caches of an earlier start."""
        return sum(self._stock_parts(*self.kept["stock"]).values())

    def stock_fresh(self) -> float:
        """Return the seconds to the first cut-out of stock on a fresh disk."""
        (home, weights), began = self.fresh(), time.time()
        self.stock.append(self._stock_parts(home, weights))
        self._check_caches("stock", home, began)
        self.kept["stock"] = home, weights
        return sum(self.stock[-1].values())

    def _stock_parts(self, home: Path, weights: Path) -> dict[str, float]:
        canary = home / "canary.jpg"
        canary.write_bytes(_sides.jpeg(64, 64))
        with _sides.Stock(home, weights) as stock:
            stock.cut_out(canary, home / "canary.png")
            return _anatomy.of_stock(stock, time.perf_counter() - stock.started)

    def _check_caches(self, side: str, home: Path, began: float) -> None:
        if stray := _sides.caches_elsewhere(began):
            raise RuntimeError(f"caches were written outside of the fresh home: {stray[:5]}")
        found = [name for name in _sides.caches_in(home) if not name.startswith("canary.")]
        if side in KNOWN and not any(name.startswith(KNOWN[side]) for name in found):
            raise RuntimeError(f"a first start of {side} left nothing in {KNOWN[side]}, only {found[:5]}")
        self.caches[side] = found


@contextmanager
def busy_cores() -> Iterator[None]:
    """Other programs that never rest, one for each core."""
    code = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(available_cpus())]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("cold", given)
    side = 256 if given.quick else 1024
    with _sides.scratch() as folder:
        starts = Starts(folder, _sides.weights(), _sides.jpeg(side, side))
        sides = {"ours": starts.ours_fresh, "stock": starts.stock_fresh}
        fresh = _harness.alternate(sides, given.rounds)
        _anatomy.draw(given, starts.ours, starts.stock)
        report.extra["parts of a fresh start, s"] = {"ours": starts.ours, "stock": starts.stock}
        report.extra["caches that a first start leaves"] = starts.caches
        report.add(_harness.Row("fresh disk", "s", fresh["ours"], fresh["stock"], aim="12 x, 20 x"))
        sides = {"ours": starts.ours_again, "stock": starts.stock_again}
        again = _harness.alternate(sides, given.rounds)
        report.add(_harness.Row("every cache present", "s", again["ours"], again["stock"], aim="2 x, 3 x"))
        with busy_cores():
            busy = _harness.alternate(
                {"ours": starts.ours_again, "stock": starts.stock_fresh}, min(given.rounds, 3)
            )
        report.add(_harness.Row("fresh disk, every core busy", "s", busy["ours"], busy["stock"], aim="8 x"))
        read_only(report, starts, given)
        report.add(to_livez(starts, given))
    report.add(
        _harness.Row(
            f"first client's {side} x {side} after the first 200",
            "s",
            starts.first,
            starts.later,
            other="its 3rd to 5th",
            aim="at most 1.3, 1.1 times as long",
            note=f"{statistics.median(starts.first) / statistics.median(starts.later):.2f} times as long",
        )
    )
    main_rows = list(report.rows)
    for phase in _anatomy.PHASES:
        report.add(_harness.Row(f"phase {phase}, fresh disk", "s", [found[phase] for found in starts.phases]))
    report.finish()
    _harness.bars(report, "Starting", main_rows)


def read_only(report: _harness.Report, starts: Starts, given: _harness.Options) -> None:
    """Measure starts of the service without writable files and without a network, beside ordinary starts."""
    what = "read-only file systems, no network"
    if (reason := _isolated.impossible()) is not None:
        report.extra[what] = f"not measured: {reason}"
        print(f"  {what}: not measured: {reason}")
        return
    picture = starts.folder / "picture.jpg"
    picture.write_bytes(_sides.jpeg(256, 256))
    cut_outs: set[str] = set()

    def measure(*, isolated: bool) -> float:
        found = _isolated.start(*starts.fresh(), picture, isolated=isolated)
        cut_outs.add(found["sha256"])
        return float(found["seconds"])

    sides = {"isolated": lambda: measure(isolated=True), "ordinary": lambda: measure(isolated=False)}
    samples = _harness.alternate(sides, given.rounds)
    report.add(
        _harness.Row(
            what,
            "s",
            samples["isolated"],
            samples["ordinary"],
            other="ordinary",
            aim="as fast, nothing lost",
            note=f"the cut-outs are {'the same' if len(cut_outs) == 1 else 'NOT all the same'}, byte for byte",
        )
    )


def to_livez(starts: Starts, given: _harness.Options) -> _harness.Row:
    """Measure the time until ``/livez`` answers, beside the import that every aiohttp program needs."""
    home, weights = starts.fresh()

    def ours() -> float:
        with _sides.Service(home, WEIGHTS=weights) as service:
            return service.wait("/livez")

    sides = {"ours": ours, "import": lambda: _harness.timed(_import_aiohttp)}
    samples = _harness.alternate(sides, 4 * given.rounds)
    return _harness.Row(
        "start to /livez",
        "s",
        samples["ours"],
        samples["import"],
        other="import aiohttp.web",
        aim="1/3 x, 1/2 x",
    )


def _import_aiohttp() -> None:
    subprocess.run([sys.executable, "-c", "import aiohttp.web"], cwd=_harness.ROOT, check=True)


if __name__ == "__main__":
    main()
