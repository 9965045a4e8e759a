"""What every benchmark shares: options, alternating rounds, ratios with their spread, a table, JSON, a plot."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LEAST_ROUNDS = 5
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line of every benchmark takes."""

    quick: bool
    """A smoke run: small sizes, two rounds; its figures mean nothing."""
    rounds: int
    out: Path
    """Where JSON and plots go."""


def options(description: str | None, *, rounds: int = LEAST_ROUNDS) -> Options:
    """Read the command line.

    Args:
        description: of the benchmark; its first line is shown by ``--help``.
        rounds: how often each side is measured if nothing is said.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    parser.add_argument(
        "--rounds", type=int, default=None, help=f"measurements of each side (default {rounds})"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "out" / "benchmarks", help="folder for JSON and plots"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    return Options(given.quick, given.rounds or (2 if given.quick else rounds), given.out)


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure every side once a round, in turn, the order reversed every other round: drift hits all alike."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in names:
            samples[name].append(sides[name]())
            print(
                f"  round {number + 1}/{rounds} {name}: {samples[name][-1]:.4g}", file=sys.stderr, flush=True
            )
    return samples


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times less one side takes than the other, median by median, and where that lies with 95% confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} x ({self.low:.2f}-{self.high:.2f})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Bootstrap of the medians' ratio; seeded."""
    rng = np.random.default_rng(0)
    above, below = (
        np.median(rng.choice(np.asarray(side, float), (4000, len(side))), axis=1) for side in (theirs, ours)
    )
    low, high = np.quantile(above / below, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(statistics.median(theirs) / statistics.median(ours), float(low), float(high))


@dataclass(slots=True)
class Row:
    """One line of the table: a quantity on both sides, or on ours alone."""

    what: str
    unit: str
    ours: list[float]
    theirs: list[float] | None = None
    other: str = "stock"
    """Who the other side is."""
    reach: str = ""
    """What was aimed at."""
    note: str = ""

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        result: dict[str, Any] = {**asdict(self), "median": statistics.median(self.ours)}
        if self.theirs:
            result |= {
                "other_median": statistics.median(self.theirs),
                "ratio": asdict(ratio(self.theirs, self.ours)),
            }
        return result


@dataclass(slots=True)
class Report:
    """The figures of one benchmark."""

    name: str
    given: Options
    rows: list[Row] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Add a line."""
        self.rows.append(row)

    def finish(self) -> None:
        """Print the table with the facts of the machine, write ``<name>.json``."""
        facts = machine()
        print(f"\n{self.name}{' (QUICK: the figures mean nothing)' if self.given.quick else ''}")
        print("  " + "; ".join(f"{key} {value}" for key, value in facts.items()))
        for row in self.rows:
            line = f"  {row.what:<58} {_spread(row.ours, row.unit):>24}"
            if row.theirs:
                line += f" | {row.other} {_spread(row.theirs, row.unit):>24} | {ratio(row.theirs, row.ours)}"
            print(
                line + (f" | aim: {row.reach}" if row.reach else "") + (f" | {row.note}" if row.note else "")
            )
        path = self.given.out / f"{self.name}.json"
        content = {
            "benchmark": self.name,
            "quick": self.given.quick,
            "machine": facts,
            "rows": [row.summary() for row in self.rows],
            **self.extra,
        }
        path.write_text(json.dumps(content, indent=1, default=float) + "\n")
        print(f"  written to {path}")


def _spread(samples: Sequence[float], unit: str) -> str:
    return f"{statistics.median(samples):.4g} {unit} ({min(samples):.3g}-{max(samples):.3g})"


def machine() -> dict[str, str]:
    """What a figure depends on."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "CPUs": str(cpus),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
        **{
            name: metadata.version(name)
            for name in ("torch", "transparent-background", "pymatting", "pillow", "aiohttp")
        },
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    return facts.get("model name", platform.machine()) + (
        " with AVX512_BF16" if "avx512_bf16" in flags else ""
    )


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    """A figure and its axes, for :func:`save`."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.2), dpi=110, layout="constrained")
    axis.set(title=title, xlabel=x, ylabel=y)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3)
    return figure, axis


def save(figure: Any, given: Options, name: str) -> None:
    """Write a figure as ``<name>.png``."""
    figure.savefig(given.out / f"{name}.png")
    print(f"  plot: {given.out / name}.png")
