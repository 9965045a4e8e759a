"""The guard: it restarts the supervisor whenever its coroutine ends, and logs and counts that.

The application enters ``guarded`` once, for as long as it runs. Whatever ends the supervisor's coroutine, a new one
must start, and no caller of ``demand`` may wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from supervisor.supervisor import Supervisor

RESTART_SECONDS = 1.0
"""Time from the supervisor's end to its restart: short, but no busy loop if the cause persists."""

_log = structlog.get_logger("supervisor")


@asynccontextmanager
async def guarded(supervisor: Supervisor) -> AsyncIterator[None]:
    """Keep the supervisor running for as long as the context lasts, then close it."""
    stopping = asyncio.Event()
    keeper = asyncio.create_task(_keep_running(supervisor, stopping), name="warmup guard")
    try:
        yield
    finally:
        stopping.set()
        # An exception of the guard must not prevent the supervisor from being closed.
        await asyncio.gather(keeper, return_exceptions=True)
        await supervisor.close()


async def _keep_running(supervisor: Supervisor, stopping: asyncio.Event) -> None:
    stopped = asyncio.create_task(stopping.wait(), name="warmup guard stop")
    running: asyncio.Task[None] | None = None
    try:
        while not stopping.is_set():
            running = asyncio.create_task(supervisor.run(), name="warmup supervisor")
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.is_set():
                break
            with suppress(Exception):  # the log or the metrics may be what ended the supervisor
                _report_end(supervisor, running)
            await supervisor.clock.wait(stopping, RESTART_SECONDS)
    finally:
        stopped.cancel()
        if running is not None:
            running.cancel()
            await asyncio.gather(running, stopped, return_exceptions=True)
        supervisor.release_waiters()


def _report_end(supervisor: Supervisor, ended: asyncio.Task[None]) -> None:
    supervisor.metrics.warmup_supervisor_restarts_total.inc()
    _log.error(
        "Warmup supervisor finished unexpectedly",
        cancelled=ended.cancelled(),
        restart_in_seconds=RESTART_SECONDS,
        exc_info=None if ended.cancelled() else ended.exception(),
    )
