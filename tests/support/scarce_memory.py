"""Real shortages of memory: this process may have only so much more of it for a while."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBC = ctypes.CDLL(None)
LIBC.malloc.argtypes, LIBC.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
LIBC.free.argtypes, LIBC.free.restype = [ctypes.c_void_p], None

SMALLEST_TAKEN = 1 << 20
"""Freed blocks below this many bytes are left to Python."""


@contextmanager
def spare_memory(size: int) -> Iterator[None]:
    """Inside, the process can have ``size`` further bytes, and each request for more fails.

    What earlier tests have freed and the C library has kept is taken for that time as well, or requests would be served
    from there.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_AS, (mapped, hard))
        take_freed_blocks(taken)
        resource.setrlimit(resource.RLIMIT_AS, (mapped + size, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for block in taken:
            LIBC.free(block)


def take_freed_blocks(taken: list[int]) -> None:
    """Allocate from large to small until nothing is left; the pages are not touched."""
    size = 1 << 30
    while size >= SMALLEST_TAKEN:
        if block := LIBC.malloc(size):
            taken.append(block)
        else:
            size //= 2
