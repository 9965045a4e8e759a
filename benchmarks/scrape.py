"""Measures whether the event loop stays free: the latency of ``/livez`` and ``/metrics``, under full load and idle.

``python -m benchmarks.scrape [--engine u2netp] [--seconds 10]`` starts the real service and asks these paths, in turn
while it is idle and while every place in its queue is taken. It also measures what a scrape costs, as a share of a CPU
core.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import numpy as np
from aiohttp import ClientSession, ClientTimeout
from PIL import Image

from benchmarks import _harness, _sides

CLIENTS = 17
"""The number of places with the default queue: one request that runs and sixteen that wait."""
SCRAPE_INTERVAL = 15.0
"""Seconds, as in metrics/prometheus.yml. The share of a core is the cost of one scrape divided by this."""
SCRAPES = 100
"""Scrapes for one measurement of the cost. The process counts its CPU time in hundredths of a second only."""
PAUSE = 0.02
"""Seconds between requests while their latency is measured."""
PATHS = ("/livez", "/metrics")
LOADS = ("idle", "full load")
AIMS = {("/livez", 0.99): "50 ms, 20 ms"}
"""By path and quantile."""

Latencies = dict[tuple[str, str], list[list[float]]]
"""Milliseconds by path and load: a list for each round."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this benchmark has."""
    parser.add_argument("--engine", choices=("inspyrenet", "u2netp"), default="inspyrenet")
    parser.add_argument(
        "--seconds", type=float, help="how long each path is measured in a round (default 10)"
    )


def main() -> None:
    given = _harness.options(__doc__, add=arguments)
    report = _harness.Report("scrape", given)
    report.facts["engine"] = given.more.engine
    weights = _sides.weights() if given.more.engine == "inspyrenet" else "dummy"
    # With the default deadline, a slow machine would refuse the last requests in the queue, and places would stay free.
    with _sides.Service(
        _sides.used_home("scrape"), ENGINE=given.more.engine, WEIGHTS=weights, REQUEST_TIMEOUT=3600
    ) as service:
        service.wait("/readyz")
        seconds = given.more.seconds or (2.0 if given.quick else 10.0)
        measurement = Measurement(f"http://127.0.0.1:{service.port}", seconds)
        asyncio.run(measurement.rounds(given.rounds))
    for path in PATHS:
        for share in (0.5, 0.99):
            idle, loaded = (
                [quantile(found, share) for found in measurement.latencies[path, load]] for load in LOADS
            )
            report.add(
                _harness.Row(
                    f"{path}, {100 * share:g}th percentile",
                    "ms",
                    loaded,
                    idle,
                    our_name="full load",
                    other="idle",
                    aim=AIMS.get((path, share), ""),
                )
            )
    drawn = list(report.rows)
    cost = [1000 * cpu for cpu in measurement.cpu_seconds]
    report.add(
        _harness.Row(
            f"CPU time of one scrape of {measurement.scrape_bytes / 1024:.0f} KiB",
            "ms",
            cost,
            note=f"every {SCRAPE_INTERVAL:g} s: {statistics.median(cost) / SCRAPE_INTERVAL / 10:.3f} % of a core",
        )
    )
    report.add(_harness.Row(f"cut-outs meanwhile, {CLIENTS} clients", "1/s", measurement.rates))
    report.extra["longest, ms"] = {
        f"{path}, {load}": max(map(max, found)) for (path, load), found in measurement.latencies.items()
    }
    report.finish()
    _harness.bars(report, f"Asked while the model runs ({given.more.engine})", drawn)


class Measurement:
    """Measures one service, and keeps the figures.

    Args:
        url: of the service.
        seconds: how long each path is measured in a round.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self.latencies: Latencies = {(path, load): [] for path in PATHS for load in LOADS}
        self.rates: list[float] = []
        """Cut-outs per second under load, for each round."""
        self.cpu_seconds: list[float] = []
        """CPU seconds of one scrape, for each round."""
        self.scrape_bytes = 0
        self._url = url
        self._seconds = seconds
        self._answered = 0

    async def rounds(self, count: int) -> None:
        """Measure while the service is idle and while it is loaded, in turn."""
        async with ClientSession(timeout=ClientTimeout()) as session:
            for number in range(count):
                for load in LOADS if number % 2 == 0 else reversed(LOADS):
                    async with nullcontext() if load == "idle" else self._load(session):
                        for path in PATHS:
                            self.latencies[path, load].append(await self._ask(session, path))
                    await self._until_idle(session)
                self.cpu_seconds.append(await self._cpu_per_scrape(session))

    @asynccontextmanager
    async def _load(self, session: ClientSession) -> AsyncIterator[None]:
        clients = [asyncio.create_task(self._post_for_ever(session)) for _ in range(CLIENTS)]
        await asyncio.sleep(1)
        began, before = time.monotonic(), self._answered
        yield
        # A client that has just got an answer may not have posted again yet.
        if (waiting := await self._metric(session, "inspyrenet_queue_depth")) < CLIENTS - 3:
            raise RuntimeError(f"the service was not under full load: only {waiting:g} requests waited")
        self.rates.append((self._answered - before) / (time.monotonic() - began))
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _post_for_ever(self, session: ClientSession) -> None:
        """Run one client that posts a picture again as soon as it has its answer."""
        out = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(noise).resize((640, 480)).save(out, "JPEG")
        headers = {"Content-Type": "image/jpeg"}
        while True:
            async with session.post(self._url + "/process", data=out.getvalue(), headers=headers) as response:
                await response.read()
                if response.status == 200:
                    self._answered += 1
                else:
                    await asyncio.sleep(0.2)

    async def _ask(self, session: ClientSession, path: str) -> list[float]:
        """Ask a path again and again, and return the milliseconds of each answer."""
        took = []
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            async with session.get(self._url + path) as response:
                response.raise_for_status()
                await response.read()
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PAUSE)
        return took

    async def _until_idle(self, session: ClientSession) -> None:
        """Wait for the picture that runs. Pictures that waited are gone with their clients."""
        while await self._metric(session, "inspyrenet_worker_busy"):
            await asyncio.sleep(0.1)

    async def _cpu_per_scrape(self, session: ClientSession) -> float:
        """Return the CPU seconds that the service counts for one scrape."""
        before = await self._metric(session, "process_cpu_seconds_total")
        for _ in range(SCRAPES):
            self.scrape_bytes = len(await self._scrape(session))
        return (await self._metric(session, "process_cpu_seconds_total") - before) / (SCRAPES + 1)

    async def _metric(self, session: ClientSession, name: str) -> float:
        for line in (await self._scrape(session)).splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise LookupError(f"{name} is not in the scrape")

    async def _scrape(self, session: ClientSession) -> str:
        async with session.get(self._url + "/metrics") as response:
            response.raise_for_status()
            return await response.text()


def quantile(milliseconds: list[float], share: float) -> float:
    """Return the smallest measurement that at least this share of the measurements does not exceed."""
    return float(np.quantile(milliseconds, share, method="inverted_cdf"))


if __name__ == "__main__":
    main()
