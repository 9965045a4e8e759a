"""Reduced precision: used only where the masks stay what they are, and reported with its figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from service.engines import precision
from service.engines.checkpoint import assign_weights
from service.engines.network import build_network
from service.engines.precision import measure_deviation
from service.engines.runtime import Runtime
from service.engines.upstream import mode_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state(dummy_checkpoint: Callable[[str], Path]) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(dummy_checkpoint("fast"), weights_only=True)
    return loaded


@pytest.fixture(autouse=True)
def suitable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU with native bf16; emulated, it gives the same numbers."""
    monkeypatch.setattr(precision, "has_native_bf16", lambda: True)


def runtime(state: dict[str, torch.Tensor], *, hostile: bool = False) -> Runtime:
    network: Any = build_network(mode_config("fast").base_size)
    assign_weights(network, {name: tensor.clone() for name, tensor in state.items()}, "dummy")
    if hostile:
        for stage in (network.attention0, network.attention1, network.attention2):
            stage.conv_out4.bn.weight.fill_(1.0)
    return Runtime(network, CPU)


def masks_of(loaded: Runtime) -> torch.Tensor:
    picture = torch.linspace(-1, 1, 3 * 64 * 96).sin().view(1, 3, 64, 96)
    with torch.inference_mode():
        return loaded._forward(picture)


def test_benign_weights_pass_the_self_check_and_are_then_computed_in_bf16(
    state: dict[str, torch.Tensor],
) -> None:
    loaded = runtime(state)
    exact = masks_of(loaded)
    used, reason = loaded.settle_precision("auto")
    assert used == "bf16"
    assert "self-check passed: mean 0." in reason
    reduced = masks_of(loaded)
    assert reduced.dtype == torch.float32
    assert 0 < float((exact - reduced).abs().mean()) < 4 / 255


def test_hostile_weights_fail_it_and_stay_exactly_in_fp32(state: dict[str, torch.Tensor]) -> None:
    loaded = runtime(state, hostile=True)
    exact = masks_of(loaded)
    used, reason = loaded.settle_precision("auto")
    assert used == "fp32"
    assert "self-check failed" in reason
    assert "(limit 1), 99.9th percentile" in reason
    assert torch.equal(masks_of(loaded), exact)


def test_on_hardware_without_native_bf16_auto_means_fp32_and_says_why(
    state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_native_bf16", lambda: False)
    loaded = runtime(state)
    assert loaded.settle_precision("auto") == (
        "fp32",
        "this CPU has no native bf16 (AVX512_BF16, AMX or Arm BF16)",
    )
    assert loaded.settle_precision("fp32") == ("fp32", "asked for")
    used, reason = loaded.settle_precision("bf16")
    assert used == "bf16"
    assert "asked for, not checked; this CPU has no native bf16" in reason


@pytest.mark.parametrize(
    ("difference", "outliers", "acceptable"),
    [(0.9, 0, True), (1.1, 0, False), (0.0, 5, True), (0.0, 20, False), (float("nan"), 0, False)],
)
def test_both_the_mean_and_the_tail_must_be_inside_the_tolerance(
    difference: float, outliers: int, acceptable: bool
) -> None:
    exact = torch.zeros(1, 1, 100, 100)
    reduced = torch.full_like(exact, difference / 255)
    reduced.view(-1)[:outliers] = 9 / 255
    assert measure_deviation(exact, reduced).acceptable is acceptable
