"""The server: first a listening socket, then the application, then the shutdown and its exit code.

``service.cli.serve`` runs it. The socket must listen before anything large is imported or created, so that connections
wait and are not refused while the service starts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable

import structlog
from aiohttp import web

from metrics import Metrics
from service.app import PARTS, Parts, create_app
from service.engines.build import build_engine
from service.engines.protocol import ConfigurationError, Engine
from service.host.descriptors import descriptor_limit
from service.http import connection, platforms
from service.http.listener import Listener, connection_limit
from service.http.listening_socket import address_of, advice, listen
from service.imaging import deflate
from service.imaging.formats import jpeg_pixels
from service.inference.admission import draining
from service.inference.thread_results import in_daemon_thread
from service.lifecycle import CLOSING_SECONDS
from service.native import library
from service.settings import Settings
from service.tracing.spans import OFF, Tracer
from service.version import __version__

FLUSH_SECONDS = CLOSING_SECONDS / 3
"""The end of the grace that is kept for the last traces."""

MOST_FLUSH_SECONDS = 2.0
"""The last traces may take so long if more of the grace is left."""

_log = structlog.get_logger("server")


async def serve(settings: Settings, *, make_app: Callable[[Settings], web.Application] | None = None) -> int:
    """Serve until a signal or a failure ends it.

    Args:
        settings: read once, frozen.
        make_app: puts the application together; ``build_app`` if not given.

    Returns:
        The process's exit code: 0 after a drain that finished all accepted work, 1 if work was cut off or the process
        ended itself, 2 if it could not start as configured.
    """
    try:
        listener = listen(settings.host, settings.port)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have this name
        _log.critical(
            "cannot listen",
            host=settings.host,
            port=settings.port,
            error=getattr(error, "strerror", None) or str(error),
            advice=advice(error),
        )
        return 2
    try:
        return await serve_at(listener, settings, make_app or build_app)
    finally:
        listener.close()


async def serve_at(
    listener: socket.socket, settings: Settings, make_app: Callable[[Settings], web.Application]
) -> int:
    """Serve at this socket until a signal or a failure ends it; as ``serve``."""
    try:
        app = make_app(settings)
    except ConfigurationError as error:
        _log.critical("cannot start", error=str(error))
        return 2
    parts = app[PARTS]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, parts.lifecycle.signal)
    runner = await start(app, listener)
    _log.info(
        "listening",
        address=address_of(listener),
        engine=settings.engine,
        deflate=deflate.in_use(),
        jpeg=jpeg_pixels.in_use(),
        loops=library.in_use(),
    )
    if missing := jpeg_pixels.missing():
        _log.warning(
            "a package that decodes JPEG files is not installed, so answers take longer",
            missing=missing,
            advice="install it, if there is a wheel of it for this machine",
        )
    if library.WHY_MISSING:
        _log.warning(
            "the loops over pixels run in NumPy and zlib, so all but the network takes two to five times as long",
            reason=library.WHY_MISSING,
            advice="install a C compiler (Debian: apt-get install gcc libc6-dev), then the dependencies again",
        )
    return await stop(runner, parts)


def build_app(settings: Settings, *, traces: bool = False) -> web.Application:
    """The application around the engine that the settings ask for; nothing is loaded yet.

    Args:
        settings: read once, frozen.
        traces: whether requests and probes are traced; the ``OTEL_*`` variables say how.

    Raises:
        ConfigurationError: the settings ask for an engine that cannot work here, the platform for routes that
            collide, or the variables do not fit.
    """
    platform = platforms.find(settings.platform, os.environ)
    make_tracer = start_tracing if traces else (lambda _: OFF)
    return create_app(settings, engine=requested_engine(settings), platform=platform, make_tracer=make_tracer)


def start_tracing(metrics: Metrics) -> Tracer:
    """Begin to send traces as the ``OTEL_*`` variables say.

    Raises:
        ConfigurationError: they do not fit each other, or name what is not installed.
    """
    try:
        from service.tracing import otlp  # noqa: PLC0415 - OpenTelemetry is imported only if it is used

        return otlp.start(version=__version__, count=metrics.count_spans)
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(f"the OTEL_* variables cannot be used: {error}") from error


def requested_engine(settings: Settings) -> Engine:
    """The engine that the settings ask for; nothing is loaded yet.

    Raises:
        ConfigurationError: it cannot work here.
    """
    return build_engine(
        engine=settings.engine,
        mode=settings.mode,
        resize=settings.resize,
        weights=settings.weights,
        device=settings.device,
        precision=settings.precision,
        max_model_pixels=settings.max_model_pixels,
    )


async def start(app: web.Application, listener: socket.socket) -> web.AppRunner:
    """Start the application and accept the connections that wait at the socket."""
    runner = web.AppRunner(
        app,
        handler_cancellation=True,  # a client that leaves while its picture waits has to be noticed
        handle_signals=False,
        shutdown_timeout=CLOSING_SECONDS / 6,  # for answers that are being written; spent twice
        **connection.OPTIONS,
    )
    dropped: list[Listener] = []

    async def drop_connections(_: web.Application) -> None:
        for site in dropped:
            await site.drop_connections()

    app.on_cleanup.append(drop_connections)
    await runner.setup()
    site = Listener(runner, listener, limit=connection_limit(descriptor_limit()), metrics=app[PARTS].metrics)
    dropped.append(site)
    await site.start()
    return runner


async def stop(runner: web.AppRunner, parts: Parts) -> int:
    """Wait until the process has to end, let accepted work finish within the grace, then close everything.

    Returns:
        The process's exit code.
    """
    lifecycle, admission = parts.lifecycle, parts.admission
    await lifecycle.wait_for_end(
        idle=lambda: admission.clients == 0, was_ready=lambda: parts.supervisor.was_ready
    )
    owed = admission.owed
    if admission.clients:
        _log.warning("ending with work unfinished", pictures=owed, uploads=admission.clients - owed)
        admission.abandon(draining)
        await asyncio.sleep(CLOSING_SECONDS / 3)  # the event loop writes the errors
    tracer = parts.tracer
    kept = FLUSH_SECONDS if tracer is not OFF else 0.0
    await close(runner, within=max(CLOSING_SECONDS / 3, lifecycle.seconds_left - kept))
    await flush(tracer, within=min(MOST_FLUSH_SECONDS, max(FLUSH_SECONDS, lifecycle.seconds_left)))
    code = lifecycle.exit_code or (1 if owed else 0)
    _log.info("stopped", exit_code=code)
    return code


async def flush(tracer: Tracer, *, within: float) -> None:
    """Send the last traces; what the receiver does not take in time is lost, and the log says so."""
    if tracer is OFF:
        return
    try:
        async with asyncio.timeout(within):
            await in_daemon_thread(tracer.flush, name="traces")
    except TimeoutError:
        _log.warning("the last traces are lost: their receiver did not take them in time", seconds=within)
    except Exception:  # noqa: BLE001 - the process ends all the same, with the exit code it has earned
        _log.exception("sending the last traces failed")


async def close(runner: web.AppRunner, *, within: float) -> None:
    """Close everything; what fails or lingers is logged, and does not keep the process from ending."""
    try:
        async with asyncio.timeout(within):
            await runner.cleanup()
    except TimeoutError:
        _log.warning("closing took too long", seconds=within)
    except Exception:  # noqa: BLE001 - the process ends all the same, with the exit code it has earned
        _log.exception("closing failed")
