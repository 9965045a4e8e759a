"""Prepares a load: it finds, downloads and verifies weights in a thread of its own, beside the device thread.

``warmup.target`` runs it before every load; ``watchdog`` asks whether it hangs. A download has no time limit while it
reports progress, so the limit must count from the last report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from service.host.running_time import running_seconds
from service.inference.thread_results import in_daemon_thread

T = TypeVar("T")


class LoadPreparation:
    """Runs the preparation of a load, and detects when it hangs.

    Args:
        load_timeout: seconds without a report of progress after which it counts as stuck.
        clock: seconds in which the process could run.
    """

    def __init__(self, *, load_timeout: float, clock: Callable[[], float] = running_seconds) -> None:
        self._load_timeout = load_timeout
        self._clock = clock
        self._reported_at: float | None = None

    async def run(self, fn: Callable[[], T]) -> T:
        """Run ``fn`` in a daemon thread and return its result or raise its exception."""
        self._reported_at = self._clock()
        try:
            return await in_daemon_thread(fn, name="prepare")
        finally:
            self._reported_at = None

    def report_progress(self) -> None:
        """The preparation has made progress: its time limit starts again."""
        if self._reported_at is not None:
            self._reported_at = self._clock()

    @property
    def stuck(self) -> str | None:
        """Why it counts as stuck, in words for a log line and an answer; None if it does not."""
        if self._reported_at is None or (silent := self._clock() - self._reported_at) <= self._load_timeout:
            return None
        return (
            f"the preparation of the load has reported no progress for {silent:.0f} s, "
            f"over its limit of {self._load_timeout:g} s"
        )
