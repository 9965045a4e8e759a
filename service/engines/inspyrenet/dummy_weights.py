"""Seeded, deterministic weights for tests and load tests: a pass costs as much as a real one, without a download.

``session`` computes them for ``INSPYRENET_WEIGHTS=dummy``, and ``./inspyrenet weights --dummy`` writes them to a
file. The same code must give the same bits in every process on a machine.

Purely random weights overflow within a few layers. So the statistics of every BatchNorm are calibrated on a few seeded
pictures of smooth noise. Two gains are reduced. One is that of the three Laplacian heads, so that the mask depends on
the whole picture. The other is that of the axial attentions' queries, whose unscaled products over thousands of terms
would otherwise select one random row or column each. With such benign weights, bfloat16 changes the mask little.
"Hostile" weights have larger gains in these places and larger weights in the transformer. With them bfloat16 changes
the mask visibly, which the self-check has to detect.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.package_network import build_network
from service.engines.package_config import mode_config
from service.engines.protocol import ReportLine

SEED = 20240229
"""An arbitrary number; changing it changes every dummy mask."""

CALIBRATION_PICTURES = 16
CALIBRATION_SIDE = 96
"""Pixels. Many small pictures are better than few large ones: the sums of the attention stages vary between pictures,
not within one."""

LINEAR_STD = 0.02
"""Standard deviation of the transformer's weights, as in Swin's initialisation. Larger ones make its residual stream
chaotic."""

HOSTILE_LINEAR_STD = 0.06
"""The same for hostile weights, which should be chaotic."""

HEAD_GAIN, HOSTILE_HEAD_GAIN = 0.1, 0.3
"""Gain of the BatchNorm at the end of each Laplacian head. With a much larger gain, the mask is flat except for one
point."""

QUERY_GAIN, HOSTILE_QUERY_GAIN = 0.1, 1.0
"""Gain of the BatchNorm after the queries of the axial attentions."""


def dummy_state(mode: str, *, hostile: bool = False) -> dict[str, torch.Tensor]:
    """A checkpoint of ``mode``'s network: float32, the official keys, the same bits in every process on a machine.

    Args:
        mode: as in the package's configuration.
        hostile: make weights whose masks change with every rounding.
    """
    network = build_network(mode_config(mode).base_size)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        _initialise(network, generator, hostile=hostile)
        _calibrate(network, generator)
    return network.state_dict()


def write_dummy(
    path: str | os.PathLike[str],
    mode: str,
    *,
    hostile: bool = False,
    report: ReportLine = lambda _: None,
) -> Path:
    """Write :func:`dummy_state` to ``path`` in the format of the official checkpoints, completely or not at all.

    Args:
        path: the file.
        mode: as in the package's configuration.
        hostile: make weights whose masks change with every rounding.
        report: receives a line when a step begins.

    Returns:
        The path. ``Remover(ckpt=...)`` of the package can load the file, and so can ``INSPYRENET_WEIGHTS=<path>``.
    """
    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        report("computing the weights")
        state = dummy_state(mode, hostile=hostile)
        report("writing the file")
        torch.save(state, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def smooth_noise(generator: torch.Generator, *, side: int) -> torch.Tensor:
    """A picture of smooth noise: 1 x 3 x side x side, float32, in the range of the network's normalised input.

    Its contrast, its brightness and its share of fine detail are random too: photographs differ in all three.
    """
    contrast, fineness = torch.rand(2, generator=generator).tolist()
    picture: torch.Tensor = torch.randn(1, 3, 1, 1, generator=generator) / 2
    for cells in (2, 4, 8, 16, 32, 64):
        coarse = torch.randn(1, 3, cells, cells, generator=generator) * cells ** -(1.2 - fineness)
        picture = picture + functional.interpolate(
            coarse, size=(side, side), mode="bicubic", align_corners=False
        )
    picture = picture * (0.3 + contrast)
    return picture.clamp(-2.1, 2.6)  # normalised black and white


def _initialise(network: nn.Module, generator: torch.Generator, *, hostile: bool) -> None:
    linear_std = HOSTILE_LINEAR_STD if hostile else LINEAR_STD
    memory = {name: torch.empty(parameter.shape) for name, parameter in network.named_parameters()}
    network.load_state_dict(memory, strict=False, assign=True)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # The package's initialisation, but from a uniform distribution of the same variance: normal is slower.
            std = linear_std if isinstance(module, nn.Linear) else math.sqrt(2.0 / module.weight[0].numel())
            bound = std * math.sqrt(3.0)
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            if name.endswith("conv_out4.bn"):
                module.weight.fill_(HOSTILE_HEAD_GAIN if hostile else HEAD_GAIN)
            elif name.endswith("query_conv.bn"):
                module.weight.fill_(HOSTILE_QUERY_GAIN if hostile else QUERY_GAIN)
    for name, parameter in network.named_parameters():
        leaf = name.rpartition(".")[2]
        if leaf == "relative_position_bias_table":
            parameter.uniform_(-LINEAR_STD, LINEAR_STD, generator=generator)
        elif leaf == "gamma":
            parameter.fill_(0.1)  # with the initial 0, the attention would have no effect in any test
        elif leaf in {"threshold", "lthreshold"}:
            parameter.fill_(0.5)


def _calibrate(network: nn.Module, generator: torch.Generator) -> None:
    """Set every BatchNorm's statistics to those of a few pictures, all layers in the same pass.

    The pictures are one batch, so that the statistics include the variance between pictures.

    The attention stages sum over all positions of the mode's base size, even for small pictures: that is most of the
    calibration's time and memory. Here they sum over a sixteenth of the positions, and the statistics of the
    layers that take the sums are scaled up afterwards. These layers are linear, without a bias, so their statistics
    grow with the number of positions.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = None  # use the batch's statistics alone, instead of a moving average
    pictures = torch.cat(
        [smooth_noise(generator, side=CALIBRATION_SIDE) for _ in range(CALIBRATION_PICTURES)]
    )
    stages: list[Any] = [network.get_submodule(f"attention{index}") for index in range(3)]
    for stage in stages:
        height, width = stage.stage_size
        stage.stage_size = (height // 4, width // 4)
    network(pictures)
    for stage in stages:
        for norm in (stage.conv_key[0].bn, stage.conv_value[0].bn):
            norm.running_mean *= 16
            norm.running_var *= 16**2
