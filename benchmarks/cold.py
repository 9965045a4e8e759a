"""From the start of the process to the first verified cut-out: fresh disk, every cache present, read-only.

Ours ends with the first 200 on ``/warmup``; stock ends with its first 64 x 64 ``rgba``. Also: how long until ``/livez``
answers, beside ``python -c "import aiohttp.web"``; and whether the first client's picture of a real size is slower than
later ones: the second is left out, for the service may still be busy behind the first 200.

A fresh disk is a home in which nothing lies but the checkpoint, for each start anew. After every start it is checked
that nothing was cached where a fresh home would not clear it, and that what is known to be cached (numba's code, the
checkpoint's hash) did go there: had it not, it would have been found somewhere.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import _anatomy, _harness, _isolated, _sides

LATER = slice(1, 4)
"""Which of the pictures after the first one are the steady state."""
KNOWN = {"ours": "weights/", "stock": "numba/"}
"""Where each side is known to cache something, in its home."""


@dataclass(slots=True)
class Starts:
    """Starts of both sides, and what they have shown beside the time they took."""

    folder: Path
    checkpoint: Path
    picture: bytes
    """What the first client posts."""
    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    ours: list[dict[str, float]] = field(default_factory=list)
    stock: list[dict[str, float]] = field(default_factory=list)
    """Seconds by part of the start."""
    phases: list[dict[str, float]] = field(default_factory=list)
    caches: dict[str, list[str]] = field(default_factory=dict)
    """What a first start leaves in its home, by side."""
    kept: dict[str, tuple[Path, Path]] = field(default_factory=dict)
    """The home and the checkpoint of the last fresh start, by side."""

    def fresh(self) -> tuple[Path, Path]:
        """A home without caches, and the checkpoint in it."""
        return _sides.fresh_home(self.folder, self.checkpoint)

    def ours_again(self) -> float:
        """Seconds to the first 200 on ``/warmup``, with what a start before has left."""
        home, weights = self.kept["ours"]
        with _sides.Service(home, WEIGHTS=weights) as service:
            return service.wait("/warmup")

    def ours_fresh(self) -> float:
        """The same on a fresh disk; and then a client's pictures."""
        (home, weights), began = self.fresh(), time.time()
        with _sides.Service(home, WEIGHTS=weights) as service:
            seconds = service.wait("/warmup")
            self.first.append(_harness.timed(lambda: service.cut_out(self.picture)))
            further = [_harness.timed(lambda: service.cut_out(self.picture)) for _ in range(LATER.stop)]
            self.later.extend(further[LATER])
            found = service.metrics("inspyrenet_startup_duration_seconds")
        self.phases.append({phase: found[f'{{phase="{phase}"}}'] for phase in _anatomy.PHASES})
        self.ours.append(_anatomy.of_service(self.phases[-1]))
        self._check("ours", home, began)
        self.kept["ours"] = home, weights
        return seconds

    def stock_again(self) -> float:
        """Seconds to the first cut-out, with what a start before has left."""
        return sum(self._stock_parts(*self.kept["stock"]).values())

    def stock_fresh(self) -> float:
        """The same on a fresh disk."""
        (home, weights), began = self.fresh(), time.time()
        self.stock.append(self._stock_parts(home, weights))
        self._check("stock", home, began)
        self.kept["stock"] = home, weights
        return sum(self.stock[-1].values())

    def _stock_parts(self, home: Path, weights: Path) -> dict[str, float]:
        canary = home / "canary.jpg"
        canary.write_bytes(_sides.jpeg(64, 64))
        with _sides.Stock(home, weights) as stock:
            stock.cut_out(canary, home / "canary.png")
            return _anatomy.of_stock(stock, time.perf_counter() - stock.started)

    def _check(self, side: str, home: Path, began: float) -> None:
        if stray := _sides.caches_elsewhere(began):
            raise RuntimeError(f"cached outside of the fresh folders: {stray[:5]}")
        found = [name for name in _sides.caches_in(home) if not name.startswith("canary.")]
        if not any(name.startswith(KNOWN[side]) for name in found):
            raise RuntimeError(f"a first start of {side} left nothing in {KNOWN[side]}, only {found[:5]}")
        self.caches[side] = found


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
        report.add(_harness.Row("fresh disk", "s", fresh["ours"], fresh["stock"], reach="12 x, 20 x"))
        sides = {"ours": starts.ours_again, "stock": starts.stock_again}
        again = _harness.alternate(sides, given.rounds)
        report.add(_harness.Row("every cache present", "s", again["ours"], again["stock"], reach="2 x, 3 x"))
        read_only(report, starts, given)
        report.add(to_livez(starts, given))
    report.add(
        _harness.Row(
            f"first client's {side} x {side} after the first 200",
            "s",
            starts.first,
            starts.later,
            other="its 3rd to 5th",
            reach="at most 1.3, 1.1 times as long",
            note=f"{statistics.median(starts.first) / statistics.median(starts.later):.2f} times as long",
        )
    )
    main_rows = list(report.rows)
    for phase in _anatomy.PHASES:
        report.add(_harness.Row(f"phase {phase}, fresh disk", "s", [found[phase] for found in starts.phases]))
    report.finish()
    _harness.bars(report, "Starting", main_rows)


def read_only(report: _harness.Report, starts: Starts, given: _harness.Options) -> None:
    """Ours where nothing can be written and no network reached, beside the same start on an ordinary machine."""
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
            reach="as fast, nothing lost",
            note=f"the cut-outs are {'the same' if len(cut_outs) == 1 else 'NOT all the same'}, byte for byte",
        )
    )


def to_livez(starts: Starts, given: _harness.Options) -> _harness.Row:
    """How long until something answers, beside the least that an aiohttp program has to import."""
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
        reach="1/3 x, 1/2 x",
    )


def _import_aiohttp() -> None:
    subprocess.run([sys.executable, "-c", "import aiohttp.web"], cwd=_harness.ROOT, check=True)


if __name__ == "__main__":
    main()
