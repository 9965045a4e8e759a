"""Accepts connections, as many as the process has descriptors for, and gives each to aiohttp.

``server`` starts one on the listening socket. It takes the place of asyncio's own loop, which logs a traceback for
each connection that it cannot accept, 512 at a time. While no more can be accepted, connections wait in the socket's
backlog, which is bounded. The number of log lines must stay bounded too, whatever clients do.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import cast

import structlog
from aiohttp import web

from metrics import Metrics
from service.http.client_connection import ClientConnection
from service.http.listening_socket import address_of

RESERVED_DESCRIPTORS = 64
"""Are left to everything else: weights, threads' pipes, libraries, /proc."""

MOST_CONNECTIONS = 4096
"""However many descriptors there are: a connection may hold a few hundred kilobytes of unread data."""

FEWEST_CONNECTIONS = 16

PAUSE_SECONDS = 1.0
"""Before the next attempt, after the system had no descriptor or no memory for a connection."""

MIN_IDLE_SECONDS = 1.0
"""A connection that has been idle for less is not closed to make room: its request may be on its way."""

LOG_SECONDS = 30.0
"""At most one line in this time says that connections have to wait."""

_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log = structlog.get_logger("listener")


def connection_limit(descriptors: int) -> int:
    """How many connections may be open at a time.

    Args:
        descriptors: how many the process may have (``RLIMIT_NOFILE``).
    """
    return max(FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, descriptors - RESERVED_DESCRIPTORS))


class Throttle:
    """Says when a repeated event may be logged again.

    Args:
        seconds: the shortest time between two log lines.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = float("-inf")
        self._count = 0

    def event(self) -> int:
        """Count an event.

        Returns:
            How many there were since the last line, this one included; 0 if it is too early for the next line.
        """
        self._count += 1
        now = self._clock()
        if now < self._next:
            return 0
        count, self._count, self._next = self._count, 0, now + self._seconds
        return count


class Listener(web.BaseSite):
    """Accepts connections until it is stopped.

    Args:
        runner: set up; its server handles the connections.
        sock: listens, and does not block; it is closed at the end.
        limit: connections that may be open at a time. At the limit, the one that has been idle for longest is closed.
        metrics: told of connections and of what keeps them waiting.
    """

    def __init__(self, runner: web.AppRunner, sock: socket.socket, *, limit: int, metrics: Metrics) -> None:
        super().__init__(runner)
        self._make_protocol = cast("web.Server", runner.server)
        self._sock = sock
        self._limit = limit
        self._metrics = metrics
        self._connections: set[ClientConnection] = set()
        self._fewer = asyncio.Event()
        self._throttle = Throttle(LOG_SECONDS, asyncio.get_running_loop().time)
        self._task: asyncio.Task[None] | None = None
        metrics.connections_limit.set(limit)
        metrics.connections.set_function(lambda: len(self._connections))

    @property
    def name(self) -> str:
        """The address, for aiohttp's messages."""
        return address_of(self._sock)

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        self._task = asyncio.create_task(self._accept_forever(), name="accept")

    async def stop(self) -> None:
        """Accept no more; what is open stays open."""
        await super().stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._sock.close()

    async def drop_connections(self) -> None:
        """Close what is still open; for the very end."""
        for connection in list(self._connections):
            connection.drop()
        await asyncio.sleep(0)  # asyncio closes sockets one step later

    async def _accept_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._room()
                client, _ = await loop.sock_accept(self._sock)
                with ExitStack() as on_failure:
                    on_failure.callback(client.close)
                    await loop.connect_accepted_socket(self._connection, client)
                    on_failure.pop_all()  # from here on, the transport closes it
            except OSError as error:
                if error.errno in _NO_RESOURCES:
                    self._keep_waiting("resources", error.strerror or str(error))
                    await asyncio.sleep(PAUSE_SECONDS)
                else:
                    await asyncio.sleep(
                        0
                    )  # the next attempt may fail at once too, and others must get their turn
            except Exception:  # noqa: BLE001 - one connection must not end the service
                _log.exception("a connection could not be set up: this is a bug in the service")

    def _connection(self) -> ClientConnection:
        connection = ClientConnection(self._make_protocol(), on_end=self._ended)
        self._connections.add(connection)
        return connection

    def _ended(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        self._fewer.set()

    async def _room(self) -> None:
        """Wait until another connection may be open."""
        waited = False
        while len(self._connections) >= self._limit:
            if not waited:
                waited = True
                self._keep_waiting("limit", f"all {self._limit} connections are in use")
            if not self._drop_longest_idle():
                self._fewer.clear()
                try:
                    async with asyncio.timeout(MIN_IDLE_SECONDS / 4):
                        await self._fewer.wait()
                except TimeoutError:
                    continue
            else:
                await asyncio.sleep(0)

    def _drop_longest_idle(self) -> bool:
        idle = [
            (since, connection)
            for connection in self._connections
            if (since := connection.idle_since) is not None
        ]
        if not idle:
            return False
        since, connection = min(idle, key=lambda pair: pair[0])
        if asyncio.get_running_loop().time() - since < MIN_IDLE_SECONDS:
            return False
        connection.drop()
        self._metrics.connections_dropped_total.inc()
        return True

    def _keep_waiting(self, reason: str, why: str) -> None:
        self._metrics.accept_pauses_total.labels(reason=reason).inc()
        if count := self._throttle.event():
            _log.warning(
                "new connections have to wait",
                reason=why,
                times=count,
                open=len(self._connections),
                advice="raise the limit of open files (ulimit -n), or find out who holds so many connections",
            )
