"""Time, as far as the supervisor needs it; tests bring their own."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits for it."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; what every schedule goes by."""
        ...

    def time(self) -> float:
        """Unix time in seconds; only ever shown, because it may jump."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set or the seconds have passed, whichever comes first."""
        ...


class SystemClock:
    """The real time."""

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
