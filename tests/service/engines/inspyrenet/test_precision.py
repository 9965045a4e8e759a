"""Reduced precision: used only where the masks stay what they are, and reported with its figures."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.scenes import photograph
from service.engines.inspyrenet import precision
from service.engines.inspyrenet import session as runtime_module
from service.engines.inspyrenet.dummy_weights import dummy_state
from service.engines.inspyrenet.package import build_network
from service.engines.inspyrenet.precision import measure_deviation
from service.engines.inspyrenet.session import Runtime
from service.engines.package_config import mode_config
from service.engines.weights.checkpoint import assign_weights

pytestmark = pytest.mark.network

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def suitable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU with native bf16; emulated, it gives the same numbers."""
    monkeypatch.setattr(precision, "has_native_bf16", lambda: True)


@pytest.fixture(scope="module")
def benign(dummy_checkpoint: Callable[[str], Path]) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(dummy_checkpoint("fast"), weights_only=True)
    return loaded


@pytest.fixture(scope="module")
def hostile() -> dict[str, torch.Tensor]:
    return dummy_state("fast", hostile=True)


def runtime(state: dict[str, torch.Tensor], wanted: precision.Wanted) -> Runtime:
    network = build_network(mode_config("fast").base_size)
    assign_weights(network, state, "dummy")
    loaded = Runtime(network, CPU, wanted)
    loaded.settle()
    assert loaded.settled
    return loaded


def mask_of(loaded: Runtime) -> Any:
    return loaded.infer(photograph("astronaut", 96, 64), (96, 64))


def test_benign_weights_pass_the_self_check_and_are_then_computed_in_bf16(
    benign: dict[str, torch.Tensor],
) -> None:
    chosen = runtime(benign, "auto")
    assert chosen.precision == "bf16"
    assert "self-check at 192x192 passed: mean 0." in chosen.precision_reason
    assert "(limit 1), 99.9th percentile" in chosen.precision_reason
    reduced, exact = mask_of(chosen), mask_of(runtime(benign, "fp32"))
    assert reduced.dtype == exact.dtype == np.float32
    assert 0 < np.abs(exact - reduced).mean() < 1 / 255


def test_until_the_self_check_has_been_made_it_computes_in_fp32(benign: dict[str, torch.Tensor]) -> None:
    network = build_network(mode_config("fast").base_size)
    assign_weights(network, benign, "dummy")
    loaded = Runtime(network, CPU, "auto")
    assert (loaded.settled, loaded.precision) == (False, "fp32")
    assert loaded.precision_reason == "until the self-check of bf16, right after the first proof"
    assert np.abs(mask_of(loaded) - mask_of(runtime(benign, "fp32"))).max() < 1e-4


@pytest.mark.parametrize("wanted", ["auto", "bf16", "fp32"])
def test_once_it_is_settled_nothing_is_left_of_the_network(
    benign: dict[str, torch.Tensor], wanted: precision.Wanted
) -> None:
    network = build_network(mode_config("fast").base_size)
    assign_weights(network, benign, "dummy")
    block = weakref.ref(network.get_parameter("backbone.norm0.weight").untyped_storage())
    gc.disable()
    try:
        loaded = Runtime(network, CPU, wanted)
        del network
        assert (block() is not None) == (wanted == "auto")
        loaded.settle()
        assert block() is None
    finally:
        gc.enable()


def test_before_each_pass_too_much_of_what_earlier_ones_left_is_given_back(
    benign: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted from what is held at the first pass, and again from the first pass after the precision is settled."""
    seen: list[str] = []

    class MainMemory:
        def __init__(self, *, spare: int) -> None:
            assert spare == runtime_module.SPARE_BEFORE_PASS_BYTES
            seen.append("counted")

        def give_back(self) -> None:
            seen.append("looked")

    monkeypatch.setattr(runtime_module, "MainMemory", MainMemory)
    network = build_network(mode_config("fast").base_size)
    assign_weights(network, benign, "dummy")
    loaded = Runtime(network, CPU, "auto")
    mask_of(loaded)
    loaded.settle()
    mask_of(loaded)
    mask_of(loaded)
    assert seen == ["counted", "looked", "counted", "looked", "looked"]


def test_hostile_weights_fail_it_and_stay_exactly_in_fp32(hostile: dict[str, torch.Tensor]) -> None:
    chosen = runtime(hostile, "auto")
    assert chosen.precision == "fp32"
    assert "self-check at 192x192 failed: bf16 differs from fp32 by mean" in chosen.precision_reason
    assert "(limit 1), 99.9th percentile" in chosen.precision_reason
    assert np.array_equal(mask_of(chosen), mask_of(runtime(hostile, "fp32")))


def test_weights_that_see_nothing_are_not_taken_for_forgiving_ones(benign: dict[str, torch.Tensor]) -> None:
    blind = {name: torch.zeros_like(tensor) for name, tensor in benign.items()}
    chosen = runtime(blind, "auto")
    assert (chosen.precision, chosen.precision_reason.partition(":")[0]) == (
        "fp32",
        "self-check at 192x192 inconclusive",
    )


def test_on_hardware_without_native_bf16_auto_means_fp32_and_says_why(
    benign: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_native_bf16", lambda: False)
    why = "this CPU has no native bf16 (AVX512_BF16, AMX or Arm BF16)"
    every: tuple[precision.Wanted, ...] = ("auto", "fp32", "bf16")
    chosen = {wanted: runtime(benign, wanted) for wanted in every}
    assert {wanted: (c.precision, c.precision_reason) for wanted, c in chosen.items()} == {
        "auto": ("fp32", why),
        "fp32": ("fp32", "asked for"),
        "bf16": ("bf16", f"asked for, not checked; {why}"),
    }


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
