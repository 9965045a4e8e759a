"""The composition root: it creates every part of the service, connects the parts, and starts and stops them in order.

``server`` calls ``create_app``; tests call it with an engine of their own. Nothing runs until the application starts.
Whatever is started here must be stopped here, in reverse order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from metrics import Metrics
from service.engines.inspyrenet.resize import safe_canary_size
from service.engines.memory_needs import least_needs
from service.engines.protocol import Engine
from service.host.cpu import available_cpus
from service.host.memory import give_back_between_pictures
from service.host.memory_limit import memory_limit
from service.host.process_age import process_age
from service.host.running_time import report_suspensions, running_seconds
from service.http import pages, rembg
from service.http.api_keys import ApiKeys
from service.http.body import MULTIPART_OVERHEAD
from service.http.cors import Cors
from service.http.exposition import MetricsHandler
from service.http.health import LivenessHandler, ReadinessHandler
from service.http.middleware import common_headers, follow_connection, render_errors, track_requests
from service.http.picture_request import Contract, PictureHandler, PictureParts
from service.http.platforms import Platform, check_aliases
from service.http.process import Process
from service.http.remote_picture import RemotePictures
from service.http.removebg import account, contract
from service.http.removebg.errors import envelope as removebg_envelope
from service.http.slow_clients import SlowClients
from service.http.warmup import WarmupHandlers
from service.imaging import deflate
from service.imaging.formats import jpeg_pixels
from service.inference.admission import Admission, draining
from service.inference.codec_pool import CodecPool
from service.inference.device_errors import DeviceErrors
from service.inference.device_thread import DeviceThread
from service.inference.load_preparation import LoadPreparation
from service.inference.memory_budget import MemoryBudget
from service.inference.pipeline import Pipeline
from service.inference.thread_results import in_daemon_thread
from service.inference.watchdog import watch
from service.lifecycle import Lifecycle
from service.native import library
from service.settings import Settings
from service.tracing.spans import OFF, Tracer
from service.version import __version__
from service.warmup.references.reference_set import ReferenceSet
from service.warmup.target import EngineTarget
from supervisor import Size, Supervisor, SystemClock, guarded

_log = structlog.get_logger("app")


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs inside the application; the server ends it, and tests look at it."""

    engine: Engine
    canary_side: int
    metrics: Metrics
    tracer: Tracer
    lifecycle: Lifecycle
    codec_pool: CodecPool
    device_thread: DeviceThread
    preparation: LoadPreparation
    admission: Admission
    device_errors: DeviceErrors
    pipeline: Pipeline
    target: EngineTarget
    supervisor: Supervisor

    def stuck(self) -> str | None:
        """Why only a restart would help, in words; None while all is well."""
        return self.preparation.stuck or self.device_thread.stuck or self.codec_pool.stuck


PARTS = web.AppKey("parts", Parts)


