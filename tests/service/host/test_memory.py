"""Free main memory: a bounded part stays for the next picture, and the rest goes back to the kernel."""

from __future__ import annotations

import asyncio
import ctypes

import pytest
import structlog

from service.host.memory import MainMemory, give_back_between_pictures, resident_bytes, trim_heap
from tests.support.running_service import Start


def test_memory_beyond_the_spare_bytes_is_given_back() -> None:
    """The first look sets the baseline, and so does each time memory has been given back."""
    held = [500]
    given_back: list[int] = []

    def trim() -> None:
        given_back.append(held[-1])
        held.append(600)

    main = MainMemory(spare=100, resident_bytes=lambda: held[-1], trim_heap=trim)
    for now in (500, 600, 601, 700, 701, 650):
        held.append(now)
        main.give_back()
    assert given_back == [601, 701]


async def test_memory_is_looked_after_at_once_and_then_once_a_period_while_idle() -> None:
    """A look that fails is logged, and the next one comes."""
    taken = iter([0, 0, 1, 2, 0])
    done = asyncio.Event()
    looks = 0

    def is_idle() -> bool:
        try:
            return next(taken) == 0
        except StopIteration:
            done.set()
            return False

    def resident() -> int:
        nonlocal looks
        looks += 1
        raise RuntimeError("no such memory")

    memory = MainMemory(spare=0, resident_bytes=resident)
    with structlog.testing.capture_logs() as logs:
        looking = asyncio.create_task(
            give_back_between_pictures(is_idle, asyncio.to_thread, memory=memory, period=0.001)
        )
        await done.wait()
        looking.cancel()
    assert looks == 3
    assert [entry["log_level"] for entry in logs] == ["error"] * 3


async def test_a_service_looks_after_its_memory_from_its_start_to_its_end(start: Start) -> None:
    def looking() -> bool:
        return any(task.get_name() == "memory" for task in asyncio.all_tasks())

    service = await start()
    assert looking()
    await service.client.close()
    assert not looking()


def test_memory_that_lies_scattered_is_given_back() -> None:
    """All blocks but every 64th are freed, so the free memory lies between memory in use."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this C library gives memory back by itself")
    libc.malloc.restype = ctypes.c_void_p
    size = 1 << 16
    blocks = [libc.malloc(ctypes.c_size_t(size)) for _ in range(2048)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    kept = blocks[::64]
    for number, block in enumerate(blocks):
        if number % 64:
            libc.free(ctypes.c_void_p(block))
    scattered = resident_bytes()
    trim_heap()
    assert scattered - resident_bytes() > len(blocks) * size / 2
    for block in kept:
        libc.free(ctypes.c_void_p(block))
