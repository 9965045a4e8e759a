"""Free main memory is kept for the next picture, and no more of it than that, between pictures."""

from __future__ import annotations

import asyncio
import ctypes
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from service.host import memory
from service.host.memory import MainMemory, give_back_between_pictures, give_memory_back, resident_bytes
from tests.support.running_service import Start

POOL = ThreadPoolExecutor(1)


def test_what_is_too_much_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [500]
    given_back: list[int] = []

    def give_back() -> None:
        given_back.append(held[-1])
        held.append(600)

    monkeypatch.setattr(memory, "resident_bytes", lambda: held[-1])
    monkeypatch.setattr(memory, "give_memory_back", give_back)
    main = MainMemory(spare=100)
    for now in (600, 601, 700, 701, 650):
        held.append(now)
        main.give_back()
    assert given_back == [601, 701]


async def test_it_is_looked_after_whenever_no_picture_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a look that went wrong, which is logged."""
    worker: Any = SimpleNamespace(taken=0)
    turns = iter([0, 1, 2, 0])
    looked: list[int] = []

    async def sleep(seconds: float) -> None:
        assert seconds == memory.PERIOD_SECONDS
        try:
            worker.taken = next(turns)
        except StopIteration:
            raise asyncio.CancelledError from None

    monkeypatch.setattr(memory.asyncio, "sleep", sleep)

    def give_back() -> None:
        looked.append(worker.taken)
        raise RuntimeError("no such memory")

    main: Any = SimpleNamespace(give_back=give_back)
    with structlog.testing.capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await give_back_between_pictures(lambda: worker.taken == 0, POOL, lambda: main)
    assert looked == [0, 0]
    assert [entry["log_level"] for entry in logs] == ["error", "error"]


async def test_a_service_looks_after_its_memory_from_its_start_to_its_end(start: Start) -> None:
    def looking() -> bool:
        return any(task.get_name() == "memory" for task in asyncio.all_tasks())

    service = await start()
    assert looking()
    await service.client.close()
    assert not looking()


def test_memory_that_lies_scattered_is_given_back() -> None:
    """Blocks are freed but for every 64th: the rest of them is free, and yet within what is in use."""
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
    give_memory_back()
    assert scattered - resident_bytes() > len(blocks) * size / 2
    for block in kept:
        libc.free(ctypes.c_void_p(block))
