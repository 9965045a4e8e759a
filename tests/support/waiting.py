"""Waits for a condition without fixed pauses.

Tests use these functions instead of loops of their own. ``until`` is for tests in an event loop, ``wait_until`` for
tests that watch other processes, ``let_run`` for tests on a fake clock. ``let_run`` must not need real time.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable

_TICKS = 30
"""How often ``let_run`` gives the turn to the other tasks: more than any chain of tasks in the code under test."""


async def until(condition: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait until the condition holds. A condition may return an awaitable, whose result counts.

    It is asked after 1 ms, and then ever less often, at last every 10 ms.

    Raises:
        TimeoutError: it does not hold after that many seconds.
    """
    pause = 0.001
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, 0.01)


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> float:
    """Block the thread until the condition holds.

    Args:
        condition: asked every 20 ms.
        seconds: the longest wait.
        what: says in the error what did not happen.

    Returns:
        How long it took, in seconds.

    Raises:
        TimeoutError: it does not hold after that many seconds.
    """
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"this did not become true within {seconds:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - start


async def let_run() -> None:
    """Let every task run until it waits for time to pass or for the test."""
    for _ in range(_TICKS):
        await asyncio.sleep(0)
