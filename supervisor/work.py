"""Work under way: the tasks that a supervisor starts, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from supervisor.protocol import Outcome, ProbeReport
from supervisor.snapshot import Failure

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Load:
    """A load under way."""

    task: asyncio.Task[Mapping[str, float] | Failure]
    began: float


@dataclass(slots=True, eq=False)
class Probe:
    """A probe under way; times are monotonic seconds."""

    task: asyncio.Task[ProbeReport | Failure]
    began: float
    started_at: float | None = None
    """When the worker took it up; None while it waits for its turn."""
    counted: bool = False
    """Its outcome is decided, though its thread may go on: it keeps the next one from starting, and no more."""


async def settled(work: Callable[[], Awaitable[T]]) -> T | Failure:
    """Await the work; anything raised is a failure to be mended, the ``sys.exit`` of some library included.

    Only what ends the process (``KeyboardInterrupt``) or this very task passes.
    """
    try:
        return await work()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a target must not be able to end the supervisor
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return Failure.of(error)


def result_of(task: asyncio.Task[T | Failure]) -> T | Failure:
    """What a task that ran ``settled`` came to; for one that somebody cancelled, that."""
    if task.cancelled():
        return Failure(Outcome.ERROR, "it was cancelled from outside", asyncio.CancelledError.__name__)
    return task.result()
