"""Divides the time from process start to first cut-out into parts, for the service and for stock, and draws it.

``cold`` calls it. No part may be negative, because the plot stacks them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

from benchmarks import _harness, _sides

PHASES = ("import", "weights", "device", "first_probe", "total")
"""The phases of the metric ``inspyrenet_startup_duration_seconds``."""
COLOURS = {
    "interpreter, server and the rest": "#8d99a6",
    "imports": "#d98c3f",
    "weights": "#4a78b5",
    "device": "#7a5ea8",
    "Remover(): weights, and what numba compiles": "#b3475a",
    "first cut-out": _harness.OURS,
}
"""The parts of a start, and their colours in the plot."""
REST, IMPORTS, WEIGHTS, DEVICE, REMOVER, CUT_OUT = COLOURS


def of_service(phases: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of each part of a start of the service.

    Args:
        phases: the seconds of each phase, from the metric of the service. Phases may overlap. If their sum is larger
            than the total, the part for the rest is 0.
    """
    named = [phases[phase] for phase in PHASES[:-1]]
    rest = max(0.0, phases["total"] - sum(named))
    return dict(zip((REST, IMPORTS, WEIGHTS, DEVICE, CUT_OUT), (rest, *named), strict=True))


def of_stock(stock: _sides.Stock, first: float) -> dict[str, float]:
    """Return the seconds of each part of a start of stock.

    Args:
        stock: a process that has made its first cut-out.
        first: seconds from its start to that cut-out.
    """
    moments = [0.0, *(stock.moments[name] for name in ("running", "imported", "built")), first]
    seconds = [after - before for before, after in pairwise(moments)]
    return dict(zip((REST, IMPORTS, REMOVER, CUT_OUT), seconds, strict=True))


def draw(
    given: _harness.Options, ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> None:
    """Draw ``cold-anatomy.png``: for each side, the median of each part over all starts."""
    figure, axis = _harness.axes(
        "From the start of the process to the first cut-out, fresh disk", "seconds", "", height=3.4
    )
    for y, starts in enumerate((ours, theirs)):
        left = 0.0
        for part in starts[0]:
            seconds = statistics.median(start[part] for start in starts)
            label = None if part in axis.get_legend_handles_labels()[1] else part
            axis.barh(y, seconds, left=left, height=0.55, color=COLOURS[part], edgecolor="white", label=label)
            left += seconds
        axis.annotate(f"{left:.1f} s", (left, y), xytext=(6, 0), textcoords="offset points", va="center")
    axis.set_yticks([0, 1], ["this service", "stock"])
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    _harness.save(figure, given, "cold-anatomy")
