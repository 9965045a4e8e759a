"""Scrapes: one of a kind at a time, compressed only for those that accept it."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.http.exposition import MetricsHandler
from tests.support.waiting import let_run, until


class Counting(Collector):
    """Counts how often it is read, and waits each time until the test lets it go on."""

    def __init__(self) -> None:
        self.scrapes = 0
        self.may_go_on = threading.Event()

    def collect(self) -> Iterator[Metric]:
        self.scrapes += 1
        self.may_go_on.wait(timeout=20)
        yield GaugeMetricFamily("scrapes", "How often this was read.", self.scrapes)


class World:
    """A handler around a registry with one collector."""

    def __init__(self) -> None:
        self.collector = Counting()
        registry = CollectorRegistry()
        self.collector.may_go_on.set()
        registry.register(self.collector)
        self.collector.scrapes = 0  # the registry reads it once for its names
        self.collector.may_go_on.clear()
        self.handler = MetricsHandler(registry)

    def ask(self, **headers: str) -> asyncio.Task[web.Response]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.create_task(self.handler.get(make_mocked_request("GET", "/metrics", sent)))


@pytest.fixture
def world() -> World:
    return World()


def text(response: web.Response) -> str:
    assert isinstance(response.body, bytes)
    compressed = response.headers.get("Content-Encoding") == "gzip"
    return (gzip.decompress(response.body) if compressed else response.body).decode()


async def test_a_thousand_scrapes_at_a_time_are_one(world: World) -> None:
    request = make_mocked_request("GET", "/metrics", {"Accept-Encoding": "gzip"})
    asking = [asyncio.create_task(world.handler.get(request)) for _ in range(1000)]
    await until(lambda: world.collector.scrapes == 1)
    world.collector.may_go_on.set()
    answers = await asyncio.gather(*asking)
    assert world.collector.scrapes == 1
    assert len({id(answer.body) for answer in answers}) == 1, "they share the compressed bytes"
    assert "scrapes 1.0" in text(answers[0])


async def test_a_scrape_after_another_is_a_new_one(world: World) -> None:
    world.collector.may_go_on.set()
    assert "scrapes 1.0" in text(await world.ask())
    assert "scrapes 2.0" in text(await world.ask())


async def test_scrapes_of_other_kinds_are_not_joined(world: World) -> None:
    plain, compressed = world.ask(), world.ask(Accept_Encoding="gzip")
    openmetrics = world.ask(Accept="application/openmetrics-text; version=1.0.0")
    await until(lambda: world.collector.scrapes >= 1)
    world.collector.may_go_on.set()
    assert "Content-Encoding" not in (await plain).headers
    assert (await compressed).headers["Content-Encoding"] == "gzip"
    assert "openmetrics" in (await openmetrics).headers["Content-Type"]
    assert text(await openmetrics).endswith("# EOF\n")
    assert world.collector.scrapes == 3


async def test_a_client_that_leaves_does_not_end_the_scrape_of_the_others(world: World) -> None:
    first, second = world.ask(), world.ask()
    await until(lambda: world.collector.scrapes == 1)
    first.cancel()
    await let_run()
    world.collector.may_go_on.set()
    assert "scrapes 1.0" in text(await second)


async def test_a_refused_coding_is_not_used(world: World) -> None:
    world.collector.may_go_on.set()
    answer = await world.ask(Accept_Encoding="gzip;q=0")
    assert "Content-Encoding" not in answer.headers
    assert "scrapes" in text(answer)


async def test_metrics_are_readable_when_threads_cannot_be_started(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    world.collector.may_go_on.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        answer = await world.ask()
    assert "scrapes 1.0" in text(answer)
