"""The server: a listening socket first, then the application, then the end."""

from __future__ import annotations

import asyncio
import signal
import socket

import structlog
from aiohttp import web

from service.app import LIFECYCLE, SUPERVISOR, WORKER, create_app
from service.engines.build import build_engine
from service.engines.protocol import ConfigurationError, Engine
from service.http import connection
from service.inference.worker import draining
from service.lifecycle import CLOSING_SECONDS
from service.settings import Settings

BACKLOG = 512

_log = structlog.get_logger("server")


async def serve(settings: Settings, *, engine: Engine | None = None) -> int:
    """Serve until a signal or a failure ends it.

    Args:
        settings: read once, frozen.
        engine: the one that the settings ask for, if not given.

    Returns:
        The process's exit code: 0 after a drain that finished all accepted work.
    """
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        _log.critical(
            "cannot listen", host=settings.host, port=settings.port, error=error.strerror or str(error)
        )
        return 2
    try:
        engine = engine or make_engine(settings)
    except ConfigurationError as error:
        _log.critical("cannot start", error=str(error))
        return 2
    app = create_app(settings, engine=engine)
    lifecycle, worker, supervisor = app[LIFECYCLE], app[WORKER], app[SUPERVISOR]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lifecycle.signal)

    # A client that leaves must be noticed while its picture waits: that is what handler_cancellation is for.
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        handle_signals=False,
        shutdown_timeout=CLOSING_SECONDS / 6,  # for answers that are being written; spent twice
        **connection.OPTIONS,
    )
    await runner.setup()
    site = web.SockSite(runner, listener, backlog=BACKLOG)
    await site.start()
    host, port = listener.getsockname()[:2]
    _log.info("listening", host=host, port=port, engine=settings.engine)

    await lifecycle.wait_for_end(idle=lambda: worker.clients == 0, was_ready=lambda: supervisor.was_ready)
    owed = worker.owed
    if worker.clients:
        _log.warning("ending with work unfinished", pictures=owed, uploads=worker.clients - owed)
        worker.abandon(draining)
        await asyncio.sleep(CLOSING_SECONDS / 3)  # time for the loop to write these answers
    await close(runner, within=max(CLOSING_SECONDS / 3, lifecycle.seconds_left))
    code = lifecycle.exit_code or (1 if owed else 0)
    _log.info("stopped", exit_code=code)
    return code


async def close(runner: web.AppRunner, *, within: float) -> None:
    """Close everything; what fails or lingers is logged, and does not keep the process from ending."""
    try:
        async with asyncio.timeout(within):
            await runner.cleanup()
    except TimeoutError:
        _log.warning("closing took too long", seconds=within)
    except Exception:  # noqa: BLE001 - the process ends all the same, with the exit code it has earned
        _log.exception("closing failed")


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings ask for, not yet loaded."""
    return build_engine(
        engine=settings.engine,
        mode=settings.mode,
        resize=settings.resize,
        weights=settings.weights,
        device=settings.device,
        precision=settings.precision,
        max_model_pixels=settings.max_model_pixels,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket: from here on the port is open and connections wait, whatever is still to be imported.

    Raises:
        OSError: the address is taken, or not this machine's.
    """
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the library's own signature
    except OSError:
        listener.close()
        raise
    return listener
