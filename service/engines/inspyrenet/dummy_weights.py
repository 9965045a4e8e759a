"""Seeded, deterministic weights for tests and load tests: the network's real cost, without a download.

Random weights overflow within a few layers, so the statistics of every BatchNorm are calibrated on a few seeded
pictures of smooth noise. Two gains are damped: that of the three Laplacian heads, so
that the mask depends on the picture as a whole, and that of the axial attentions' queries, whose unscaled products over
thousands of terms would otherwise pick one random row or column each. Such weights forgive reduced precision. "Hostile"
ones, with larger gains there and throughout the transformer, do not: that is what a self-check must catch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from service.engines.inspyrenet.package import build_network
from service.engines.package_config import mode_config

SEED = 20240229
"""Any number will do; changing it changes every dummy mask."""

CALIBRATION_PICTURES = 16
CALIBRATION_SIDE = 96
"""Pixels. Many small pictures: what the attention stages sum up varies between pictures, not within one."""

LINEAR_STD = 0.02
"""Of the transformer's weights, as Swin is initialised: larger ones make its residual stream chaotic."""

HOSTILE_LINEAR_STD = 0.06
"""The same, where that is wanted."""

HEAD_GAIN, HOSTILE_HEAD_GAIN = 0.1, 0.3
"""Of the BatchNorm at the end of each Laplacian head. Much larger ones leave a mask that is flat but for a point."""

QUERY_GAIN, HOSTILE_QUERY_GAIN = 0.1, 1.0
"""Of the BatchNorm after the queries of the axial attentions."""


def dummy_state(mode: str, *, hostile: bool = False, seed: int = SEED) -> dict[str, torch.Tensor]:
    """A checkpoint of ``mode``'s network: float32, the official keys, the same bits in every process on a machine.

    Args:
        mode: as in the package's configuration.
        hostile: make weights whose masks change with every rounding.
        seed: of the weights and of the calibration pictures.
    """
    network = build_network(mode_config(mode).base_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        _initialise(network, generator, hostile=hostile)
        _calibrate(network, generator)
    return network.state_dict()


def write_dummy(
    path: str | os.PathLike[str],
    mode: str,
    *,
    hostile: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write :func:`dummy_state` to ``path`` in the format of the official checkpoints, whole or not at all.

    ``report`` is told which step begins.

    Returns:
        The path; ``Remover(ckpt=...)`` of the package loads it, and so does ``INSPYRENET_WEIGHTS=<path>``.
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

    Its contrast, its brightness and the share of fine detail are drawn too: photographs differ in all three.
    """
    contrast, fineness = torch.rand(2, generator=generator).tolist()
    picture: torch.Tensor = torch.randn(1, 3, 1, 1, generator=generator) / 2
    for cells in (2, 4, 8, 16, 32, 64):
        coarse = torch.randn(1, 3, cells, cells, generator=generator) * cells ** -(1.2 - fineness)
        picture = picture + functional.interpolate(
            coarse, size=(side, side), mode="bicubic", align_corners=False
        )
    picture = picture * (0.3 + contrast)
    return picture.clamp(-2.1, 2.6)  # black and white, after the normalisation


def _initialise(network: nn.Module, generator: torch.Generator, *, hostile: bool) -> None:
    linear_std = HOSTILE_LINEAR_STD if hostile else LINEAR_STD
    memory = {name: torch.empty(parameter.shape) for name, parameter in network.named_parameters()}
    network.load_state_dict(memory, strict=False, assign=True)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # As the package initialises them, but uniform of the same variance, which is faster than normal.
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
            parameter.fill_(0.1)  # 0 when untrained, which would leave the attention out of every test
        elif leaf in {"threshold", "lthreshold"}:
            parameter.fill_(0.5)


def _calibrate(network: nn.Module, generator: torch.Generator) -> None:
    """Set every BatchNorm's statistics to those of a few pictures, all layers in the same pass.

    One batch, so that the statistics hold the variance between pictures too.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = None  # take the batch's statistics as they are, instead of moving towards them
    pictures = torch.cat(
        [smooth_noise(generator, side=CALIBRATION_SIDE) for _ in range(CALIBRATION_PICTURES)]
    )
    with _small_attention(network):
        network(pictures)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@contextmanager
def _small_attention(network: nn.Module) -> Iterator[None]:
    """Let the attention stages sum over a sixteenth of their positions, then scale what was learnt from the sums.

    They work at the mode's base size whatever the pictures' size: most of the calibration's time and memory. The layers
    that take the sums are linear, without a bias, so their statistics grow with the number of positions.
    """
    stages: list[Any] = [network.get_submodule(f"attention{index}") for index in range(3)]
    sizes = [stage.stage_size for stage in stages]
    for stage, (height, width) in zip(stages, sizes, strict=True):
        stage.stage_size = (height // 4, width // 4)
    yield
    for stage, size in zip(stages, sizes, strict=True):
        stage.stage_size = size
        for norm in (stage.conv_key[0].bn, stage.conv_value[0].bn):
            norm.running_mean *= 16
            norm.running_var *= 16**2
