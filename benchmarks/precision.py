"""How bfloat16 changes the mask: part by part, and as it is used, with benign and hostile weights, at several sizes.

``python -m benchmarks.precision`` has no limit for the figures, so only an error makes it fail. The first table is the
reason for :data:`service.engines.inspyrenet.precision.REDUCED_PARTS`. It shows each part in bf16 alone: how much the
mask changes, and how much time that saves. The second table compares the deviation that the self-check measures at load
with that of a client's picture of 1024 x 1024. It gives the mean and the 99.9th percentile of the difference, in levels
of 255.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import nn

from benchmarks import _harness, _sides
from benchmarks.scenes import photograph
from service.engines.inspyrenet.forward.model import PARTS, Forward
from service.engines.inspyrenet.precision import REDUCED_PARTS, Deviation, measure_deviation
from service.engines.inspyrenet.session import SELF_CHECK_SIDE, read_network, self_check_picture
from service.engines.inspyrenet.torch_settings import configure_torch
from service.engines.package_config import mode_config
from service.engines.weights.requested import Weights

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")
PART_SIDE = 384
CLIENT_SIDE = 1024


def main() -> None:
    given = _harness.options(__doc__)
    report = _harness.Report("precision", given)
    configure_torch()
    device = torch.device("cpu")
    with torch.inference_mode():
        benign = _network(hostile=False)
        _parts(report, benign, device)
        sides = (
            (128, SELF_CHECK_SIDE["cpu"]) if given.quick else (128, SELF_CHECK_SIDE["cpu"], 512, CLIENT_SIDE)
        )
        for kind, network in (("benign", benign), ("hostile", _network(hostile=True))):
            exact, reduced = Forward(network, device), Forward(network, device, reduced=REDUCED_PARTS)
            for side in sides:
                found = {
                    name: measure_deviation(exact(picture), reduced(picture))
                    for name, picture in {
                        "the self-check's picture": self_check_picture(side),
                        **{name: _normalised(name, side) for name in PHOTOGRAPHS},
                    }.items()
                }
                report.extra[f"{kind}, {side} x {side}"] = {name: _levels(d) for name, d in found.items()}
    report.finish()
    for case, by_picture in report.extra.items():
        print(f"  {case}: " + "; ".join(f"{name} {figures}" for name, figures in by_picture.items()))
    _plot(report)


def _parts(report: _harness.Report, network: nn.Module, device: torch.device) -> None:
    side = 128 if report.given.quick else PART_SIDE
    pictures = [self_check_picture(side), *(_normalised(name, side) for name in PHOTOGRAPHS)]
    exact = Forward(network, device)
    masks = [exact(picture) for picture in pictures]
    for part in PARTS:
        reduced = Forward(network, device, reduced={part})
        found = [
            measure_deviation(mask, reduced(picture)) for mask, picture in zip(masks, pictures, strict=True)
        ]
        seconds = _harness.alternate(
            {
                "bf16": lambda one=reduced: _harness.timed(lambda: one(pictures[0])),
                "fp32": lambda: _harness.timed(lambda: exact(pictures[0])),
            },
            report.given.rounds,
            quiet=True,
        )
        report.add(
            _harness.Row(
                f"{part} alone in bf16, {side} x {side}",
                "s",
                seconds["bf16"],
                seconds["fp32"],
                other="all in fp32",
                note=f"mean {statistics.fmean(d.mean for d in found) * 255:.2f}/255, "
                f"99.9th percentile {statistics.fmean(d.tail for d in found) * 255:.2f}/255"
                f"{'; used' if part in REDUCED_PARTS else ''}",
            )
        )
        report.extra[f"{part}, {side} x {side}"] = {
            name: _levels(d)
            for name, d in zip(("the self-check's picture", *PHOTOGRAPHS), found, strict=True)
        }


def _plot(report: _harness.Report) -> None:
    figure, axis = _harness.axes(
        "How much bf16 changes the mask, part by part", "mean difference, levels of 255", ""
    )
    parts = [key for key in report.extra if key.split(",")[0] in PARTS]
    means = [
        statistics.fmean(float(figures.split(" / ")[0]) for figures in report.extra[key].values())
        for key in parts
    ]
    names = [key.split(",")[0] for key in parts]
    colours = [_harness.OURS if name in REDUCED_PARTS else _harness.OTHER for name in names]
    axis.barh(names, means, color=colours)
    axis.invert_yaxis()
    axis.legend(
        handles=[
            axis.barh([0], [0], color=_harness.OURS, label="computed in bf16"),
            axis.barh([0], [0], color=_harness.OTHER, label="stays in fp32"),
        ]
    )
    _harness.save(figure, report.given, report.name)


def _network(*, hostile: bool) -> nn.Module:
    weights = Weights(str(_sides.weights(hostile=hostile)), mode_config("base"))
    return read_network(weights.obtain(lambda _: None), "base")


def _normalised(name: str, side: int) -> torch.Tensor:
    pixels: Any = torch.from_numpy(photograph(name, side, side)).permute(2, 0, 1)[None].float() / 255
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    normalised: torch.Tensor = (pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    return normalised


def _levels(deviation: Deviation) -> str:
    return f"{deviation.mean * 255:.2f} / {deviation.tail * 255:.2f}"


if __name__ == "__main__":
    main()
