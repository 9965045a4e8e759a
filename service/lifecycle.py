"""The end of the process: when it begins, why, and how much longer work may take.

The server waits here for the end. Signals, the watchdog, device errors and a failed load begin it. After SIGTERM, the
process must end before the platform kills it, and every accepted request must have an answer by then.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

QUIET_SECONDS = 1.0
"""A service that was ready stays this long after its last work, because load balancers learn late of the signal."""

STUCK_NOTICE_SECONDS = 10.0
"""How long ``/livez`` answers 503 before a stuck process ends, so that monitoring sees the reason."""

CLOSING_SECONDS = 0.6
"""The last part of the grace: requests that still wait get a 503, and connections are closed."""

_log = structlog.get_logger("lifecycle")


class Lifecycle:
    """Whether the process is ending, why, and with which exit code.

    Args:
        drain_timeout: seconds of grace after the first signal.
        stuck_notice: seconds for which ``/livez`` says 503 before a stuck process ends itself.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        drain_timeout: float,
        stuck_notice: float = STUCK_NOTICE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.drain_timeout = drain_timeout
        self.stuck_notice = stuck_notice
        self.exit_code = 0
        self.draining = False
        self.dead: str | None = None
        """Why only a restart helps; ``/livez`` answers 503 with this reason. None while the process is healthy."""
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._deadline = math.inf
        self._drain = asyncio.Event()
        self._end = asyncio.Event()

    def on_drain(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` once, when draining begins."""
        self._listeners.append(listener)

    def signal(self) -> None:
        """Handle SIGTERM or SIGINT: the first begins the drain, the second ends it."""
        if self.draining:
            _log.warning("second signal: ending now")
            self._end.set()
        else:
            self.begin_drain("signal")

    def fail(self, reason: str, *, exit_code: int = 1) -> None:
        """Drain and then exit with ``exit_code``, because only a restart helps."""
        if self.exit_code == 0:
            self.exit_code = exit_code
        self.begin_drain(reason)

    def begin_drain(self, reason: str) -> None:
        """Stop taking work that does not fit into the grace. Later calls do nothing."""
        if self.draining:
            return
        self.draining = True
        self._deadline = self._clock() + self.drain_timeout
        self._drain.set()
        for listener in self._listeners:
            try:
                listener()
            except Exception:  # noqa: BLE001 - the other listeners must still be called
                _log.exception("a listener to the drain failed")
        _log.info("draining", reason=reason, grace_seconds=self.drain_timeout)

    def end(self) -> None:
        """End now, without grace."""
        self.begin_drain("ended without grace")
        self._end.set()

    @property
    def work_seconds(self) -> float:
        """The part of the grace in which work may still be done."""
        return self.drain_timeout - CLOSING_SECONDS

    @property
    def seconds_left(self) -> float:
        """The seconds that are left of the whole grace; negative once it is over."""
        return self._deadline - self._clock()

    async def wait_for_end(self, *, idle: Callable[[], bool], was_ready: Callable[[], bool]) -> None:
        """Wait for a signal or a failure, and then until the work has ended or its part of the grace is over.

        Args:
            idle: whether no request waits for an answer.
            was_ready: whether the service was ever ready; if so, it stays ``QUIET_SECONDS`` for late requests.
        """
        await self._drain.wait()
        quiet_since = self._clock()
        quiet_needed = QUIET_SECONDS if was_ready() else 0.0
        while not self._end.is_set() and self.seconds_left > CLOSING_SECONDS:
            now = self._clock()
            if not idle():
                quiet_since = now
            elif now - quiet_since >= quiet_needed:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._end.wait()
