"""Measures a folder of photographs: ``./inspyrenet cut``, compared with four clients that post them to ``/process``.

``python -m benchmarks.batch`` fails if a picture has no result. Both sides use the same engine in the same run: first
``u2netp``, then one that returns at once, so that only decoding, encoding, files and plumbing are left. The time of
``cut`` counts from the moment that the engine is loaded to the line that says that all is done, because the service
neither starts nor ends in its time. ``cut`` reads and writes files, the clients keep theirs in memory.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import _harness, _load, _sides
from benchmarks.throughput import CLIENTS, MEGAPIXELS, batch

COUNTS = {"u2netp": 24, "an engine that returns at once": 96}
SIDES = {
    "u2netp": (("-m", "service"), ("-m", "service", "cut")),
    "an engine that returns at once": (
        ("-m", "benchmarks._batch_side", "serve"),
        ("-m", "benchmarks._batch_side", "cut"),
    ),
}
"""For each engine, the arguments of Python for the service and for the command."""


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("batch", given)
    for engine in SIDES:
        count, largest = (4, 0.12) if given.quick else (COUNTS[engine], MEGAPIXELS[1])
        samples = measured(engine, count, largest, given.rounds)
        report.add(
            _harness.Row(
                f"{count} photographs, {engine}",
                "pictures/min",
                samples["cut"],
                samples["service"],
                other=f"/process, {CLIENTS} clients",
                our_name="cut",
                aim="at least as many",
                rate=True,
            )
        )
    report.finish()
    _harness.bars(report, "A folder of photographs, with the command and over HTTP")


def measured(engine: str, count: int, largest: float, rounds: int) -> dict[str, list[float]]:
    """Pictures a minute of both sides, by name."""
    serving, cutting = SIDES[engine]
    home = _sides.used_home("u2netp")
    with _sides.scratch() as folder:
        pictures = folder / "pictures"
        pictures.mkdir()
        contents = [path.read_bytes() for path in batch(pictures, count, largest)]
        with _sides.Service(home, command=serving, ENGINE="u2netp", REQUEST_TIMEOUT=3600) as service:
            service.wait("/warmup")
            service.cut_out(contents[0])
            return _harness.alternate(
                {
                    "cut": lambda: 60 * count / cut(cutting, home, pictures, folder / "out", count),
                    "service": lambda: 60 * count / _load.post_all(service.port, contents, CLIENTS),
                },
                rounds,
            )


def cut(command: Sequence[str], home: Path, pictures: Path, out: Path, count: int) -> float:
    """Cut the folder out into a new one; return the seconds from the loaded engine to the last result."""
    shutil.rmtree(out, ignore_errors=True)
    env = _sides.environment(home, INSPYRENET_ENGINE="u2netp")
    arguments = [sys.executable, *command, str(pictures), "--to", str(out)]
    with subprocess.Popen(
        arguments, cwd=_harness.ROOT, env=env, stderr=subprocess.PIPE, text=True
    ) as running:
        if running.stderr is None:
            raise RuntimeError("no pipe")
        started = ended = 0.0
        for line in running.stderr:
            if " is loaded: " in line:
                started = time.perf_counter()
            elif " cut out." in line:
                ended = time.perf_counter()
        code = running.wait()
    if code or len(list(out.glob("*.png"))) != count:
        raise RuntimeError(f"cut ended with {code} and not all of the {count} pictures")
    return ended - started


if __name__ == "__main__":
    main()
