"""Measures memory, descriptors, threads and series of a process over time, finds growth, and draws a plot."""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

PERIOD_SECONDS = 0.5
ALLOWED_GROWTH = {"rss_mb": 16.0, "descriptors": 3, "threads": 2, "series": 0}
"""The growth that is allowed between the second quarter of a phase and its last quarter. Allocators keep some memory, a
scrape has a connection of its own, and a scrape may be the first to need a thread. A leak in every request, or in every
hundredth, is far larger."""

TITLES = {
    "rss_mb": "resident memory, MB",
    "descriptors": "open descriptors",
    "threads": "threads",
    "series": "series in /metrics",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The measurements of one moment."""

    seconds: float
    phase: str
    rss_mb: float
    descriptors: int
    threads: int
    series: int


class Sampler:
    """Measures a process from outside, in a thread of its own, until it is stopped."""

    def __init__(self, pid: int, url: str) -> None:
        self.samples: list[Sample] = []
        self.phase = "start"
        self._process = psutil.Process(pid)
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="sampler", daemon=True)
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Stop measuring."""
        self._stop.set()
        self._thread.join()

    def _main(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            series = len(
                [line for line in scrape(self._url).splitlines() if line and not line.startswith("#")]
            )
            with self._process.oneshot():
                self.samples.append(
                    Sample(
                        round(time.monotonic() - self._began, 1),
                        self.phase,
                        round(self._process.memory_info().rss / 1e6, 1),
                        self._process.num_fds(),
                        self._process.num_threads(),
                        series,
                    )
                )


def scrape(url: str) -> str:
    """Return the text of ``/metrics``."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
        text = response.read().decode()
        assert isinstance(text, str)
        return text


def total(text: str, name: str, **labels: str) -> float:
    """Return the sum of all samples with this name and these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(f"inspyrenet_{name}{{") and all(pair in line for pair in wanted)
    )


def find_growth(samples: Sequence[Sample], phase: str) -> list[str]:
    """Compare the second quarter of a phase with its last quarter, and return what grew."""
    in_phase = [sample for sample in samples if sample.phase == phase]
    if len(in_phase) < 8:
        return [f"{phase}: {len(in_phase)} samples are too few to find growth"]
    quarter = len(in_phase) // 4
    early, late = in_phase[quarter : 2 * quarter], in_phase[-quarter:]
    problems = []
    for name, allowed in ALLOWED_GROWTH.items():
        before, after = (statistics.median(getattr(s, name) for s in part) for part in (early, late))
        if after - before > allowed:
            problems.append(f"{phase}: {TITLES[name]} grew from {before:g} to {after:g}")
    return problems


def write(folder: Path, name: str, summary: dict[str, Any], samples: Sequence[Sample]) -> None:
    """Write ``NAME.json`` and ``NAME.png`` into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {**summary, "samples": [asdict(sample) for sample in samples]}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1))
    _plot(folder / f"{name}.png", summary, samples)


def _plot(path: Path, summary: dict[str, Any], samples: Sequence[Sample]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(TITLES), 1, sharex=True, figsize=(7, 7), layout="constrained")
    for axis, (name, title) in zip(axes, TITLES.items(), strict=True):
        axis.plot([s.seconds for s in samples], [getattr(s, name) for s in samples], linewidth=1)
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_ylim(0, 1.25 * max(getattr(s, name) for s in samples))
        axis.grid(alpha=0.3)
        for phase in dict.fromkeys(s.phase for s in samples):
            began = next(s.seconds for s in samples if s.phase == phase)
            axis.axvline(began, color="grey", linewidth=0.6, linestyle="--")
            if axis is axes[0] and not phase.startswith("rest"):
                axis.text(began, axis.get_ylim()[1], f" {phase}", fontsize=8, va="top")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(f"{summary['title']}", fontsize=10)
    figure.savefig(path, dpi=80)
    plt.close(figure)
