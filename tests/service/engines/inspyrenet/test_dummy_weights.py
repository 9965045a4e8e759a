"""Dummy weights: masks that depend on the picture, and the same bits in every process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from service.engines.inspyrenet.package_network import build_network
from service.engines.package_config import mode_config

pytestmark = [pytest.mark.network, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def fast_state(dummy_checkpoint: Callable[[str], Path]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(dummy_checkpoint("fast"), weights_only=True)
    return state


def masks(state: dict[str, torch.Tensor], pictures: list[np.ndarray[Any, Any]]) -> list[torch.Tensor]:
    network = build_network(mode_config("fast").base_size)
    network.load_state_dict(state, assign=True)
    with torch.inference_mode():
        return [network(torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1) for p in pictures]


def photograph(name: str) -> np.ndarray[Any, Any]:
    return np.array(Image.fromarray(getattr(data, name)()).resize((96, 96)))


def test_dummy_masks_depend_on_the_picture(fast_state: dict[str, torch.Tensor]) -> None:
    first, second = masks(fast_state, [photograph("astronaut"), photograph("coffee")])
    assert float((first - second).abs().mean()) >= 5 / 255
    assert min(float(first.std()), float(second.std())) > 5 / 255


def test_dummy_weights_are_float32_and_finite(fast_state: dict[str, torch.Tensor]) -> None:
    floats = [tensor for tensor in fast_state.values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float32}
    assert all(torch.isfinite(tensor).all() for tensor in floats)


def test_dummy_weights_are_the_same_bits_in_every_process(
    dummy_checkpoint: Callable[[str], Path], fast_state: dict[str, torch.Tensor]
) -> None:
    again = dummy_checkpoint("fast").with_name("again.pth")
    code = f"from service.engines.inspyrenet.dummy_weights import write_dummy; write_dummy({str(again)!r}, 'fast')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    try:
        other = torch.load(again, weights_only=True)
    finally:
        again.unlink()
    assert fast_state.keys() == other.keys()
    assert all(torch.equal(fast_state[name], other[name]) for name in other)


def test_the_package_stretches_a_whole_batch_together_so_pictures_are_computed_one_by_one(
    fast_state: dict[str, torch.Tensor],
) -> None:
    """If this fails because upstream has changed it, batching becomes possible."""
    network = build_network(mode_config("fast").base_size)
    network.load_state_dict(fast_state, assign=True)
    batch = torch.stack([torch.from_numpy(photograph(n)).permute(2, 0, 1) for n in ("astronaut", "chelsea")])
    with torch.inference_mode():
        together = network(batch.float() / 127.5 - 1)
    alone = masks(fast_state, [photograph("astronaut"), photograph("chelsea")])
    assert max(float((a - b).abs().max()) for a, b in zip(alone, together, strict=True)) > 1 / 255
