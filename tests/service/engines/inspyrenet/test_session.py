"""The session: it uses reduced precision only if the masks stay the same, and reports the figures of its check."""

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
from service.engines.inspyrenet import session as session_module
from service.engines.inspyrenet.dummy_weights import dummy_state
from service.engines.inspyrenet.package_network import build_network
from service.engines.inspyrenet.session import Session
from service.engines.package_config import mode_config
from service.engines.weights.state_dict import assign_weights
from service.host.memory import SPARE_BEFORE_PASS_BYTES

pytestmark = [pytest.mark.network, pytest.mark.timeout(600)]

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def suitable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU with native bf16. Emulated bf16 gives the same numbers."""
    monkeypatch.setattr(precision, "has_native_bf16", lambda: True)


@pytest.fixture(scope="module")
def benign(dummy_checkpoint: Callable[[str], Path]) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(dummy_checkpoint("fast"), weights_only=True)
    return loaded


@pytest.fixture(scope="module")
def hostile() -> dict[str, torch.Tensor]:
    return dummy_state("fast", hostile=True)


def loaded_network(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    network = build_network(mode_config("fast").base_size)
    assign_weights(network, state, "dummy")
    return network


def settled(state: dict[str, torch.Tensor], wanted: precision.Wanted) -> Session:
    session = Session(loaded_network(state), CPU, wanted)
    session.settle()
    assert session.settled
    return session


def mask_of(session: Session) -> Any:
    return session.infer(photograph("astronaut", 96, 64), (96, 64)).alpha


def test_benign_weights_pass_the_self_check_and_are_then_computed_in_bf16(
    benign: dict[str, torch.Tensor],
) -> None:
    session = settled(benign, "auto")
    assert session.precision.name == "bf16"
    assert "self-check at 192x192 passed: mean 0." in session.precision.reason
    assert "(limit 1), 99.9th percentile" in session.precision.reason
    reduced, exact = mask_of(session), mask_of(settled(benign, "fp32"))
    assert reduced.dtype == exact.dtype == np.float32
    assert 0 < np.abs(exact - reduced).mean() < 1 / 255


def test_a_session_computes_in_fp32_until_the_self_check_has_been_made(
    benign: dict[str, torch.Tensor],
) -> None:
    session = Session(loaded_network(benign), CPU, "auto")
    assert (session.settled, session.precision.name) == (False, "fp32")
    assert session.precision.reason == "until the self-check of bf16, right after the first proof"
    assert np.abs(mask_of(session) - mask_of(settled(benign, "fp32"))).max() < 1e-4


@pytest.mark.parametrize("wanted", ["auto", "bf16", "fp32"])
def test_the_network_is_freed_once_the_precision_is_settled(
    benign: dict[str, torch.Tensor], wanted: precision.Wanted
) -> None:
    network = loaded_network(benign)
    block = weakref.ref(network.get_parameter("backbone.norm0.weight").untyped_storage())
    gc.disable()
    try:
        session = Session(network, CPU, wanted)
        del network
        assert (block() is not None) == (wanted == "auto")
        session.settle()
        assert block() is None
    finally:
        gc.enable()


def test_free_memory_beyond_the_limit_is_given_back_before_each_pass(
    benign: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The baseline is new for each session, and again once the precision is settled."""
    seen: list[str] = []

    class MainMemory:
        def __init__(self, *, spare: int) -> None:
            assert spare == SPARE_BEFORE_PASS_BYTES
            seen.append("new baseline")

        def give_back(self) -> None:
            seen.append("given back")

    monkeypatch.setattr(session_module, "MainMemory", MainMemory)
    session = Session(loaded_network(benign), CPU, "auto")
    mask_of(session)
    session.settle()
    mask_of(session)
    mask_of(session)
    assert seen == ["new baseline", "given back", "new baseline", "given back", "given back"]


def test_hostile_weights_fail_the_self_check_and_stay_exactly_in_fp32(
    hostile: dict[str, torch.Tensor],
) -> None:
    session = settled(hostile, "auto")
    assert session.precision.name == "fp32"
    assert "self-check at 192x192 failed: bf16 differs from fp32 by mean" in session.precision.reason
    assert "(limit 1), 99.9th percentile" in session.precision.reason
    assert np.array_equal(mask_of(session), mask_of(settled(hostile, "fp32")))


def test_weights_with_a_flat_mask_do_not_pass_the_self_check(benign: dict[str, torch.Tensor]) -> None:
    zeros = {name: torch.zeros_like(tensor) for name, tensor in benign.items()}
    session = settled(zeros, "auto")
    assert (session.precision.name, session.precision.reason.partition(":")[0]) == (
        "fp32",
        "self-check at 192x192 inconclusive",
    )


def test_on_hardware_without_native_bf16_auto_means_fp32_and_says_why(
    benign: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_native_bf16", lambda: False)
    why = "this CPU has no native bf16 (AVX512_BF16, AMX or Arm BF16)"
    every: tuple[precision.Wanted, ...] = ("auto", "fp32", "bf16")
    assert {wanted: settled(benign, wanted).precision for wanted in every} == {
        "auto": precision.Choice("fp32", why),
        "fp32": precision.Choice("fp32", "asked for"),
        "bf16": precision.Choice("bf16", f"asked for, not checked; {why}"),
    }
