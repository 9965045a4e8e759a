"""The watch: measures the event loop's lag, and ends a process whose GPU thread is stuck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from metrics import Metrics
from service.lifecycle import STUCK_NOTICE_SECONDS, Lifecycle
from service.worker import Worker

PERIOD_SECONDS = 0.25

_log = structlog.get_logger("watch")


class StuckJudge:
    """Pure: when a stuck thread has been seen for long enough, the process ends.

    A job that ends after all, within the notice, saves the process.
    """

    def __init__(self, notice_seconds: float = STUCK_NOTICE_SECONDS) -> None:
        self._notice_seconds = notice_seconds
        self._since: float | None = None

    def judge(self, stuck: str | None, now: float) -> tuple[bool, bool]:
        """Whether this is the moment at which it was first seen, and whether it is time to end."""
        if stuck is None:
            self._since = None
            return False, False
        if self._since is None:
            self._since = now
            return True, False
        return False, now - self._since >= self._notice_seconds


async def watch(
    worker: Worker,
    lifecycle: Lifecycle,
    metrics: Metrics,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run for ever."""
    judge = StuckJudge()
    while True:
        due = clock() + PERIOD_SECONDS
        await asyncio.sleep(PERIOD_SECONDS)
        now = clock()
        metrics.event_loop_lag_seconds.observe(max(0.0, now - due))
        stuck = worker.stuck
        first_seen, time_to_end = judge.judge(stuck, now)
        if first_seen:
            _log.critical("the GPU thread is stuck", reason=stuck, seconds_until_exit=STUCK_NOTICE_SECONDS)
        if time_to_end:
            lifecycle.dead = stuck
            _log.critical("ending the process: only a restart mends a stuck GPU thread", reason=stuck)
            lifecycle.fail(f"the GPU thread is stuck: {stuck}")
            lifecycle.end()
            return
