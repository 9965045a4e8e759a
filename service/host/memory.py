"""The process's main memory: what is free stays for the next picture, and too much goes back between pictures."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

import structlog

SPARE_BYTES = 2 << 30
"""How much may stay free: more than what a picture of a few megapixels takes on its way, in either precision."""

PERIOD_SECONDS = 60.0
"""Time between looks. What has been given back, the next picture has to take again."""

_log = structlog.get_logger("memory")


class MainMemory:
    """Gives free memory back to the kernel once there is too much of it.

    The C library never gives any back by itself (:data:`service.host.interpreter.MEMORY`).

    Args:
        spare: bytes that may be held beyond what is held now, or was after memory was last given back.
    """

    def __init__(self, *, spare: int = SPARE_BYTES) -> None:
        self._spare = spare
        self._in_use = resident_bytes()

    def give_back(self) -> None:
        """Give all that is free back if too much is held: meanwhile, every thread that allocates waits."""
        held = resident_bytes()
        if held > self._in_use + self._spare:
            give_memory_back()
            self._in_use = resident_bytes()
            _log.info("gave free memory back", bytes_before=held, bytes_after=self._in_use)


async def give_back_between_pictures(
    is_idle: Callable[[], bool], pool: Executor, main_memory: Callable[[], MainMemory] = MainMemory
) -> None:
    """Run for ever: look after the memory now and then, when no client's picture is there.

    Whatever goes wrong in one look is logged, and the next one comes.

    Args:
        is_idle: whether no client's picture is in memory.
        pool: where the blocking work runs.
        main_memory: makes the object that gives memory back.
    """
    loop = asyncio.get_running_loop()
    memory = await loop.run_in_executor(pool, main_memory)
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        if is_idle():
            try:
                await loop.run_in_executor(pool, memory.give_back)
            except Exception:  # noqa: BLE001 - nobody else would notice that memory is no longer looked after
                _log.exception("free memory could not be given back")


def give_memory_back() -> None:
    """Return to the kernel the main memory that is free, also where it lies scattered between what is in use.

    Takes 0.2 s a gigabyte; other C libraries than GNU's do it by themselves.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


def resident_bytes() -> int:
    """Main memory that the process holds; 0 where the system does not say."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
