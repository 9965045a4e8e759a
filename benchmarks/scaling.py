"""Measures how the time grows with larger pictures and with more clients.

``python -m benchmarks.scaling`` fails if an answer is not 200. First, one client posts photographs of a quarter of a
megapixel to 50 megapixels, and stock cuts out the same files. Both sides limit the input of the network. So for larger
pictures, only decoding, colour unmixing and encoding take longer. Then one to 64 clients post small pictures at the
same time: as many pictures as there are clients, and at least eight.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _harness, _load, _sides

MEGAPIXELS = (0.25, 1, 4, 12, 50)
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
SMALL = (128, 96)
"""The size of the small pictures, in pixels."""
LEAST_PICTURES = 8


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("scaling", given)
    sizes, client_counts = ((0.06, 0.25), (1, 2, 8)) if given.quick else (MEGAPIXELS, CLIENTS)
    checkpoint = _sides.weights()
    with (
        _sides.scratch() as folder,
        _sides.Service(
            _sides.used_home("auto"),
            WEIGHTS=checkpoint,
            QUEUE_SIZE=max(client_counts),
            REQUEST_TIMEOUT=3600,
            WARMUP_INTERVAL=3600,
        ) as service,
    ):
        service.wait("/warmup")
        with _sides.Stock(_sides.used_home("stock"), checkpoint) as stock:
            by_size = larger(service, stock, folder, sizes, given.rounds)
        by_clients = more_clients(service, client_counts, given.rounds)
        report.facts["precision"] = service.warmup()["precision"]
    for size, sides in by_size.items():
        report.add(_harness.Row(f"{size:g} megapixels", "s", sides["ours"], sides["stock"]))
    report.add(exponent(by_size))
    most, one = by_clients[max(client_counts)], by_clients[1]
    report.add(
        _harness.Row(
            f"time a picture, {max(client_counts)} clients",
            "s",
            most,
            one,
            other="1 client",
            aim="flat",
            note=f"{statistics.median(most) / statistics.median(one):.2f} times as long",
        )
    )
    report.extra["seconds a picture, by clients"] = by_clients
    report.finish()
    draw(report, by_size, by_clients)


def larger(
    service: _sides.Service, stock: _sides.Stock, folder: Path, sizes: Sequence[float], rounds: int
) -> dict[float, dict[str, list[float]]]:
    """Return the seconds a picture, by megapixels and side. Sizes and sides take turns."""
    sides: dict[str, Callable[[], float]] = {}
    for size in sizes:
        height = math.isqrt(round(size * 1e6 / 1.5))
        path = folder / f"{size:g}.jpg"
        path.write_bytes(_sides.jpeg(math.floor(1.5 * height), height))
        post = partial(service.cut_out, path.read_bytes())
        sides[f"{size} ours"] = partial(_harness.timed, post)
        sides[f"{size} stock"] = partial(stock.cut_out, path, folder / "cut-out.png")
    for _ in range(_sides.UNMEASURED):
        for side in ("ours", "stock"):
            sides[f"{sizes[0]} {side}"]()
    samples = _harness.alternate(sides, rounds)
    return {size: {side: samples[f"{size} {side}"] for side in ("ours", "stock")} for size in sizes}


def more_clients(
    service: _sides.Service, client_counts: Sequence[int], rounds: int
) -> dict[int, list[float]]:
    """Return the seconds a picture, by the number of clients."""
    picture = _sides.jpeg(*SMALL)

    def measure(clients: int) -> float:
        count = max(LEAST_PICTURES, clients)
        return _load.post_all(service.port, [picture] * count, clients) / count

    measure(1)
    samples = _harness.alternate(
        {str(clients): partial(measure, clients) for clients in client_counts}, rounds
    )
    return {clients: samples[str(clients)] for clients in client_counts}


def exponent(by_size: Mapping[float, Mapping[str, Sequence[float]]]) -> _harness.Row:
    """Return the power of the number of pixels with which the time grows.

    It is the slope of a straight line through the logarithms, for each round. The time in the network has an upper
    limit, so a straight line is not a good model. The note therefore gives the steepest step between two sizes.
    """
    megapixels = np.log([*by_size])

    def slopes(side: str) -> list[float]:
        seconds = np.log([sides[side] for sides in by_size.values()])  # sizes x rounds
        return [float(np.polyfit(megapixels, column, 1)[0]) for column in seconds.T]

    medians = [(size, statistics.median(sides["ours"])) for size, sides in by_size.items()]
    steps = {
        f"{a:g} to {b:g} megapixels": math.log(after / before) / math.log(b / a)
        for (a, before), (b, after) in pairwise(medians)
    }
    steepest = max(steps, key=lambda step: steps[step])
    return _harness.Row(
        "exponent of time in pixels",
        "",
        slopes("ours"),
        aim="no worse than linear: 1",
        note=f"steepest {steps[steepest]:.2f}, from {steepest}; stock {statistics.median(slopes('stock')):.2f}",
    )


def draw(
    report: _harness.Report,
    by_size: Mapping[float, Mapping[str, Sequence[float]]],
    by_clients: Mapping[int, Sequence[float]],
) -> None:
    """Draw both panels. The error bars show the middle 90 % of the measurements."""
    from matplotlib.ticker import LogLocator

    figure, (left, right) = _harness.panels("How the cost grows", 2)
    for side, label, colour in (("stock", "stock", _harness.OTHER), ("ours", "service", _harness.OURS)):
        _line(left, {size: sides[side] for size, sides in by_size.items()}, label, colour)
    left.set(title="one client", xlabel="picture, megapixels", ylabel="seconds a picture", xscale="log")
    left.set(yscale="log", xticks=[*by_size])
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.minorticks_off()
    left.legend(frameon=False)
    _line(right, by_clients, "service", _harness.OURS)
    right.set(title=f"pictures of {SMALL[0]} x {SMALL[1]}", xlabel="clients at a time", xscale="log")
    right.set(ylabel="seconds a picture", xticks=[*by_clients])
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.minorticks_off()
    _harness.save(figure, report.given, report.name)


def _line(axis: Any, samples: Mapping[Any, Sequence[float]], label: str, colour: str) -> None:
    medians = np.array([statistics.median(found) for found in samples.values()])
    spread = np.array([np.quantile(found, [0.05, 0.95]) for found in samples.values()]).T
    errors = np.abs(spread - medians)
    axis.errorbar([*samples], medians, errors, color=colour, label=label, marker="o", capsize=3)


if __name__ == "__main__":
    main()
