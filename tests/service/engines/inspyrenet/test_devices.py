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


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | None], None]:
    """A CUDA device that answers, or raises the given error at each later call."""

    def pretend(error: Exception | None) -> None:
        def synchronize(_: torch.device) -> None:
            if error is not None:
                raise error

        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(torch, "zeros", lambda *_, **__: torch.ones(1))

    pretend(None)
    return pretend


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
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.usefixtures("cuda")
def test_a_failed_allocation_is_out_of_memory_on_either_device(
    device: torch.device, error: Exception
) -> None:
    with pytest.raises(OutOfMemory), translate_errors(device):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError(
            'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":995'
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    ],
)
@pytest.mark.usefixtures("cuda")
def test_what_a_gpu_under_memory_pressure_says_is_out_of_memory(error: Exception) -> None:
    with pytest.raises(OutOfMemory), translate_errors(CUDA):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("No available kernel. Aborting execution."),
        RuntimeError('idx INTERNAL ASSERT FAILED at "../aten/src/ATen/native/x.cpp":1, please report a bug'),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
        NotImplementedError("Could not run 'aten::x' with arguments from the 'CUDA' backend."),
        torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization"),
        torch.AcceleratorError("CUDA error: unspecified launch failure"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.usefixtures("cuda")
def test_every_error_of_torch_on_a_gpu_is_an_error_of_the_device(error: Exception) -> None:
    with pytest.raises(DeviceError) as raised, translate_errors(CUDA):
        raise error
    assert not raised.value.sticky


@pytest.mark.parametrize("error", [KeyError("a bug"), TypeError("a bug")])
@pytest.mark.usefixtures("cuda")
def test_a_bug_that_is_not_torchs_stays_a_bug_on_a_gpu(error: Exception) -> None:
    with pytest.raises(type(error)), translate_errors(CUDA):
        raise error


def test_a_real_allocation_that_is_too_large_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemory), translate_errors(CPU):
        torch.empty(1 << 50)


DEAD = RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize("later", [None, DEAD])
def test_a_device_error_is_sticky_if_the_device_no_longer_answers(
    cuda: Callable[[Exception | None], None], later: Exception | None
) -> None:
    cuda(later)
    with pytest.raises(DeviceError, match="illegal memory access") as raised, translate_errors(CUDA):
        raise RuntimeError(
            "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA"
        )
    assert raised.value.sticky is (later is not None)
    assert "\n" not in str(raised.value)


def test_a_device_without_a_byte_to_spare_still_answers(cuda: Callable[[Exception | None], None]) -> None:
    cuda(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"))
    with pytest.raises(DeviceError) as raised, translate_errors(CUDA):
        raise RuntimeError("No available kernel. Aborting execution.")
    assert not raised.value.sticky


def test_a_device_that_died_of_a_failed_allocation_is_dead(cuda: Callable[[Exception | None], None]) -> None:
    cuda(DEAD)
    with pytest.raises(DeviceError) as raised, translate_errors(CUDA):
        raise RuntimeError("CUDA error: out of memory")
    assert raised.value.sticky


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
