"""The end of the process: when it comes, why, and what is still done before it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import structlog

QUIET_SECONDS = 1.0
"""A service that was ready stays this long after its last work: routing tables lag behind the signal."""

STUCK_NOTICE_SECONDS = 10.0
"""How long ``/livez`` says 503 before a stuck process ends itself, so that somebody sees it."""

LAST_WORDS_SECONDS = 0.6
"""What is kept of the grace for telling those who still wait, and for closing."""

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
        """Why only a restart can mend this process; ``/livez`` says 503 with it. None while that is not so."""
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._deadline = math.inf
        self._drain = asyncio.Event()
        self._end = asyncio.Event()

    def on_drain(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` once, when draining begins."""
        self._listeners.append(listener)

    def signal(self) -> None:
        """SIGTERM or SIGINT: the first begins to drain, the second ends it."""
        if self.draining:
            _log.warning("second signal: ending now")
            self._end.set()
        else:
            self.begin_drain("signal")

    def fail(self, reason: str, *, exit_code: int = 1) -> None:
        """Only a restart can mend this: drain, then exit with ``exit_code``."""
        if self.exit_code == 0:
            self.exit_code = exit_code
        self.begin_drain(reason)

    def begin_drain(self, reason: str) -> None:
        """Stop taking work that does not fit the grace; idempotent."""
        if self.draining:
            return
        self.draining = True
        self._deadline = self._clock() + self.drain_timeout
        self._drain.set()
        for listener in self._listeners:
            try:
                listener()
            except Exception:  # noqa: BLE001 - one that fails must not keep the others from hearing of it
                _log.exception("a listener failed")
        _log.info("draining", reason=reason, grace_seconds=self.drain_timeout)

    def end(self) -> None:
        """End now, without grace."""
        self.begin_drain("told to end")
        self._end.set()

    @property
    def work_seconds(self) -> float:
        """The part of the grace in which work may still be done."""
        return self.drain_timeout - LAST_WORDS_SECONDS

    @property
    def seconds_left(self) -> float:
        """Of the grace, for everything; negative if it is over."""
        return self._deadline - self._clock()

    async def finished(self, *, idle: Callable[[], bool], was_ready: Callable[[], bool]) -> bool:
        """Wait for a signal or a failure, then for the work to end.

        Args:
            idle: whether nobody waits for an answer.
            was_ready: whether the service was ever ready; if so, it lingers for what still arrives.

        Returns:
            True if everybody was answered, False if the grace ran out or a second signal came first.
        """
        await self._drain.wait()
        quiet_since = self._clock()
        quiet_needed = QUIET_SECONDS if was_ready() else 0.0
        while not self._end.is_set() and self.seconds_left > LAST_WORDS_SECONDS:
            now = self._clock()
            if not idle():
                quiet_since = now
            elif now - quiet_since >= quiet_needed:
                return True
            try:
                async with asyncio.timeout(0.05):
                    await self._end.wait()
            except TimeoutError:
                continue
        return idle()
