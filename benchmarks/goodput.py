"""Measures whether overload lowers the goodput: pictures per second with 200 clients and with 5 clients.

``python -m benchmarks.goodput`` runs the real application on a real socket, with an engine that takes 20 ms for a
picture. In turn, 5 clients (as many as there are places) or 200 clients send pictures. A client that gets 429 obeys
``Retry-After``. The benchmark fails if 200 clients get a tenth fewer pictures per second.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles

import structlog
from aiohttp import ClientSession, TCPConnector
from aiohttp.test_utils import TestServer
from yarl import URL

from benchmarks._harness import Report, Row, alternate, bars, options, ratio
from service.app import PARTS, create_app
from service.settings import Settings
from service.startup import configure_libraries
from tests.behaviour.test_overload import taking
from tests.support.photos import encoded
from tests.support.scripted_engine import ScriptedEngine

QUEUE = 4
SECONDS_A_PICTURE = 0.02
HEADERS = {"Content-Type": "application/octet-stream"}


@dataclass
class Load:
    """What the clients of one run saw."""

    served: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)
    """Seconds from a picture's first attempt to its answer."""

    def latency(self, percent: int) -> float:
        """A percentile of the latencies."""
        return quantiles(self.latencies, n=100)[percent - 1]


async def load(clients: int, seconds: float, addresses: Sequence[URL]) -> Load:
    """Let clients send pictures for so many seconds, each its next one when it has an answer.

    Each attempt goes to one of the addresses at random. A client that gets 429 obeys ``Retry-After``.
    """
    picture, seen = encoded(), Load()
    end = time.monotonic() + seconds
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def client() -> None:
            first = time.monotonic()
            while time.monotonic() < end:
                url = random.choice(addresses)
                async with session.post(url, data=picture, headers=HEADERS) as response:
                    await response.read()
                    if response.status == 429:
                        seen.refused += 1
                        await asyncio.sleep(
                            min(float(response.headers["Retry-After"]), max(0.0, end - time.monotonic()))
                        )
                        continue
                    seen.served += response.status == 200
                    now = time.monotonic()
                    seen.latencies.append(now - first)
                    first = now

        await asyncio.gather(*(client() for _ in range(clients)))
    return seen


async def goodput(clients: int, seconds: float) -> float:
    """Return the pictures served per second."""
    configure_libraries()
    engine = ScriptedEngine()
    app = create_app(Settings(queue_size=QUEUE), engine=engine)
    async with TestServer(app) as server:
        async with asyncio.timeout(60):
            while not app[PARTS].supervisor.ready:
                await asyncio.sleep(0.01)
        engine.on_infer = taking(SECONDS_A_PICTURE)
        return (await load(clients, seconds, [server.make_url("/process")])).served / seconds


def main() -> None:
    """Measure both, print the table, and fail if overload costs more than a tenth."""
    given = options(__doc__)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seconds = 2.0 if given.quick else 8.0
    samples = alternate(
        {
            "saturated": lambda: asyncio.run(goodput(QUEUE + 1, seconds)),
            "overloaded": lambda: asyncio.run(goodput(200, seconds)),
        },
        given.rounds,
    )
    report = Report("goodput", given)
    report.add(
        Row(
            "pictures served, 200 clients",
            "1/s",
            samples["overloaded"],
            samples["saturated"],
            other="5 clients",
            our_name="200 clients",
            aim="within 10 %",
        )
    )
    report.finish()
    bars(report, "Overload: pictures served a second")
    lost = ratio(samples["saturated"], samples["overloaded"])
    if lost.value > 1.1 and not given.quick:
        raise SystemExit(f"overload lowers the goodput by more than a tenth: {lost}")


if __name__ == "__main__":
    main()
