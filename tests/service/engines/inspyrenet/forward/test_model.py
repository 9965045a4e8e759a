"""The rearranged forward pass: the masks of the package's own modules, for many sizes, and in each precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.scenes import photograph
from service.engines.inspyrenet.forward import attention_stage, layers, swin
from service.engines.inspyrenet.forward.model import PARTS, Forward
from service.engines.inspyrenet.forward.swin import WINDOW
from service.engines.inspyrenet.package_network import build_network
from service.engines.inspyrenet.precision import REDUCED_PARTS

pytestmark = pytest.mark.network

CPU = torch.device("cpu")


def normalised(name: str, width: int, height: int) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(photograph(name, width, height))).permute(2, 0, 1)[None]
    return pixels.float() / 64 - 2


@pytest.fixture(scope="module")
def fast(dummy_checkpoint: Callable[[str], Path]) -> nn.Module:
    network = build_network((384, 384))
    network.load_state_dict(torch.load(dummy_checkpoint("fast"), weights_only=True), assign=True)
    return network


@pytest.fixture(scope="module")
def base(fast: nn.Module) -> nn.Module:
    """The same weights at the base size of ``base``, whose attention stages sum over whole rows."""
    network = build_network((1024, 1024))
    network.load_state_dict(fast.state_dict(), assign=True)
    # There are (1024 / 384) squared times as many positions to sum over, so the sums have to be scaled down.
    for number in range(3):
        stage: Any = network.get_submodule(f"attention{number}")
        for layer in (stage.conv_key[0], stage.conv_value[0]):
            layer.bn.weight = nn.Parameter(layer.bn.weight * (384 / 1024) ** 2, requires_grad=False)
    return network


SIZES = [(32, 32), (64, 64), (96, 160), (352, 32), (32, 224), (416, 288), (32, 1088), (1312, 32)]
"""(width, height): one window and many, padded and not, square and not, below and above ``fast``'s base size."""


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("mode", ["fast", "base"])
def test_masks_equal_those_of_the_packages_modules(
    mode: str, width: int, height: int, request: pytest.FixtureRequest
) -> None:
    network = request.getfixturevalue(mode)
    image = normalised("astronaut", width, height)
    with torch.inference_mode():
        expected = network(image)
        mask = Forward(network, CPU)(image)
    assert mask.shape == expected.shape
    assert float(expected.std()) > 0.05
    assert float((mask - expected).abs().max()) < 2e-4


def test_masks_without_packed_weights_are_the_same(fast: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operators that a GPU uses, here on the CPU."""
    image = normalised("coffee", 96, 128)
    with torch.inference_mode():
        packed = Forward(fast, CPU)(image)
        monkeypatch.setattr(layers, "_can_pack", lambda *_: False)
        plain = Forward(fast, CPU)(image)
        reduced = Forward(fast, CPU, reduced=REDUCED_PARTS)(image)
        sharing = Forward(fast, CPU, share_weights=True)(image)
    assert float((packed - plain).abs().max()) < 2e-4
    assert torch.equal(sharing, plain)
    assert 0 < float((reduced - plain).abs().mean()) < 1 / 255


@pytest.mark.parametrize(("rows", "windows"), [(1, 1), (7, 4)])
def test_masks_in_chunks_of_any_size_are_the_same(
    rows: int, windows: int, fast: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strips of seven rows begin between rows of the map that is enlarged. Chunks of four windows have two kinds."""
    image = normalised("coffee", 96, 160)
    with torch.inference_mode():
        whole = Forward(fast, CPU)(image)
        monkeypatch.setattr(attention_stage, "BLOCK_PIXELS", rows * 24)
        monkeypatch.setattr(attention_stage, "BLOCK_ROWS", rows)
        monkeypatch.setattr(attention_stage, "POOLED_VALUES", 1)
        monkeypatch.setattr(swin, "CHUNK_TOKENS", windows * WINDOW * WINDOW)
        assert float((Forward(fast, CPU)(image) - whole).abs().max()) < 1e-5


def test_every_part_can_be_reduced_alone_and_an_unknown_part_is_refused(fast: nn.Module) -> None:
    image = normalised("coffee", 64, 64)
    with torch.inference_mode():
        exact = Forward(fast, CPU)(image)
        for part in PARTS:
            deviation = (Forward(fast, CPU, reduced={part})(image) - exact).abs().mean()
            assert 0 < float(deviation) < 2 / 255, part
    assert set(PARTS) >= REDUCED_PARTS
    with pytest.raises(ValueError, match="attention3"):
        Forward(fast, CPU, reduced={"attention3"})


def test_the_forward_pass_keeps_no_tensor_of_the_network(fast: nn.Module) -> None:
    """Otherwise the network's 370 MB would stay in memory."""
    network = build_network((384, 384))
    network.load_state_dict({name: tensor.clone() for name, tensor in fast.state_dict().items()}, assign=True)
    forward = Forward(network, CPU)
    image = normalised("coffee", 64, 64)
    with torch.inference_mode():
        before = forward(image)
        for tensor in network.state_dict().values():
            tensor.zero_()
        assert torch.equal(forward(image), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_masks_on_a_gpu_equal_those_of_the_packages_modules(fast: nn.Module) -> None:
    image = normalised("astronaut", 384, 256)
    with torch.inference_mode():
        expected = fast(image)
        mask = Forward(fast, torch.device("cuda"))(image.cuda()).cpu()
    assert float((mask - expected).abs().max()) < 1e-3
