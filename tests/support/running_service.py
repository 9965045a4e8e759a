"""Runs the real application in the test's process, on a real port, around an engine that the test controls.

``start`` is the fixture that most tests begin with. In every test that can use it, a blocking call in the event loop
must be an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

import pytest
from aiohttp import TCPConnector, web
from aiohttp.test_utils import TestClient, TestServer
from blockbuster import BlockBuster, blockbuster_ctx
from prometheus_client import CollectorRegistry
from yarl import URL

from service.app import PARTS, Parts, create_app
from service.engines.protocol import Engine
from service.http.listening_socket import listen
from service.http.platforms import Platform
from service.http.remote_picture import RemotePictures
from service.http.slow_clients import SlowClients
from service.inference.admission import Admission
from service.inference.device_thread import DeviceThread
from service.server import start as run
from service.settings import Settings
from tests.support.documented import undocumented
from tests.support.photos import encoded
from tests.support.scripted_engine import ScriptedEngine
from tests.support.waiting import until

Client = TestClient[web.Request, web.Application]


class Service:
    """A running service, its engine, and the parts that tests look at."""

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
        # Restricted, because the collector of process figures reads files, which would block the event loop.
        for metric in self.registry.restricted_registry([name]).collect():
            for sample in metric.samples:
                if (sample.name, sample.labels) == (name, labels):
                    return float(sample.value)
        raise AssertionError(f"no sample {name}{labels}")

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; 40 s at most."""
        await until(condition, seconds=40)

    async def ready(self) -> None:
        """Wait until the service is ready."""
        await self.until(lambda: self.parts.supervisor.ready)

    async def post(self, data: Any, path: str = "/process", **options: Any) -> tuple[int, bytes, Any]:
        """Post a body; return status, body and headers of the answer."""
        options.setdefault("headers", {"Content-Type": "application/octet-stream"})
        async with self.client.post(path, data=data, **options) as response:
            return response.status, await response.read(), response.headers

    async def warmth(self) -> dict[str, Any]:
        """What ``GET /warmup`` says, and its status as ``code``."""
        async with self.client.get("/warmup") as response:
            return {**(await response.json()), "code": response.status}

    async def readyz(self) -> int:
        """The status of ``GET /readyz``."""
        async with self.client.get("/readyz") as response:
            return response.status


class OurServer(TestServer):
    """aiohttp's server for tests, but with the service's own connections."""

    async def start_server(self, loop: asyncio.AbstractEventLoop | None = None, **kwargs: Any) -> None:
        if self.runner is not None:
            return
        assert not kwargs
        listener = listen("127.0.0.1", 0)
        self.host, self.port = listener.getsockname()
        self.runner = await run(self.app, listener)
        self._root = URL.build(scheme="http", host=self.host, port=self.port)


class Start(Protocol):
    """The fixture ``start``: starts a service around an engine, and waits until it is ready unless told not to.

    ``requested`` is the setting ``INSPYRENET_ENGINE``.
    """

    def __call__(
        self,
        engine: Engine | None = None,
        *,
        wait: bool = True,
        slow_clients: SlowClients | None = None,
        remote_pictures: RemotePictures | None = None,
        platform: Platform | None = None,
        requested: str = "inspyrenet",
        **settings: Any,
    ) -> Awaitable[Service]: ...


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[BlockBuster]:
    """Make every blocking call in the thread of the event loop an error."""
    with blockbuster_ctx() as blockbuster:
        blockbuster.functions["io.TextIOWrapper.write"].deactivate()  # log lines, to pytest's capture
        yield blockbuster


@pytest.fixture
async def start(aiohttp_client: Callable[..., Awaitable[Client]]) -> AsyncIterator[Start]:
    """A function that starts services; they end with the test. Every answer must be as the OpenAPI document says."""
    problems: set[str] = set()

    async def hold_against_the_document(request: web.Request, response: web.StreamResponse) -> None:
        problems.update(undocumented(request, response))

    async def start(
        engine: Engine | None = None,
        *,
        wait: bool = True,
        slow_clients: SlowClients | None = None,
        remote_pictures: RemotePictures | None = None,
        platform: Platform | None = None,
        requested: str = "inspyrenet",
        **settings: Any,
    ) -> Service:
        engine = engine or ScriptedEngine()
        registry = CollectorRegistry()
        application = await asyncio.to_thread(
            lambda: create_app(
                Settings(engine=requested, **settings),
                engine=engine,
                registry=registry,
                slow_clients=slow_clients,
                remote_pictures=remote_pictures,
                platform=platform,
            )
        )
        application.on_response_prepare.append(hold_against_the_document)
        server = OurServer(application)
        await server.start_server()
        # Without a limit on simultaneous connections.
        client = await aiohttp_client(server, connector=TCPConnector(limit=0))
        service = Service(client, engine, registry)
        if wait:
            await service.ready()
        return service

    yield start
    assert not problems, problems


@pytest.fixture
def photo() -> bytes:
    """A small PNG."""
    return encoded()
