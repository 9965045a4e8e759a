"""Draws the Grafana dashboard without Grafana: each panel against the Prometheus of the end-to-end test.

``test_alerts_fire`` draws it after the faults, checks that no query fails and that panels have data, and leaves a
picture for people to look at. It draws what a panel's queries return, not what Grafana would make of its options.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tests.e2e import time_scale
from tests.e2e.processes import Monitoring
from tests.metrics.sources import dashboard, panels

STEP_SECONDS = 0.5
MOST_NAMES = 8


def query_of(target: dict[str, Any], job: str = ".*inspyrenet.*") -> str:
    """The query of a panel as Grafana sends it, with its variables, and with durations divided as everywhere here."""
    expression = target["expr"].replace("$job", job).replace("$instance", ".*")
    return time_scale.promql(re.sub(r"\$__\w+", "1m", expression))


def variable(monitoring: Monitoring, name: str) -> list[str]:
    """The values that a variable of the dashboard offers."""
    [one] = [one for one in dashboard()["templating"]["list"] if one["name"] == name]
    selector, _, label = one["definition"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
    found = monitoring.query(selector.replace("$job", ".*inspyrenet.*"))
    return sorted({sample["metric"][label] for sample in found})


def draw(monitoring: Monitoring, picture: Path, *, seconds: float) -> dict[str, int]:
    """Draw every panel over the last seconds.

    Returns:
        The number of series by the panel's title.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = panels()
    columns = max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in shown)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown)
    figure = plt.figure(figsize=(columns * 0.9, rows * 0.45))
    end = time.time()
    counts = {}
    for panel in shown:
        at = panel["gridPos"]
        left, bottom = at["x"] / columns, 1 - (at["y"] + at["h"]) / rows
        axes = figure.add_axes(
            (left + 0.02, bottom + 0.008, at["w"] / columns - 0.03, at["h"] / rows - 0.018)
        )
        axes.set_title(panel["title"], fontsize=8, loc="left")
        axes.tick_params(labelsize=6)
        series = [
            (_legend(target, one["metric"]), one)
            for target in panel["targets"]
            for one in _data(monitoring, panel, target, end - seconds, end)
        ]
        counts[panel["title"]] = len(series)
        (_lines if panel["type"] in {"timeseries", "state-timeline"} else _values)(axes, series)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=90)
    plt.close(figure)
    return counts


def _data(
    monitoring: Monitoring, panel: dict[str, Any], target: dict[str, Any], begin: float, end: float
) -> list[dict[str, Any]]:
    if panel["type"] in {"timeseries", "state-timeline"}:
        return monitoring.query_range(query_of(target), begin, end, STEP_SECONDS)
    return monitoring.query(query_of(target))


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    written = re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), target.get("legendFormat", ""))
    return written if written not in {"", "__auto"} else " ".join(labels.values())[:60]


def _lines(axes: Any, series: list[tuple[str, dict[str, Any]]]) -> None:
    for number, (name, one) in enumerate(series):
        times, values = zip(*((float(at), float(value)) for at, value in one["values"]), strict=True)
        axes.plot(times, values, linewidth=0.8, label=name if number < MOST_NAMES else None)
    axes.set_xticks([])
    if series:
        axes.legend(fontsize=5, loc="upper left")
    else:
        axes.text(0.5, 0.5, "no data", ha="center", fontsize=8)


def _values(axes: Any, series: list[tuple[str, dict[str, Any]]]) -> None:
    lines = [f"{name}: {float(one['value'][1]):g}" for name, one in series[:MOST_NAMES]] or ["no data"]
    axes.text(0.02, 0.95, "\n".join(lines), va="top", fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])
