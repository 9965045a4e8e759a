"""The watch: measures the event loop's lag, and ends a process whose GPU thread is stuck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from metrics import Metrics
from service.inference.worker import Worker
from service.lifecycle import STUCK_NOTICE_SECONDS, Lifecycle

PERIOD_SECONDS = 0.25

_log = structlog.get_logger("watch")


class StuckJudge:
    """Pure: when a stuck thread has been seen for long enough, the process ends.

    A job that ends after all, within the notice, saves the process.
    """

    def __init__(self, notice_seconds: float) -> None:
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
    """Run until the process has to end: whatever goes wrong in one look is logged, and the next one comes."""
    judge = StuckJudge(STUCK_NOTICE_SECONDS)
    while lifecycle.dead is None:
        due = clock() + PERIOD_SECONDS
        await asyncio.sleep(PERIOD_SECONDS)
        try:
            _look(worker, lifecycle, metrics, judge, due=due, now=clock())
        except Exception:  # noqa: BLE001 - nobody else would end a process whose GPU thread is stuck
            _log.exception("the watch failed to look")


def _look(
    worker: Worker, lifecycle: Lifecycle, metrics: Metrics, judge: StuckJudge, *, due: float, now: float
) -> None:
    stuck = worker.stuck
    first_seen, time_to_end = judge.judge(stuck, now)
    if time_to_end:
        lifecycle.dead = stuck
        lifecycle.fail(f"the GPU thread is stuck: {stuck}")
        lifecycle.end()
        _log.critical("ending the process: only a restart mends a stuck GPU thread", reason=stuck)
    elif first_seen:
        _log.critical("the GPU thread is stuck", reason=stuck, seconds_until_exit=STUCK_NOTICE_SECONDS)
    metrics.event_loop_lag_seconds.observe(max(0.0, now - due))
