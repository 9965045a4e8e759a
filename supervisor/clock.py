"""The clock that the supervisor reads and waits on.

``Supervisor`` and ``guarded`` take the time from here and nowhere else, so that tests can replace it by a fake clock.
Schedules must use ``monotonic``; ``time`` may jump and is only for display.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits for it."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment. Every schedule and the age of all evidence use this."""
        ...

    def running(self) -> float:
        """Seconds in which the process could run. How long a probe has been running is measured with this."""
        ...

    def time(self) -> float:
        """Unix time in seconds. It is only for display, because it may jump."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set or the seconds have passed, whichever comes first."""
        ...


class SystemClock:
    """The system's clock.

    Args:
        running: the seconds in which the process could run, where they are known.
    """

    def __init__(self, running: Callable[[], float] = time.monotonic) -> None:
        self._running = running

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def running(self) -> float:
        """See ``Clock``."""
        return self._running()

    def time(self) -> float:
        """See ``Clock``."""
        return time.time()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """See ``Clock``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
