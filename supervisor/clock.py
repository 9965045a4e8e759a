"""The clock that the supervisor reads and waits on.

``Supervisor`` and ``guarded`` take the time from here and nowhere else, so that tests can replace it by a fake clock.
Schedules must use ``monotonic``; ``time`` may jump and is only for display.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits for it."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment. Every schedule uses this."""
        ...

    def time(self) -> float:
        """Unix time in seconds. It is only for display, because it may jump."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set or the seconds have passed, whichever comes first."""
        ...


class SystemClock:
    """The system's clock."""

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def time(self) -> float:
        """See ``Clock``."""
        return time.time()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """See ``Clock``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