def create_app(
    settings: Settings,
    *,
    engine: Engine,
    lifecycle: Lifecycle | None = None,
    registry: CollectorRegistry | None = None,
    slow_clients: SlowClients | None = None,
    remote_pictures: RemotePictures | None = None,
    platform: Platform | None = None,
    make_tracer: Callable[[Metrics], Tracer] = lambda _: OFF,
) -> web.Application:
    """Put everything together.

    Args:
        settings: read once, frozen.
        engine: not yet loaded; the supervisor loads it once the application runs.
        lifecycle: when the process ends; a new one with the settings' grace if not given.
        registry: where the metrics go; a new one if not given.
        slow_clients: who is evicted from a full service, and when; the default rule if not given.
        remote_pictures: fetches pictures by their address; from the settings' hosts if not given.
        platform: what runs the process; none in particular if not given.
        make_tracer: makes what records requests and probes; nothing is recorded if not given.

    Raises:
        ConfigurationError: the references that the settings name cannot be used, or a route of the platform collides.
    """
    platform = platform or Platform()
    metrics = Metrics(registry)
    lifecycle = lifecycle or Lifecycle(drain_timeout=settings.drain_timeout)
    parts = build_parts(
        settings,
        engine=engine,
        lifecycle=lifecycle,
        metrics=metrics,
        tracer=make_tracer(metrics),
        references=open_references(settings),
    )
    listen_to_each_other(parts)
    bind_metrics(parts)
    cors = Cors(settings.cors_origins)
    remote = remote_pictures or RemotePictures(settings.url_hosts)
    slow_clients = slow_clients or SlowClients()
    app = web.Application(
        middlewares=[
            follow_connection(lifecycle),
            track_requests(metrics, parts.tracer, platform.aliases),
            cors.middleware(),
            render_errors(metrics, {"/v1.0/": removebg_envelope}),
        ],
        client_max_size=settings.max_upload_bytes + MULTIPART_OVERHEAD,
    )
    app[PARTS] = parts
    app.on_response_prepare.extend(
        (common_headers(lifecycle), account.rate_limit_headers(parts.admission), cors.on_prepare)
    )
    add_routes(
        app, settings=settings, parts=parts, slow_clients=slow_clients, remote=remote, platform=platform
    )
    app.cleanup_ctx.extend((run_parts, remote.run))
    return app


def open_references(settings: Settings) -> ReferenceSet | None:
    """The references that the settings name; None without any.

    Raises:
        ConfigurationError: they cannot be used.
    """
    if settings.references is None:
        return None
    return ReferenceSet.open(settings.references, engine=settings.engine, max_pixels=settings.max_pixels)


def build_parts(
    settings: Settings,
    *,
    engine: Engine,
    lifecycle: Lifecycle,
    metrics: Metrics,
    tracer: Tracer = OFF,
    references: ReferenceSet | None = None,
) -> Parts:
    """Everything below HTTP, in the order in which one part needs another."""
    codec_pool = CodecPool(threads=max(2, available_cpus()), hang_timeout=settings.hang_timeout)
    device_thread = DeviceThread(hang_timeout=settings.hang_timeout, load_timeout=settings.load_timeout)
    preparation = LoadPreparation(load_timeout=settings.load_timeout)
    admission = Admission(
        device_thread=device_thread,
        codec_pool=codec_pool,
        queue_size=settings.queue_size,
        request_timeout=settings.request_timeout,
        model_input_size=engine.model_input_size,
        memory=memory_budget(settings, engine, codec_pool, references),
    )
    device_errors = DeviceErrors(metrics=metrics, admission=admission, lifecycle=lifecycle)
    side = canary_side(settings)
    target = EngineTarget(
        engine,
        # A canary is as large as its model input, whose sides were rounded and may exceed what clients may send.
        pipeline=Pipeline(
            engine,
            max_pixels=max(settings.max_pixels, settings.max_model_pixels),
            device_errors=device_errors,
        ),
        admission=admission,
        device_thread=device_thread,
        codec_pool=codec_pool,
        request_timeout=settings.request_timeout,
        preparation=preparation,
        device_errors=device_errors,
        lifecycle=lifecycle,
        metrics=metrics,
        tracer=tracer,
        references=references,
        references_gate=settings.references_gate,
        canary_side=side,
        max_pixels=settings.max_pixels,
    )
    return Parts(
        engine=engine,
        canary_side=side,
        metrics=metrics,
        tracer=tracer,
        lifecycle=lifecycle,
        codec_pool=codec_pool,
        device_thread=device_thread,
        preparation=preparation,
        admission=admission,
        device_errors=device_errors,
        pipeline=Pipeline(engine, max_pixels=settings.max_pixels, device_errors=device_errors),
        target=target,
        supervisor=build_supervisor(settings, target=target, metrics=metrics),
    )


