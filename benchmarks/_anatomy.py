"""Where the time from the start of a process to its first cut-out goes, ours and stock's, as one picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

from benchmarks import _harness, _sides

PHASES = ("import", "weights", "device", "first_probe", "total")
"""Of ``inspyrenet_startup_duration_seconds``."""
COLOURS = {
    "interpreter, server and the rest": "#8d99a6",
    "imports": "#d98c3f",
    "weights": "#4a78b5",
    "device": "#7a5ea8",
    "Remover(): weights, and what numba compiles": "#b3475a",
    "first cut-out": _harness.OURS,
}
"""The parts that there are."""
REST, IMPORTS, WEIGHTS, DEVICE, REMOVER, CUT_OUT = COLOURS


def of_service(phases: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each part of our start.

    Args:
        phases: as the service's own metric tells them. They may overlap, so that their sum exceeds the total; then
            nothing is left for the rest.
    """
    named = [phases[phase] for phase in PHASES[:-1]]
    rest = max(0.0, phases["total"] - sum(named))
    return dict(zip((REST, IMPORTS, WEIGHTS, DEVICE, CUT_OUT), (rest, *named), strict=True))


def of_stock(stock: _sides.Stock, first: float) -> dict[str, float]:
    """Seconds of each part of stock's start.

    Args:
        stock: which has cut out its first picture.
        first: seconds from its start until it had.
    """
    moments = [0.0, *(stock.moments[name] for name in ("running", "imported", "built")), first]
    seconds = [after - before for before, after in pairwise(moments)]
    return dict(zip((REST, IMPORTS, REMOVER, CUT_OUT), seconds, strict=True))


def draw(
    given: _harness.Options, ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> None:
    """Draw the medians of several starts of each side as ``cold-anatomy.png``."""
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
