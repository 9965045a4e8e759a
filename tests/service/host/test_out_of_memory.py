"""The many ways in which libraries say that there is no memory, and that nothing else is taken for it."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from service.host.out_of_memory import can_allocate, is_out_of_memory, require

NO_MEMORY = [
    MemoryError(),
    OSError("out of memory error when reading image file"),
    RuntimeError("Pixel allocation failed: Out of memory"),
    RuntimeError("Memory allocation error: Unspecified: Allocating 1843215 bytes failed"),
    ValueError("encoding error 1"),
    OSError(12, "Cannot allocate memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
]

OTHERS = [
    OSError("image file is truncated"),
    OSError("broken data stream when reading image file"),
    ValueError("encoding error 5"),
    ValueError("encoding error 10"),
    RuntimeError("Failed to decode frame 0: Decoding of color planes failed"),
    KeyError("memory"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=repr)
def test_an_error_that_says_there_is_no_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_another_error_is_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_numpy_and_opencv_say_it_in_their_own_classes() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    assert is_out_of_memory(caught.value)
    error = cv2.error(
        "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"
    )
    assert is_out_of_memory(error)
    with pytest.raises(cv2.error) as other:
        cv2.resize(np.zeros((0, 0), np.uint8), (1, 1))
    assert not is_out_of_memory(other.value)


def test_what_could_be_allocated_is_told_without_allocating_it() -> None:
    assert can_allocate(1 << 20)
    assert not can_allocate(sys.maxsize)
    require(1 << 20, "a test")
    with pytest.raises(MemoryError, match="for a test"):
        require(sys.maxsize, "a test")
