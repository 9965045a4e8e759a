"""Runs short blocking work beside the event loop, and in it if the system gives no thread.

``exposition`` and ``api_keys`` use it: the metrics must be readable and keys must be checked exactly when the process
has run out of something.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def run_beside_loop(work: Callable[[], Result]) -> Result:
    """Run ``work`` in a thread. Without a thread, it delays the loop for the few milliseconds that it takes.

    Args:
        work: must be harmless if it is run twice: a pool that could not start a thread may still find one later.

    Raises:
        Exception: whatever ``work`` raises.
    """
    context = contextvars.copy_context()
    try:
        running = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(work))
    except RuntimeError:  # "can't start new thread"
        return work()
    return await running
