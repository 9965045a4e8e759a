"""The service's own parts around a loaded engine, for commands that cut pictures out without HTTP.

``accept`` and ``cut`` use it, so that what they make is what a client gets. ``service.app`` puts the parts together;
nothing listens on a port, and no probe runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from metrics import Metrics
from service.app import Parts, build_parts, run_threads
from service.engines.memory_needs import memory_needs
from service.engines.protocol import Engine, EngineInfo, LoadPhase, ReportLine
from service.inference.jobs import Kind
from service.lifecycle import Lifecycle
from service.settings import LONGEST_SECONDS, Settings

FLAGS = (
    "engine",
    "mode",
    "resize",
    "weights",
    "device",
    "precision",
    "max_upload_bytes",
    "max_pixels",
    "max_model_pixels",
)
"""The settings that matter without a server: the flags of ``cut``. The variables of all others count as well."""


def offline_parts(settings: Settings, engine: Engine) -> Parts:
    """The parts; nothing runs yet.

    The deadline of a request does not apply, because no client waits. All other limits do.

    Args:
        settings: of the service.
        engine: not yet loaded.
    """
    settings = settings.model_copy(update={"request_timeout": float(LONGEST_SECONDS)})
    # A stuck thread is the end at once: nobody has to see it on /livez first.
    lifecycle = Lifecycle(drain_timeout=settings.drain_timeout, stuck_notice=0)
    return build_parts(settings, engine=engine, lifecycle=lifecycle, metrics=Metrics())


@asynccontextmanager
async def loaded(parts: Parts, *, report: ReportLine) -> AsyncIterator[EngineInfo]:
    """Start the threads of the parts, load the engine and decide its precision; the threads end with the context.

    Args:
        parts: of ``offline_parts``.
        report: called with each step of the load.

    Raises:
        EngineError: the engine cannot be loaded.
    """
    async with run_threads(parts):
        yield await _load(parts, report)


async def _load(parts: Parts, report: ReportLine) -> EngineInfo:
    engine, loop = parts.engine, asyncio.get_running_loop()

    def report_phase(_: LoadPhase, line: str) -> None:
        loop.call_soon_threadsafe(parts.preparation.report_progress)
        report(line)

    memory = parts.admission.memory
    await parts.preparation.run(lambda: engine.prepare(report_phase))
    memory.check_before_load(engine.name)
    info = await parts.device_thread.run(lambda: engine.load(report_phase), kind=Kind.LOAD)
    if not info.settled:
        info = await parts.device_thread.run(engine.settle, kind=Kind.PROBE)
    memory.engine_settled(
        memory_needs(info), max_pixels=parts.pipeline.max_pixels, places=parts.admission.capacity
    )
    report(
        f"{info.engine} is loaded: {info.precision} ({info.precision_reason}); weights: {info.weights_note}"
    )
    if info.fallback:
        report(f"FALLBACK: {info.engine} makes the masks. {info.fallback_reason}")
    return info
