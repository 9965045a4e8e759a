"""The tasks that the supervisor starts: a load, a probe, and their results.

``Supervisor`` runs every call of its target through ``result_or_failure`` and reads the task with ``result_of``.
A target must not be able to end the supervisor, whatever it raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from supervisor.failure import Failure
from supervisor.protocol import LoadReport, Outcome, ProbeReport, Subject

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Load:
    """A load in progress."""

    task: asyncio.Task[LoadReport | Failure]
    began: float
    """Monotonic seconds."""


@dataclass(slots=True, eq=False)
class Probe:
    """A probe in progress; times are seconds in which the process could run (``Clock.running``)."""

    task: asyncio.Task[ProbeReport | Failure]
    subject: Subject
    began: float
    """When it was sent. It may then wait for its turn."""
    ran: float = 0.0
    """Seconds for which threads have worked for it, up to ``running_since``."""
    running_since: float | None = None
    """When the thread that works for it now began; None while it waits."""
    decided: bool = False
    """Its outcome is recorded. Its thread may still run: until it ends, no other probe starts."""

    def note_running(self, now: float, *, running: bool) -> None:
        """A thread begins to work for it, or has ended."""
        self.ran = self.seconds_run(now)
        self.running_since = now if running else None

    def seconds_run(self, now: float) -> float:
        """Seconds for which threads have worked for it, without the waiting between."""
        return self.ran + (now - self.running_since if self.running_since is not None else 0.0)


async def result_or_failure(work: Callable[[], Awaitable[T]]) -> T | Failure:
    """Await the work and turn any exception into a ``Failure``, even the ``SystemExit`` of some library.

    Two exceptions pass: ``KeyboardInterrupt``, which ends the process, and the cancellation of this very task.
    """
    try:
        return await work()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return Failure.of(error)


def result_of(task: asyncio.Task[T | Failure]) -> T | Failure:
    """The result of a finished task of ``result_or_failure``. A task that was cancelled counts as a failure."""
    if task.cancelled():
        return Failure(Outcome.ERROR, "it was cancelled from outside", asyncio.CancelledError.__name__)
    return task.result()
