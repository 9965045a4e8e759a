"""The process's main memory: what is free in it stays for the next pass, up to a limit."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path


class MainMemory:
    """Keeps free memory, and gives it back once there is too much of it.

    The C library is told never to give any back by itself (:data:`service.interpreter.MEMORY`).

    Args:
        spare: bytes that may be added to what the process holds now, or held after it last gave some back.
    """

    def __init__(self, *, spare: int) -> None:
        self._spare = spare
        self._held = resident_bytes()

    def give_back(self) -> None:
        """Give all that is free back to the kernel, if there is too much of it."""
        if resident_bytes() > self._held + self._spare:
            give_memory_back()
            self._held = resident_bytes()


def give_memory_back() -> None:
    """Return to the kernel the main memory that is free, also where it lies scattered between what is in use.

    Tens of milliseconds; other C libraries than GNU's do it by themselves.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


def resident_bytes() -> int:
    """Main memory that the process holds; 0 where the system does not say."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
