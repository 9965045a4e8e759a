"""How many connections may be open, who loses one, and how much is said about it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from unittest import mock

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from metrics import Metrics
from service.http import listener as module
from service.http.listener import Listener, Throttle, connection_limit
from service.server import listen
from tests.support.clock import FakeClock
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [(1 << 30, 4096), (1024, 960), (128, 64), (80, 16), (10, 16)],
)
def test_some_descriptors_are_left_for_everything_else(descriptors: int, connections: int) -> None:
    assert connection_limit(descriptors) == connections


def test_a_throttle_lets_one_event_pass_in_its_time_and_counts_the_others() -> None:
    clock = FakeClock()
    throttle = Throttle(30, clock)
    assert [throttle.event() for _ in range(1000)] == [1] + [0] * 999
    clock.now += 31
    assert [throttle.event(), throttle.event()] == [1000, 0]


class World:
    """A listener around an application that says hello, and clients."""

    def __init__(self) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self, *, limit: int) -> None:
        async def hello(_: web.Request) -> web.Response:
            return web.Response(text="hello")

        app = web.Application()
        app.router.add_get("/", hello)
        self.sock = listen("127.0.0.1", 0)
        self.port = self.sock.getsockname()[1]
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        self.listener = Listener(self.runner, self.sock, limit=limit, metrics=self.metrics)
        await self.listener.start()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    async def ask(self) -> bytes:
        reader, writer = await self.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            return await reader.readuntil(b"hello")

    def value(self, name: str, **labels: str) -> float:
        # Restricted, because the collector of process figures reads files, which would block the event loop.
        for metric in self.metrics.registry.restricted_registry([f"inspyrenet_{name}"]).collect():
            for sample in metric.samples:
                if sample.labels == labels:
                    return sample.value
        raise AssertionError(f"no sample {name}{labels}")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Its connections must be gone at the end."""
    world = World()
    yield world
    for writer in world.writers:
        writer.close()
    await world.runner.cleanup()
    await world.listener.drop_connections()
    assert world.value("connections") == 0


async def test_at_the_limit_the_longest_idle_connection_makes_room(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MIN_IDLE_SECONDS", 0.05)
    await world.start(limit=3)
    first, _ = await world.connect()
    for _ in range(8):
        assert (await world.ask()).startswith(b"HTTP/1.1 200")
    assert await first.read() == b"", "it was idle for the longest time"
    assert world.value("connections") <= 3
    assert world.value("connections_limit") == 3
    assert world.value("connections_dropped_total") >= 6
    assert world.value("accept_pauses_total", reason="limit") >= 6


async def test_a_shortage_of_descriptors_pauses_and_passes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, iter([errno.EMFILE, errno.ENOMEM, errno.ECONNABORTED])

    async def failing_accept(sock: socket.socket) -> tuple[socket.socket, object]:
        if (code := next(failures, None)) is not None:
            raise OSError(code, "scripted")
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", failing_accept)
    await world.start(limit=100)
    assert (await world.ask()).startswith(b"HTTP/1.1 200")
    assert world.value("accept_pauses_total", reason="resources") == 2


async def test_attempts_that_fail_at_once_leave_the_event_loop_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, others = asyncio.get_running_loop(), asyncio.Event()
    accept, attempts = loop.sock_accept, 0

    async def failing_accept(sock: socket.socket) -> tuple[socket.socket, object]:
        nonlocal attempts
        attempts += 1
        if others.is_set() or attempts > 1000:
            return await accept(sock)
        if attempts == 1:
            loop.call_soon(others.set)
        raise PermissionError(errno.EPERM, "a rule of the firewall")

    monkeypatch.setattr(loop, "sock_accept", failing_accept)
    await world.start(limit=16)
    assert (await world.ask()).endswith(b"hello")
    assert attempts < 10


async def test_a_connection_that_cannot_be_set_up_does_not_end_the_listener(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.start(limit=100)
    with mock.patch.object(module, "ClientConnection", side_effect=ZeroDivisionError):
        reader = (await world.connect())[0]
        async with asyncio.timeout(5):
            assert await reader.read() == b"", "it is closed, not forgotten"
    assert (await world.ask()).startswith(b"HTTP/1.1 200")


async def test_a_stopped_listener_refuses_connections_and_keeps_those_that_are_open(world: World) -> None:
    await world.start(limit=100)
    await world.ask()
    await until(lambda: world.value("connections") == 1)
    await world.listener.stop()
    with pytest.raises(ConnectionRefusedError):
        await world.connect()
    assert world.value("connections") == 1
