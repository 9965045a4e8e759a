"""The service under test: a real application on a real socket, around an engine that the test decides about."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

import numpy as np
import pytest
import structlog
from aiohttp import TCPConnector, web
from aiohttp.test_utils import TestClient, TestServer
from blockbuster import BlockBuster, blockbuster_ctx
from PIL import Image
from prometheus_client import CollectorRegistry

from service.app import PARTS, Parts, create_app
from service.engines.protocol import Engine
from service.http import connection
from service.inference.admission import Admission
from service.inference.device_thread import DeviceThread
from service.settings import Settings
from tests.support.scripted_engine import ScriptedEngine

Client = TestClient[web.Request, web.Application]


class Service:
    """A running service and what a test may look at."""

    def __init__(self, client: Client, engine: Engine, registry: CollectorRegistry) -> None:
        self.client = client
        self.engine = engine
        self.registry = registry

    @property
    def parts(self) -> Parts:
        assert self.client.app is not None
        return self.client.app[PARTS]

    @property
    def admission(self) -> Admission:
        return self.parts.admission

    @property
    def device_thread(self) -> DeviceThread:
        return self.parts.device_thread

    def value(self, name: str, **labels: str) -> float:
        """A metric's value, by the name without its prefix."""
        name = f"inspyrenet_{name}"
        # Restricted: the collector of process figures would read files, in the loop's thread.
        for metric in self.registry.restricted_registry([name]).collect():
            for sample in metric.samples:
                if (sample.name, sample.labels) == (name, labels):
                    return float(sample.value)
        raise AssertionError(f"no sample {name}{labels}")

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so; 20 s at most."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    async def ready(self) -> None:
        """Wait until ``/readyz`` says so."""
        await self.until(lambda: self.parts.supervisor.ready)

    async def post(self, data: Any, path: str = "/process", **options: Any) -> tuple[int, bytes, Any]:
        """Post a body; status, bytes, headers."""
        options.setdefault("headers", {"Content-Type": "application/octet-stream"})
        async with self.client.post(path, data=data, **options) as response:
            return response.status, await response.read(), response.headers


class Start(Protocol):
    """Starts a service."""

    def __call__(
        self,
        engine: Engine | None = None,
        *,
        wait: bool = True,
        **settings: Any,
    ) -> Awaitable[Service]: ...


@pytest.fixture(autouse=True)
def plain_log_lines() -> None:
    """A rendered traceback would read source files, in the loop's thread."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()], cache_logger_on_first_use=False)


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[BlockBuster]:
    """Blocking calls in the event loop's thread are errors."""
    with blockbuster_ctx() as blockbuster:
        blockbuster.functions["io.TextIOWrapper.write"].deactivate()  # log lines, to pytest's capture
        yield blockbuster


@pytest.fixture
async def start(aiohttp_client: Callable[..., Awaitable[Client]]) -> AsyncIterator[Start]:
    """Starts services; they end with the test."""

    async def start(engine: Engine | None = None, *, wait: bool = True, **settings: Any) -> Service:
        engine = engine or ScriptedEngine()
        registry = CollectorRegistry()
        application = await asyncio.to_thread(
            lambda: create_app(Settings(**settings), engine=engine, registry=registry)
        )
        server = TestServer(application)
        await server.start_server(**connection.OPTIONS)
        # As many connections at once as a test likes.
        client = await aiohttp_client(server, connector=TCPConnector(limit=0))
        service = Service(client, engine, registry)
        if wait:
            await service.ready()
        return service

    return start


def encoded(width: int = 40, height: int = 30, format: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture with something in it."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([(x * 7) % 256, (y * 5) % 256, ((x + y) * 3) % 256], axis=-1).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(out, format)
    return out.getvalue()


@pytest.fixture
def photo() -> bytes:
    """A small PNG."""
    return encoded()
