"""Draws where the time of ``benchmarks.around`` goes: a flame graph of each kind of answer, both sides in one scale.

``python -m benchmarks.flames`` lets ``py-spy`` sample both sides, Python and C, while they make answers of 1 MP with
one core. Each box is a function; what it calls stands below it; its width is its share of the time of an answer.
"""

from __future__ import annotations

import collections
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import _harness, _sides
from benchmarks.around import KINDS, SIDE, SIZES, Kind, make_pictures, older_tree
from service.host.allocator import MEMORY_VARIABLES

RATE = 500
"""Samples a second."""
LEAST_SHARE = 0.012
"""Of an answer's time: boxes that are narrower are left out."""
DEEPEST = 9
COLOURS = {"decode": "#f2a65a", "enlarge": "#b8c480", "compose": "#7fb3d5", "encode": "#e58f8f"}
OTHER_COLOUR = "#d0d3d6"

Stack = tuple[str, ...]


def main() -> None:
    given = _harness.options(__doc__, rounds=6)
    report = _harness.Report("flames", given)
    size = "1 MP"
    kinds = KINDS[:1] if given.quick else KINDS
    with _sides.scratch() as folder:
        pictures = list(make_pictures(folder, *SIZES[size]))
        before = older_tree(folder)
        trees = {"before": before, "now": _harness.ROOT} if before is not None else {"now": _harness.ROOT}
        panels = len(kinds) * len(trees)
        figure, axes = _harness.panels(
            f"The work around the network, {size}", panels, height=1.9 * panels, shares=[1.0] * panels
        )
        for number, kind in enumerate(kinds):
            found = {name: sample(tree, kind, pictures, folder, given.rounds) for name, tree in trees.items()}
            longest = max(sum(stacks.values()) for stacks in found.values())
            for place, (name, stacks) in enumerate(found.items()):
                draw(axes[number * len(trees) + place], f"{kind.name}, {name}", stacks, longest)
                report.add(_harness.Row(f"{kind.name}, {size}, {name}", "ms", [sum(stacks.values())]))
    report.finish()
    _harness.save(figure, given, "flames")


def sample(
    tree: Path, kind: Kind, pictures: list[tuple[Path, Path]], folder: Path, rounds: int
) -> dict[Stack, float]:
    """Milliseconds of one answer by stack, from the stage (decode, compose ...) to the innermost function."""
    orders = [
        json.dumps({"picture": str(picture), "mask": str(mask), "output": kind.output, "format": kind.format})
        for _ in range(rounds)
        for picture, mask in pictures
    ]
    samples = folder / "samples"
    profiler = [Path(sys.executable).with_name("py-spy"), "record", "--native", "--rate", str(RATE)]
    done = subprocess.run(
        [*profiler, "--format", "raw", "--output", samples, "--", sys.executable, SIDE, tree],
        cwd=tree,
        env={**os.environ, **MEMORY_VARIABLES, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        input="\n".join(orders) + "\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    counts: dict[Stack, int] = collections.Counter()
    for line in samples.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        if stack := shown(frames.split(";")):
            counts[stack] += int(count)
    each = statistics.median(answer["cpu"] for answer in answers) / sum(counts.values())
    return {stack: count * each for stack, count in counts.items()}


def shown(frames: list[str]) -> Stack:
    """The functions of a stack that are drawn; none if the sample is not of an answer, or of an import."""
    stages = [place for place, frame in enumerate(frames) if frame.startswith(("_Stages.timed", "timed ("))]
    if not stages or any(frame.startswith("_find_and_load") for frame in frames):
        return ()
    names = [name for frame in frames[stages[-1] + 1 :] if (name := readable(frame))]
    unique = [name for place, name in enumerate(names) if place == 0 or name != names[place - 1]]
    return tuple(unique[:DEEPEST])


def readable(frame: str) -> str:
    """A function without its place; nothing for frames that say nothing."""
    name, _, place = frame.partition(" (")
    if (
        name.startswith(("0x", "PyCFuncPtr", "ffi_call", "_around.", "ContextDecorator"))
        or "<lambda>" in name
        or "libffi" in place
    ):
        return ""
    name = re.sub(r"\.(arch_x86_64_v\d|avx2|default|constprop|isra|part|resolver)\b.*", "", name)
    return name.split("(")[0].rpartition("::")[2][:40]


def draw(axis: Any, title: str, stacks: dict[Stack, float], longest: float) -> None:
    """One flame graph, with its root at the top."""
    from matplotlib.patches import Rectangle

    total = sum(stacks.values())
    for depth, left, width, name, stage in boxes(stacks, total * LEAST_SHARE):
        colour = next((colour for word, colour in COLOURS.items() if word in stage), OTHER_COLOUR)
        axis.add_patch(
            Rectangle((left, depth), width, 0.92, facecolor=colour, edgecolor="white", linewidth=0.6)
        )
        letters = int(width / longest * 150)
        if letters >= 4:
            axis.text(left + width / 2, depth + 0.46, name[:letters], ha="center", va="center", fontsize=6)
    axis.set(xlim=(0, longest), ylim=(DEEPEST, 0), yticks=[], xlabel="ms of one core")
    axis.set_title(f"{title}: {total:.0f} ms", fontsize="small", loc="left")
    axis.grid(visible=False)


def boxes(stacks: dict[Stack, float], least: float) -> Iterator[tuple[int, float, float, str, str]]:
    """Depth, left edge, width, name and stage of each box that is at least so wide."""

    def below(prefix: Stack, left: float) -> Iterator[tuple[int, float, float, str, str]]:
        depth = len(prefix)
        children: dict[str, float] = collections.defaultdict(float)
        for stack, time in stacks.items():
            if stack[:depth] == prefix and len(stack) > depth:
                children[stack[depth]] += time
        for name, width in sorted(children.items()) if depth else sorted(children.items(), key=order_of):
            if width >= least:
                yield depth, left, width, name, (*prefix, name)[0]
                yield from below((*prefix, name), left)
            left += width

    yield from below((), 0.0)


def order_of(child: tuple[str, float]) -> int:
    """The stages in the order in which they run."""
    stages = ("decode", "enlarge", "measure", "place", "compose", "encode")
    return next((place for place, word in enumerate(stages) if word in child[0]), len(stages))


if __name__ == "__main__":
    main()
