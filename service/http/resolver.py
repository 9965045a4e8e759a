"""Looks up the names of hosts for outgoing requests, with the system's resolver.

``remote_picture`` uses it. The system's resolver blocks for as long as it wants. So it runs in daemon threads, of which
there are few: a slow name server must not delay other work, nor the end of the process.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from service.inference.thread_results import in_daemon_thread

LOOKUPS = 8
"""Lookups at a time, those whose request has ended included; one more waits."""

LookUp = Callable[..., list[tuple[Any, ...]]]
"""As ``socket.getaddrinfo``."""


class SystemResolver(AbstractResolver):
    """Names to addresses.

    Args:
        look_up: the system's function.
    """

    def __init__(self, look_up: LookUp = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._free = asyncio.Semaphore(LOOKUPS)
        self._running: set[asyncio.Task[list[tuple[Any, ...]]]] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All TCP addresses of a host.

        Raises:
            OSError: there are none, or they cannot be looked up.
        """
        await self._free.acquire()
        lookup = asyncio.create_task(
            in_daemon_thread(
                partial(self._look_up, host, port, family=family, type=socket.SOCK_STREAM), name="dns"
            ),
            name="dns",
        )
        self._running.add(lookup)
        lookup.add_done_callback(self._ended)
        return [
            ResolveResult(
                hostname=host,
                host=sockaddr[0] if len(sockaddr) < 4 or not sockaddr[3] else f"{sockaddr[0]}%{sockaddr[3]}",
                port=sockaddr[1],
                family=found,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for found, _, proto, _, sockaddr in await asyncio.shield(lookup)
        ]

    def _ended(self, lookup: asyncio.Task[list[tuple[Any, ...]]]) -> None:
        self._running.discard(lookup)
        self._free.release()
        if not lookup.cancelled():
            lookup.exception()  # nobody may wait for it any more; then it would be logged

    async def close(self) -> None:
        """Wait for nothing any more; the threads end by themselves."""
        for lookup in self._running:
            lookup.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