def memory_budget(
    settings: Settings, engine: Engine, codec_pool: CodecPool, references: ReferenceSet | None
) -> MemoryBudget:
    """What fits into the container, as far as it is known before the load."""
    return MemoryBudget(
        memory_limit(),
        model_input_size=engine.model_input_size,
        codec_threads=codec_pool.threads,
        engine=settings.engine,
        least_needs={
            name: least_needs(name, device=settings.device, precision=settings.precision)
            for name in ("inspyrenet", "u2netp", "auto")
        },
        references=() if references is None else references.sizes,
    )


def build_supervisor(settings: Settings, *, target: EngineTarget, metrics: Metrics) -> Supervisor:
    """What decides whether the service is warm."""
    return Supervisor(
        target,
        interval=settings.warmup_interval,
        timeout=settings.warmup_timeout,
        request_timeout=settings.request_timeout,
        metrics=metrics,
        process_age=process_age,
        clock=SystemClock(running=running_seconds),
    )


def canary_side(settings: Settings) -> int:
    """The side of the small canary in pixels: the configured one, or a safe one with a warning."""
    side = safe_canary_size(settings.warmup_size)
    if side != settings.warmup_size:
        _log.warning("the canary's size is unsafe and was raised", configured=settings.warmup_size, used=side)
    return side


def listen_to_each_other(parts: Parts) -> None:
    """Connect the parts that tell each other what happens."""
    engine, supervisor, admission, lifecycle = (
        parts.engine,
        parts.supervisor,
        parts.admission,
        parts.lifecycle,
    )
    parts.device_errors.on_picture_failed(
        lambda size: supervisor.request_failed(Size(*engine.model_input_size(*size)))
    )
    lifecycle.on_drain(supervisor.drain)
    lifecycle.on_drain(lambda: admission.drain(lifecycle.work_seconds))


def add_routes(
    app: web.Application,
    *,
    settings: Settings,
    parts: Parts,
    slow_clients: SlowClients,
    remote: RemotePictures,
    platform: Platform,
) -> None:
    """Every path that the service answers."""
    add_picture_routes(app, settings=settings, parts=parts, slow_clients=slow_clients, remote=remote)
    warmup = WarmupHandlers(
        parts.supervisor,
        parts.target,
        settings=settings,
        engine=parts.engine,
        canary_side=parts.canary_side,
    )
    routes = [
        web.get("/warmup", warmup.get),
        web.post("/warmup", warmup.post),
        web.get("/status", warmup.status),
        web.get("/readyz", ReadinessHandler(parts.supervisor).get),
        web.get("/livez", LivenessHandler(parts.lifecycle, parts.stuck).get),
        web.get("/metrics", MetricsHandler(parts.metrics.registry).get),
        *pages.routes(
            version=__version__, max_upload_bytes=settings.max_upload_bytes, aliases=platform.aliases
        ),
    ]
    for route in routes:
        route.kwargs.setdefault("expect_handler", _expect_later)
    app.router.add_routes(routes)
    add_aliases(app, platform, parts)


def add_picture_routes(
    app: web.Application,
    *,
    settings: Settings,
    parts: Parts,
    slow_clients: SlowClients,
    remote: RemotePictures,
) -> None:
    """The paths that take pictures: our own contract, and those of other services."""
    limit = settings.max_upload_bytes
    keys = ApiKeys((key.get_secret_value() for key in settings.api_keys), settings.api_keys_file)
    pictures = PictureParts(
        settings=settings,
        pipeline=parts.pipeline,
        admission=parts.admission,
        device_errors=parts.device_errors,
        keys=keys,
        metrics=parts.metrics,
        slow_clients=slow_clients,
    )
    by_path: dict[str, Contract] = {
        "/process": Process(max_upload_bytes=limit),
        contract.PATH: contract.RemoveBg(max_upload_bytes=limit, remote=remote),
        rembg.PATH: rembg.Rembg(max_upload_bytes=limit),
    }
    for path, its_contract in by_path.items():
        app.router.add_post(path, PictureHandler(its_contract, pictures).answer, expect_handler=_expect_later)
    by_address = rembg.RembgByAddress(max_upload_bytes=limit, remote=remote)
    app.router.add_get(
        rembg.PATH,
        PictureHandler(by_address, pictures).answer,
        allow_head=False,
        expect_handler=_expect_later,
    )
    app.router.add_get(account.PATH, account.AccountHandler(keys).get, expect_handler=_expect_later)


