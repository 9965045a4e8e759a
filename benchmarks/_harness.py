"""The parts that all benchmarks share: options, alternating rounds, ratios with intervals, the table, JSON, plots.

Every benchmark reads its ``options``, measures its sides with ``alternate``, adds one ``Row`` for each figure to a
``Report``, and calls ``Report.finish``. Both sides must be measured in the same run and in turn, because the machine
may be shared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "out" / "benchmarks"
LEAST_ROUNDS = 5
CONFIDENCE = 0.95
OURS, OTHER = "#1b7f79", "#a9b0b6"
"""The colours of the two sides in every plot."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options that the command line of every benchmark takes."""

    quick: bool
    """A smoke run with small sizes and two rounds. Its figures mean nothing."""
    rounds: int
    out: Path
    """The folder for JSON and plots."""
    more: argparse.Namespace
    """The options that only this benchmark has."""


def options(
    description: str | None,
    *,
    rounds: int = LEAST_ROUNDS,
    add: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Options:
    """Read the command line.

    Args:
        description: the docstring of the benchmark; ``--help`` shows its first line.
        rounds: the default number of measurements of each side.
        add: adds options that only this benchmark has.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    parser.add_argument(
        "--rounds", type=int, default=None, help=f"measurements of each side (default {rounds})"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help=f"folder for JSON and plots (default {RESULTS}; quick/ in it)"
    )
    if add is not None:
        add(parser)
    given = parser.parse_args()
    # A smoke run must not overwrite real figures.
    out: Path = given.out or (RESULTS / "quick" if given.quick else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    return Options(given.quick, given.rounds or (2 if given.quick else rounds), out, given)


def alternate(
    sides: Mapping[str, Callable[[], float]], rounds: int, *, quiet: bool = False
) -> dict[str, list[float]]:
    """Measure every side once in each round, in turn, so that slow changes of the machine affect all sides equally.

    The order is reversed in every second round. After every two rounds another side comes first.

    Args:
        sides: by name, the function that measures a side once.
        rounds: the number of measurements of each side.
        quiet: print no progress.

    Returns:
        By name, the measurements of each side.
    """
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        first = number // 2 % len(sides)
        names = [*sides][first:] + [*sides][:first]
        for name in names if number % 2 == 0 else reversed(names):
            samples[name].append(sides[name]())
            if not quiet:
                progress = f"  round {number + 1}/{rounds} {name}: {samples[name][-1]:.4g}"
                print(progress, file=sys.stderr, flush=True)
    return samples


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of the medians of two sides, and the limits of its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} x ({self.low:.2f}-{self.high:.2f})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Return how many times less ``ours`` takes than ``theirs``. The interval is a bootstrap with a fixed seed."""
    rng = np.random.default_rng(0)
    above, below = (
        np.median(rng.choice(np.asarray(side, float), (4000, len(side))), axis=1) for side in (theirs, ours)
    )
    low, high = np.quantile(above / below, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(statistics.median(theirs) / statistics.median(ours), float(low), float(high))


@dataclass(slots=True)
class Row:
    """One line of the table: one quantity, measured on both sides or only on the side of the service."""

    what: str
    unit: str
    ours: list[float]
    theirs: list[float] | None = None
    other: str = "stock"
    """The name of the other side."""
    our_name: str = "service"
    """The name of our side."""
    aim: str = ""
    """The goal, as text."""
    note: str = ""
    rate: bool = False
    """True if more is better. Then the ratio is how many times more our side does."""

    @property
    def ratio(self) -> Ratio | None:
        """How many times better our side is; None if there is no other side."""
        if not self.theirs:
            return None
        return ratio(self.ours, self.theirs) if self.rate else ratio(self.theirs, self.ours)

    def summary(self) -> dict[str, Any]:
        """Return the row for the JSON file."""
        result: dict[str, Any] = {**asdict(self), "median": statistics.median(self.ours)}
        if self.theirs and self.ratio:
            result |= {"other_median": statistics.median(self.theirs), "ratio": asdict(self.ratio)}
        return result


def machine() -> dict[str, str]:
    """Return facts about the machine and the software on which the figures depend."""
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


@dataclass(slots=True)
class Report:
    """The figures of one benchmark."""

    name: str
    given: Options
    rows: list[Row] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=machine)
    """Facts about the machine, taken before the first measurement."""

    def add(self, row: Row) -> None:
        """Add a line."""
        self.rows.append(row)

    def finish(self) -> None:
        """Print the table and the facts about the machine, and write ``<name>.json``."""
        print(f"\n{self.name}{' (QUICK: the figures mean nothing)' if self.given.quick else ''}")
        print("  " + "; ".join(f"{key} {value}" for key, value in self.facts.items()))
        for row in self.rows:
            line = f"  {row.what:<58} {_spread(row.ours, row.unit):>24}"
            if row.theirs:
                line += f" | {row.other} {_spread(row.theirs, row.unit):>24} | {row.ratio}"
            print(line + (f" | aim: {row.aim}" if row.aim else "") + (f" | {row.note}" if row.note else ""))
        path = self.given.out / f"{self.name}.json"
        content = {
            "benchmark": self.name,
            "quick": self.given.quick,
            "machine": self.facts,
            "rows": [row.summary() for row in self.rows],
            **self.extra,
        }
        path.write_text(json.dumps(content, indent=1, default=float) + "\n")
        print(f"  written to {path}")


def _spread(samples: Sequence[float], unit: str) -> str:
    return f"{statistics.median(samples):.4g} {unit} ({min(samples):.3g}-{max(samples):.3g})"


def axes(title: str, x: str, y: str, *, height: float = 4.2) -> tuple[Any, Any]:
    """Return a figure with one panel, and its axes. Write it with :func:`save`."""
    figure, (axis,) = panels(title, 1, height=height)
    axis.set(xlabel=x, ylabel=y)
    return figure, axis


def panels(
    title: str, count: int, *, height: float = 4.2, shares: Sequence[float] = ()
) -> tuple[Any, list[Any]]:
    """Return a figure and the axes of its panels. Write it with :func:`save`.

    Args:
        title: of the figure.
        count: number of panels. They are side by side, or one above the other if ``shares`` is given.
        height: of the figure, in inches.
        shares: for each panel, its share of the height.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shape: dict[str, Any] = {"nrows": count, "height_ratios": shares} if shares else {"ncols": count}
    width = 8 if shares else max(8, 5 * count)
    figure, grid = plt.subplots(
        figsize=(width, height), dpi=110, layout="constrained", squeeze=False, **shape
    )
    figure.suptitle(title, fontsize="medium")
    for axis in grid.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    return figure, list(grid.flat)


def save(figure: Any, given: Options, name: str) -> None:
    """Write a figure as ``<name>.png``."""
    if given.quick:
        figure.text(0.5, 0.5, "a smoke run", fontsize=40, color="red", alpha=0.25, ha="center", va="center")
    figure.savefig(given.out / f"{name}.png")
    print(f"  plot: {given.out / name}.png")


def bars(report: Report, title: str, rows: Sequence[Row] | None = None) -> None:
    """Draw the rows as pairs of bars, with one panel for each unit, and save the plot under the name of the report.

    A bar shows a median. Its whisker shows the middle 90 % of the measurements. If the medians of a panel are far
    apart, its axis is logarithmic.
    """
    drawn = report.rows if rows is None else rows
    units = {row.unit: [other for other in drawn if other.unit == row.unit] for row in drawn}
    counts = [len(found) for found in units.values()]
    height = 0.7 + 0.75 * sum(counts) + 0.5 * len(units)
    figure, places = panels(title, len(units), height=height, shares=counts)
    for axis, (unit, found) in zip(places, units.items(), strict=True):
        _panel(axis, unit, found)
    save(figure, report.given, report.name)


def _panel(axis: Any, unit: str, rows: Sequence[Row]) -> None:
    medians = []
    for place, row in enumerate(rows):
        sides = [(row.ours, row.our_name, OURS)] + ([(row.theirs, row.other, OTHER)] if row.theirs else [])
        for number, (samples, name, colour) in enumerate(sides):
            median = statistics.median(samples)
            medians.append(abs(median))
            below, above = np.quantile(samples, [0.05, 0.95])
            y = place + (number - (len(sides) - 1) / 2) * 0.36
            axis.barh(y, median, height=0.34, color=colour)
            axis.plot([below, above], [y, y], color="#30363b", linewidth=1.2, marker="|", markersize=5)
            axis.annotate(
                f"{name} {median:.3g} {unit}",
                (max(median, above), y),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
            )
    if min(medians) > 0 and max(medians) / min(medians) > 30:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    axis.margins(x=0.35)
    labels = ["\n".join([*textwrap.wrap(row.what, 34), str(row.ratio or "")]).rstrip() for row in rows]
    axis.set_yticks(range(len(rows)), labels, fontsize="small")
    axis.set(xlabel=unit, ylim=(len(rows) - 0.45, -0.55))
    axis.grid(visible=False, axis="y")
