"""The choice of the device, and what its failures mean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from service.engines.inspyrenet.devices import choose_device, memory_in_use, translate_errors
from service.engines.protocol import ConfigurationError, DeviceError, EngineError, OutOfMemory

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("name", "count", "chosen"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cpu", 2, "cpu"),
        ("cuda", 1, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_a_device_that_is_there_is_chosen(
    gpus: Callable[[int], None], name: str, count: int, chosen: str
) -> None:
    gpus(count)
    assert str(choose_device(name)) == chosen


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:3", 2)])
def test_a_named_device_that_is_missing_never_becomes_a_cpu(
    gpus: Callable[[int], None], name: str, count: int
) -> None:
    gpus(count)
    with pytest.raises(ConfigurationError, match=f"INSPYRENET_DEVICE={name}"):
        choose_device(name)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 10 bytes"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_failed_allocation_is_out_of_memory_on_either_device(error: Exception) -> None:
    with pytest.raises(OutOfMemory), translate_errors(CPU):
        raise error


def test_a_real_allocation_that_is_too_large_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemory), translate_errors(CPU):
        torch.empty(1 << 50)


@pytest.mark.parametrize("answers", [True, False])
def test_a_device_error_is_sticky_if_the_device_no_longer_answers(
    monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    def synchronize(_: torch.device) -> None:
        if not answers:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: torch.ones(1))
    with pytest.raises(DeviceError, match="illegal memory access") as raised, translate_errors(CUDA):
        raise RuntimeError(
            "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA"
        )
    assert raised.value.sticky is not answers
    assert "\n" not in str(raised.value)


def test_other_errors_pass_through_unchanged() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as raised, translate_errors(CPU):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not isinstance(raised.value, EngineError)


def test_the_tensors_of_a_failed_pass_are_freed() -> None:
    import weakref

    held: list[weakref.ref[torch.Tensor]] = []

    def fail() -> None:
        activation = torch.ones(10)
        held.append(weakref.ref(activation))
        raise MemoryError

    try:
        with translate_errors(CPU):
            fail()
    except OutOfMemory:
        assert held[0]() is None


def test_a_cpu_reports_no_device_memory() -> None:
    assert memory_in_use(CPU) == {"allocated": 0, "reserved": 0}
