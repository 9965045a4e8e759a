"""Shortages of memory, in the words of each library, told apart from bugs."""

from __future__ import annotations

import errno

import pytest

from service.engines.out_of_memory import first_line, main_memory, says_no_memory
from service.engines.protocol import DeviceError, OutOfMemory, WeightsUnavailable

ANYWHERE = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 8388608 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError(
        "[enforce fail at ..\\c10\\core\\impl\\alloc_cpu.cpp:72] data. DefaultCPUAllocator: not enough memory"
    ),
    RuntimeError("unable to mmap 367108301 bytes from file </w.pth>: Cannot allocate memory (12)"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("bad allocation"),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not create a memory object"),
    RuntimeError("could not execute a primitive"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 22.06 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    Exception(
        "OpenCV(5.0.0) /io/opencv/modules/core/src/alloc.cpp:73: error: (-4:Insufficient memory) Failed to "
        "allocate 9000000 bytes in function 'OutOfMemoryError'\n"
    ),
]
ON_CUDA = [
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    RuntimeError(
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":995, '
        "please report a bug to PyTorch. "
    ),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
    RuntimeError("could not create a primitive descriptor for the convolution forward propagation primitive"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("No available kernel. Aborting execution."),
    RuntimeError('idx INTERNAL ASSERT FAILED at "../aten/src/ATen/native/TensorShape.cpp":1, please report'),
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("could not broadcast input array"),
    KeyError("memory"),
]


@pytest.mark.parametrize("error", ANYWHERE, ids=str)
def test_a_shortage_of_memory_is_recognised_in_every_librarys_words(error: Exception) -> None:
    assert says_no_memory(error)
    with pytest.raises(OutOfMemory) as raised, main_memory():
        raise error
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", ON_CUDA, ids=str)
def test_vague_words_mean_a_shortage_only_on_a_gpu(error: Exception) -> None:
    assert says_no_memory(error, cuda=True)
    assert not says_no_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_are_no_shortage_and_pass_through_unchanged(error: Exception) -> None:
    assert not says_no_memory(error, cuda=True)
    with pytest.raises(type(error)) as raised, main_memory():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "error", [WeightsUnavailable("out of memory"), DeviceError("out of memory", sticky=True)]
)
def test_an_error_of_the_engine_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, main_memory():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "MemoryError"),
        (RuntimeError("first\nsecond"), "first"),
        (
            Exception("OpenCV(5.0.0) /io/alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate\n"),
            "OpenCV: (-4:Insufficient memory) Failed to allocate",
        ),
    ],
)
def test_an_error_is_told_in_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
