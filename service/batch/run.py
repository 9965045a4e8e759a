"""Runs many jobs, a bounded number at the same time, until there are no more or it is told to stop.

The command calls it. One job's failure must never end another job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def run(
    jobs: AsyncIterator[T], do: Callable[[T], Awaitable[None]], *, at_once: int, stop: asyncio.Event
) -> None:
    """Do every job. Once ``stop`` is set no further job begins, and those that have begun are finished.

    Args:
        jobs: taken as they are needed.
        do: does one job, and raises nothing that the others should survive.
        at_once: jobs at the same time.
        stop: set by anybody, also by ``do``.
    """
    free = asyncio.Semaphore(at_once)

    async def one(job: T) -> None:
        try:
            await do(job)
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        async for job in jobs:
            await free.acquire()
            if stop.is_set():
                break
            group.create_task(one(job))


def at_once(*, codec_threads: int, places: int) -> int:
    """How many pictures are under way.

    One for each codec thread, one at the device, one that waits for it, one that is read and one that is written.
    """
    return min(codec_threads + 4, places)
