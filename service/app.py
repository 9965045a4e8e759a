"""The composition root: every part is made here, handed what it needs, started and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from metrics import Metrics
from service.engines.inspyrenet.resize import safe_canary_size
from service.engines.protocol import Engine
from service.host.cpu import available_cpus
from service.host.memory import give_back_between_pictures
from service.host.process_age import process_age
from service.http import pages
from service.http.api_keys import KeyRing
from service.http.body import MULTIPART_OVERHEAD
from service.http.cors import Cors
from service.http.exposition import MetricsHandler
from service.http.health import LivenessHandler, ReadinessHandler
from service.http.middleware import observe, render_errors, stamp
from service.http.process import Process
from service.http.slow_clients import Transfers
from service.http.warmup import WarmupHandlers
from service.inference.pipeline import Pipeline
from service.inference.watchdog import watch
from service.inference.worker import Worker
from service.lifecycle import Lifecycle
from service.settings import Settings
from service.version import __version__
from service.warmup.target import EngineTarget
from supervisor import Supervisor, guarded

LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
WORKER = web.AppKey("worker", Worker)
SUPERVISOR = web.AppKey("supervisor", Supervisor)

_log = structlog.get_logger("app")


def create_app(
    settings: Settings,
    *,
    engine: Engine,
    registry: CollectorRegistry | None = None,
    canary_side: Callable[[int], int] = safe_canary_size,
) -> web.Application:
    """Everything, put together; nothing runs until the application starts.

    Args:
        settings: read once, frozen.
        engine: not yet loaded; the supervisor loads it once the application runs.
        registry: where the metrics go; a new one if not given.
        canary_side: makes the configured side of the canary a safe one.
    """
    side = canary_side(settings.warmup_size)
    if side != settings.warmup_size:
        _log.warning("the canary's size is unsafe and was raised", configured=settings.warmup_size, used=side)
    metrics = Metrics(registry)
    metrics.set_build_info(version=__version__, torch=version("torch"))
    lifecycle = Lifecycle(drain_timeout=settings.drain_timeout)
    worker = Worker(
        queue_size=settings.queue_size,
        request_timeout=settings.request_timeout,
        hang_timeout=settings.hang_timeout,
        load_timeout=settings.load_timeout,
        pool_size=max(2, available_cpus()),
    )
    pipeline = Pipeline(engine, max_pixels=settings.max_pixels)
    target = EngineTarget(
        engine, pipeline=pipeline, worker=worker, lifecycle=lifecycle, metrics=metrics, canary_side=side
    )
    supervisor = Supervisor(
        target,
        interval=settings.warmup_interval,
        timeout=settings.warmup_timeout,
        request_timeout=settings.request_timeout,
        metrics=metrics,
        process_age=process_age,
    )
    lifecycle.on_drain(supervisor.drain)
    lifecycle.on_drain(target.drain)
    lifecycle.on_drain(lambda: worker.drain(lifecycle.work_seconds))
    keys = KeyRing((key.get_secret_value() for key in settings.api_keys), settings.api_keys_file)
    process = Process(
        settings=settings,
        engine=engine,
        pipeline=pipeline,
        worker=worker,
        target=target,
        keys=keys,
        metrics=metrics,
        transfers=Transfers(),
    )
    warmup = WarmupHandlers(supervisor, target, settings=settings, engine=engine, canary_side=side)
    bind_gauges(metrics, worker, engine)

    cors = Cors(settings.cors_origins)
    app = web.Application(
        middlewares=[observe(metrics), cors.middleware(), render_errors(metrics)],
        client_max_size=settings.max_upload_bytes + MULTIPART_OVERHEAD,
    )
    app.on_response_prepare.append(stamp(lifecycle))
    app.on_response_prepare.append(cors.on_prepare)
    app.router.add_post("/process", process.post, expect_handler=_expect_later)
    app.router.add_routes(
        [
            web.get("/warmup", warmup.get),
            web.post("/warmup", warmup.post),
            web.get("/readyz", ReadinessHandler(supervisor).get),
            web.get("/livez", LivenessHandler(worker, lifecycle).get),
            web.get("/metrics", MetricsHandler(metrics.registry).get),
            *pages.routes(version=__version__, max_upload_bytes=settings.max_upload_bytes),
        ]
    )
    app[LIFECYCLE], app[WORKER], app[SUPERVISOR] = lifecycle, worker, supervisor

    @asynccontextmanager
    async def running(_: web.Application) -> AsyncIterator[None]:
        worker.start()
        watchers = [
            asyncio.create_task(watch(worker, lifecycle, metrics), name="watch"),
            asyncio.create_task(
                give_back_between_pictures(lambda: worker.taken == 0, worker.pool), name="memory"
            ),
        ]
        async with guarded(supervisor):
            yield
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        worker.stop()

    app.cleanup_ctx.append(running)
    return app


def bind_gauges(metrics: Metrics, worker: Worker, engine: Engine) -> None:
    """Gauges that are read at the moment of the scrape."""
    metrics.queue_capacity.set(worker.queue_size)
    metrics.queue_depth.set_function(lambda: worker.queue_depth)
    metrics.worker_busy.set_function(lambda: float(worker.busy))
    metrics.inference_started_timestamp_seconds.set_function(lambda: worker.started_at)
    metrics.device_memory_bytes.labels(kind="allocated").set_function(lambda: engine.memory()["allocated"])
    metrics.device_memory_bytes.labels(kind="reserved").set_function(lambda: engine.memory()["reserved"])


async def _expect_later(_: web.Request) -> None:
    """``/process`` invites the body itself, once every check that needs no body has passed."""
