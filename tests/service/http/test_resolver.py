"""Lookups of names: in daemon threads, a few at a time, and never in the way of the end."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from service.http.resolver import LOOKUPS, SystemResolver
from tests.support.waiting import until


def found(*addresses: str) -> Any:
    """A system's function that answers with these addresses."""

    def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [
            (
                socket.AF_INET6,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port, 0, 2 if address.startswith("fe80") else 0),
            )
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    return look_up


async def test_a_name_becomes_all_its_addresses_with_their_zones() -> None:
    resolver = SystemResolver(found("192.0.2.1", "2001:db8::1", "fe80::1"))
    results = await resolver.resolve("a.example", 443)
    assert [result["host"] for result in results] == ["192.0.2.1", "2001:db8::1", "fe80::1%2"]
    assert {(result["hostname"], result["port"]) for result in results} == {("a.example", 443)}
    await resolver.close()


async def test_an_error_of_the_system_is_an_os_error() -> None:
    def look_up(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    resolver = SystemResolver(look_up)
    with pytest.raises(OSError, match="unknown"):
        await resolver.resolve("a.example", 80)


async def test_lookups_that_hang_are_few_and_their_requests_can_leave() -> None:
    release, started = threading.Event(), []

    def hang(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        started.append(threading.current_thread())
        release.wait(20)
        return []

    resolver = SystemResolver(hang)
    asking = [asyncio.create_task(resolver.resolve("a.example", 80)) for _ in range(LOOKUPS + 3)]
    await until(lambda: len(started) == LOOKUPS)
    for task in asking[: LOOKUPS + 1]:
        task.cancel()
    await asyncio.gather(*asking[: LOOKUPS + 1], return_exceptions=True)
    assert len(started) == LOOKUPS, "a thread that nobody waits for still counts"
    assert all(thread.daemon for thread in started)
    release.set()
    assert await asyncio.gather(*asking[LOOKUPS + 1 :]) == [[], []]


async def test_closing_waits_for_no_lookup() -> None:
    release = threading.Event()
    resolver = SystemResolver(lambda *_, **__: release.wait(20) or [])
    asking = asyncio.create_task(resolver.resolve("a.example", 80))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await asking
    release.set()
