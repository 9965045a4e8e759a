"""The many ways in which libraries say that there is no memory, and that nothing else is taken for it."""

from __future__ import annotations

import errno
import sys

import cv2
import numpy as np
import pytest

from service.host.out_of_memory import can_allocate, require, says_no_memory

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
    OSError("out of memory error when reading image file"),
    RuntimeError("Pixel allocation failed: Out of memory"),
    RuntimeError("Memory allocation error: Unspecified: Allocating 1843215 bytes failed"),
    ValueError("encoding error 1"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("can't start new thread"),
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
    OSError("image file is truncated"),
    OSError("broken data stream when reading image file"),
    ValueError("encoding error 5"),
    ValueError("encoding error 10"),
    RuntimeError("Failed to decode frame 0: Decoding of color planes failed"),
]


@pytest.mark.parametrize("error", ANYWHERE, ids=repr)
def test_a_shortage_of_memory_is_recognised_in_every_librarys_words(error: Exception) -> None:
    assert says_no_memory(error)


@pytest.mark.parametrize("error", ON_CUDA, ids=str)
def test_vague_words_mean_a_shortage_only_on_a_gpu(error: Exception) -> None:
    assert says_no_memory(error, cuda=True)
    assert not says_no_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_another_error_is_not_taken_for_it(error: Exception) -> None:
    assert not says_no_memory(error, cuda=True)


def test_numpy_and_opencv_say_it_in_their_own_classes() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    assert says_no_memory(caught.value)
    error = cv2.error(
        "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"
    )
    assert says_no_memory(error)
    with pytest.raises(cv2.error) as other:
        cv2.resize(np.zeros((0, 0), np.uint8), (1, 1))
    assert not says_no_memory(other.value)


def test_what_could_be_allocated_is_told_without_allocating_it() -> None:
    assert can_allocate(1 << 20)
    assert not can_allocate(sys.maxsize)
    require(1 << 20, "a test")
    with pytest.raises(MemoryError, match="for a test"):
        require(sys.maxsize, "a test")
