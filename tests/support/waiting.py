"""Waiting without fixed sleeps: until something is so, or until the event loop has nothing left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICKS = 30


async def until(condition: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it does not hold after that many seconds.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def let_run() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(TICKS):
        await asyncio.sleep(0)