def add_aliases(app: web.Application, platform: Platform, parts: Parts) -> None:
    """The other names of some paths, which platforms ask for."""
    ping = ReadinessHandler(
        parts.supervisor, no_content_while_starting=platform.no_content_while_starting
    ).get
    routes = [(route.resource.canonical, route) for route in app.router.routes() if route.resource]
    check_aliases(platform.aliases, {path for path, _ in routes})
    for alias, path in platform.aliases.items():
        for of, route in routes:
            if of == path:
                handler = ping if alias == "/ping" else route.handler
                app.router.add_route(route.method, alias, handler, expect_handler=_expect_later)


def bind_metrics(parts: Parts) -> None:
    """Set what never changes, and bind the gauges that are read at the moment of the scrape."""
    metrics, admission, device_thread = parts.metrics, parts.admission, parts.device_thread
    engine, codec_pool = parts.engine, parts.codec_pool
    metrics.set_build_info(
        version=__version__,
        torch=version("torch"),
        deflate=deflate.in_use(),
        jpeg=jpeg_pixels.in_use(),
        loops=library.in_use(),
    )
    metrics.queue_capacity.set(admission.queue_size)
    metrics.queue_depth.set_function(lambda: admission.queue_depth)
    metrics.expected_wait_seconds.set_function(lambda: admission.expected_wait)
    metrics.worker_busy.set_function(lambda: float(device_thread.busy))
    metrics.inference_started_timestamp_seconds.set_function(lambda: device_thread.started_at)
    metrics.codec_jobs_running.set_function(lambda: float(codec_pool.running))
    metrics.codec_oldest_job_started_timestamp_seconds.set_function(lambda: codec_pool.oldest_started_at)
    metrics.device_memory_bytes.labels(kind="allocated").set_function(lambda: engine.memory()["allocated"])
    metrics.device_memory_bytes.labels(kind="reserved").set_function(lambda: engine.memory()["reserved"])


@asynccontextmanager
async def run_parts(app: web.Application) -> AsyncIterator[None]:
    """Start what runs beside the requests, and stop it in reverse order."""
    parts = app[PARTS]
    async with run_threads(parts), guarded(parts.supervisor):
        yield


@asynccontextmanager
async def run_threads(parts: Parts) -> AsyncIterator[None]:
    """Start the threads and what looks after them, and stop all of it in reverse order.

    The supervisor is not part of it, so a command can use the parts without warming anything.
    """
    parts.device_thread.start()
    parts.codec_pool.start()
    tasks = [
        asyncio.create_task(watch(parts.lifecycle, parts.metrics, stuck=parts.stuck), name="watch"),
        asyncio.create_task(
            give_back_between_pictures(
                lambda: parts.admission.taken == 0, partial(in_daemon_thread, name="memory")
            ),
            name="memory",
        ),
        asyncio.create_task(report_suspensions(partial(note_suspension, parts)), name="suspensions"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        parts.admission.abandon(draining)
        parts.codec_pool.stop()
        parts.device_thread.stop()


def note_suspension(parts: Parts, seconds: float) -> None:
    """The process did not run for that long; nothing of that was the fault of a job or a client."""
    _log.warning(
        "the process did not run for a while: it was stopped, or frozen by its platform", seconds=seconds
    )
    parts.metrics.suspended_seconds_total.inc(seconds)
    parts.supervisor.resume()


async def _expect_later(_: web.Request) -> None:
    """Ignore the header ``Expect``: aiohttp's own answer to an unknown one repeats it, or fails.

    A path that takes pictures invites the body itself, once every check that needs no body has passed.
    """
