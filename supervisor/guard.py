"""The guard: the supervisor's own death is seen, logged and mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from supervisor.supervisor import Supervisor

RESTART_SECONDS = 1.0
"""Between a death and the next life: short, but no busy loop if the cause persists."""

_log = structlog.get_logger("supervisor")


@asynccontextmanager
async def guarded(supervisor: Supervisor) -> AsyncIterator[None]:
    """Keep the supervisor alive for as long as the context lasts, then close it."""
    stopping = asyncio.Event()
    keeper = asyncio.create_task(_keep_alive(supervisor, stopping), name="warmup guard")
    try:
        yield
    finally:
        stopping.set()
        await asyncio.gather(
            keeper, return_exceptions=True
        )  # if it died, that must not keep the rest from closing
        await supervisor.close()


async def _keep_alive(supervisor: Supervisor, stopping: asyncio.Event) -> None:
    stopped = asyncio.create_task(stopping.wait(), name="warmup guard stop")
    life: asyncio.Task[None] | None = None
    try:
        while not stopping.is_set():
            life = asyncio.create_task(supervisor.run(), name="warmup supervisor")
            await asyncio.wait({life, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.is_set():
                break
            with suppress(Exception):  # what it died of may well be the log or the metrics
                _report_death(supervisor, life)
            await supervisor.clock.wait(stopping, RESTART_SECONDS)
    finally:
        stopped.cancel()
        if life is not None:
            life.cancel()
            await asyncio.gather(life, stopped, return_exceptions=True)
        supervisor.dismiss()


def _report_death(supervisor: Supervisor, life: asyncio.Task[None]) -> None:
    supervisor.metrics.warmup_supervisor_restarts_total.inc()
    _log.error(
        "Warmup supervisor finished unexpectedly",
        cancelled=life.cancelled(),
        restart_in_seconds=RESTART_SECONDS,
        exc_info=None if life.cancelled() else life.exception(),
    )
