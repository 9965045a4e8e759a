"""Free main memory: how much of it the process keeps for the next picture, and when it returns the rest to the kernel.

The C library returns none by itself (:mod:`service.host.allocator`). So two callers check it: InSPyReNet's session
before each forward pass, and a task of the application once a minute while no client's picture is in memory. Each
caller must have a baseline of its own, because they start at different times: the session when the weights are loaded,
the task when the application starts. After memory was returned, the baseline is what the process then held.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog

from service.host.memory_limit import memory_limit

SPARE_BEFORE_PASS_BYTES = 1 << 30
"""What earlier pictures may leave for a forward pass. A pass of 1024 x 1024 leaves less than this in either precision,
and the next pass uses it again. What larger passes leave does not fit the next size: it would stay in addition to what
that pass takes."""

SPARE_WHEN_IDLE_BYTES = 2 << 30
"""What earlier pictures may leave while none is in memory: more than a picture of a few megapixels takes on its way, in
either precision. What is given back, the next picture has to take from the kernel again."""

SPARE_SHARE = 8
"""Where the container has a memory limit, no more than this part of it stays unused with the process."""

PERIOD_SECONDS = 60.0
"""Time between two looks of the task."""

_log = structlog.get_logger("memory")


def resident_bytes() -> int:
    """Main memory that the process holds; 0 where the system does not say."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def trim_heap() -> None:
    """Return free main memory to the kernel, also where it lies between blocks that are in use.

    It takes 0.2 s a gigabyte, and every thread that allocates waits meanwhile. C libraries other than GNU's return
    memory by themselves, so there it does nothing.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


class MainMemory:
    """Gives free memory back to the kernel once there is too much of it.

    Args:
        spare: bytes that may be held beyond the baseline. The baseline is what the process holds at the first check,
            and again after each time that memory was returned.
        resident_bytes: tells how many bytes the process holds.
        trim_heap: gives all free memory back.
        limit: tells how many bytes the process may hold at all; None without a limit.
    """

    def __init__(
        self,
        *,
        spare: int,
        resident_bytes: Callable[[], int] = resident_bytes,
        trim_heap: Callable[[], None] = trim_heap,
        limit: Callable[[], int | None] = memory_limit,
    ) -> None:
        self._spare = spare
        self._limit = limit
        self._resident_bytes = resident_bytes
        self._trim_heap = trim_heap
        self._baseline: int | None = None

    def give_back(self) -> None:
        """Check once: if more than ``spare`` bytes are held beyond the baseline, return all free memory."""
        held = self._resident_bytes()
        if self._baseline is None:
            self._baseline = held
            if (most := self._limit()) is not None:
                self._spare = min(self._spare, most // SPARE_SHARE)
        elif held > self._baseline + self._spare:
            self._trim_heap()
            self._baseline = self._resident_bytes()
            _log.info("gave free memory back", bytes_before=held, bytes_after=self._baseline)


async def give_back_between_pictures(
    is_idle: Callable[[], bool],
    run: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    memory: MainMemory | None = None,
    period: float = PERIOD_SECONDS,
) -> None:
    """Check the memory at once, which sets the baseline, and then once a period while idle; never return.

    If one check raises, the error is logged, and the next check still follows.

    Args:
        is_idle: whether no client's picture is in memory.
        run: runs the blocking work in a thread, and returns when it has ended.
        memory: gives memory back; by default with the spare bytes of an idle service.
        period: seconds between two checks.
    """
    memory = memory or MainMemory(spare=SPARE_WHEN_IDLE_BYTES)
    while True:
        if is_idle():
            try:
                await run(memory.give_back)
            except Exception:  # noqa: BLE001 - otherwise the checks would end, and no log line would say so
                _log.exception("free memory could not be given back")
        await asyncio.sleep(period)
