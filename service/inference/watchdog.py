"""The watchdog: ends a process in which a thread hangs, and measures the lag of the event loop.

``app`` runs it for as long as the service runs, and tells it how to see that a thread hangs (the device thread, one of
the codec pool, the preparation of a load). It must continue even if one check raises, because nothing else ends such a
process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from metrics import Metrics
from service.host.running_time import running_seconds
from service.lifecycle import Lifecycle

PERIOD_SECONDS = 0.25

_log = structlog.get_logger("watch")


class StuckJudge:
    """Decides when a stuck thread has been seen for long enough that the process has to end. Pure.

    If the job ends before the notice is over, the process continues.

    Args:
        notice_seconds: how long the thread is reported as stuck before the process ends.
    """

    def __init__(self, notice_seconds: float) -> None:
        self._notice_seconds = notice_seconds
        self._since: float | None = None

    def judge(self, stuck: str | None, now: float) -> tuple[bool, bool]:
        """Whether it is seen as stuck for the first time, and whether it is time to end the process."""
        if stuck is None:
            self._since = None
            return False, False
        if self._since is None:
            self._since = now
            return True, False
        return False, now - self._since >= self._notice_seconds


async def watch(
    lifecycle: Lifecycle,
    metrics: Metrics,
    *,
    stuck: Callable[[], str | None],
    clock: Callable[[], float] = running_seconds,
    period_seconds: float = PERIOD_SECONDS,
) -> None:
    """Run until the process has to end. If one check raises, the error is logged, and the next check still follows.

    Args:
        lifecycle: told when the process has to end.
        metrics: the lag of the event loop is recorded here.
        stuck: why only a restart would help, in words; None while all is well.
        clock: seconds in which the process could run.
        period_seconds: from one check to the next.
    """
    judge = StuckJudge(lifecycle.stuck_notice)
    while lifecycle.dead is None:
        due = clock() + period_seconds
        await asyncio.sleep(period_seconds)
        try:
            now = clock()
            _end_if_stuck(stuck(), lifecycle, judge, now)
            metrics.event_loop_lag_seconds.observe(max(0.0, now - due))
        except Exception:  # noqa: BLE001 - see the module's docstring
            _log.exception("the watchdog failed to look")


def _end_if_stuck(stuck: str | None, lifecycle: Lifecycle, judge: StuckJudge, now: float) -> None:
    first_seen, time_to_end = judge.judge(stuck, now)
    if time_to_end:
        lifecycle.dead = stuck
        lifecycle.fail(stuck or "a thread is stuck")
        lifecycle.end()
        _log.critical("ending the process: only a restart mends a stuck thread", reason=stuck)
    elif first_seen:
        _log.critical("a thread is stuck", reason=stuck, seconds_until_exit=lifecycle.stuck_notice)
