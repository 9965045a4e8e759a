"""A shortage of main memory becomes the engines' error, told in one line; everything else stays what it is."""

from __future__ import annotations

import pytest

from service.engines.out_of_memory import first_line, main_memory
from service.engines.protocol import DeviceError, OutOfMemory, WeightsUnavailable


def test_a_shortage_of_memory_becomes_out_of_memory_in_one_line() -> None:
    with pytest.raises(OutOfMemory, match=r"^DefaultCPUAllocator: can't allocate memory$"), main_memory():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nand a stack")


def test_another_error_passes_through_unchanged() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as raised, main_memory():
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
