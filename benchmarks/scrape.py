"""Whether the event loop stays free: the latency of ``/livez`` and ``/metrics``, idle and while the model runs.

``python -m benchmarks.scrape [--engine inspyrenet] [--seconds 10] [--json FILE]`` starts the real service, with the
embedded engine or with InSPyReNet on dummy weights (``fast``), keeps every place in its queue taken, and asks it
meanwhile. It also tells what a scrape costs: its share of a core.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
from aiohttp import ClientError, ClientSession
from PIL import Image

ROOT = Path(__file__).parents[1]
CLIENTS = 17
"""As many as there are places with the default queue: the one that runs and sixteen that wait."""
SCRAPE_INTERVAL = 15.0
"""Seconds, as in metrics/prometheus.yml; the share of a core is the cost of one scrape over this."""
PAUSE = 0.02
"""Seconds between requests while their latency is measured."""
PATHS = ("/livez", "/metrics")


def main(engine: str, seconds: float, output: Path | None) -> None:
    """Start the service, measure, print a table, stop the service."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "service",
        "--engine",
        engine,
        "--weights",
        "dummy",
        "--mode",
        "fast",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    service = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        figures = asyncio.run(measure(f"http://127.0.0.1:{port}", seconds))
    finally:
        service.terminate()
        service.wait()
    print(f"{'':>20} {'asked':>8} {'median':>9} {'99 %':>9} {'longest':>9}")
    for name in (f"{path} {load}" for path in PATHS for load in ("idle", "full load")):
        row = figures[name]
        print(f"{name:>20} {row['count']:8.0f} {row['p50']:7.1f}ms {row['p99']:7.1f}ms {row['max']:7.1f}ms")
    cost = figures["one scrape"]
    print(
        f"one scrape: {cost['bytes'] / 1024:.0f} KiB, {cost['cpu_seconds'] * 1000:.2f} ms of CPU; every "
        f"{SCRAPE_INTERVAL:g} s that is {100 * cost['share_of_a_core']:.3f} % of a core (load: {CLIENTS} clients, "
        f"{figures['load']['cut_outs_per_second']:.1f} cut-outs/s, {os.cpu_count()} cores)"
    )
    if output is not None:
        output.write_text(json.dumps(figures, indent=2) + "\n")


async def measure(url: str, seconds: float) -> dict[str, dict[str, float]]:
    """Figures by what they are of; latencies in milliseconds."""
    async with ClientSession() as session:
        await ready(session, url)
        idle = {path: await latencies(session, url + path, seconds) for path in PATHS}
        cpu, size = await cpu_per_scrape(session, url)
        answered = [0]
        async with AsyncExitStack() as stack:
            for _ in range(CLIENTS):
                stack.callback(asyncio.create_task(post_for_ever(session, url, answered)).cancel)
            await asyncio.sleep(1)
            began, before = time.monotonic(), answered[0]
            loaded = {path: await latencies(session, url + path, seconds) for path in PATHS}
            rate = (answered[0] - before) / (time.monotonic() - began)
    return {
        **{f"{path} idle": summary(idle[path]) for path in PATHS},
        **{f"{path} full load": summary(loaded[path]) for path in PATHS},
        "one scrape": {"bytes": size, "cpu_seconds": cpu, "share_of_a_core": cpu / SCRAPE_INTERVAL},
        "load": {"clients": CLIENTS, "cut_outs_per_second": rate},
    }


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ready(session: ClientSession, url: str) -> None:
    """Wait until the service is warm."""
    async with asyncio.timeout(120):
        while True:
            try:
                async with session.get(url + "/readyz") as response:
                    if response.status == 200:
                        return
            except ClientError:
                pass
            await asyncio.sleep(0.1)


async def post_for_ever(session: ClientSession, url: str, answered: list[int]) -> None:
    """One client that always has a picture under way."""
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(noise).resize((640, 480)).save(out, "JPEG")
    headers = {"Content-Type": "image/jpeg"}
    while True:
        async with session.post(url + "/process", data=out.getvalue(), headers=headers) as response:
            await response.read()
            if response.status == 200:
                answered[0] += 1
            else:
                await asyncio.sleep(0.2)


async def latencies(session: ClientSession, url: str, seconds: float) -> list[float]:
    """Milliseconds each answer took."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        async with session.get(url) as response:
            response.raise_for_status()
            await response.read()
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PAUSE)
    return took


async def cpu_per_scrape(session: ClientSession, url: str, count: int = 200) -> tuple[float, int]:
    """CPU seconds of the service for one scrape, by its own account, and the size in bytes of one."""
    before = await cpu_seconds(session, url)
    size = 0
    for _ in range(count):
        size = len(await scrape(session, url))
    after = await cpu_seconds(session, url)
    return (after - before) / (count + 1), size


async def cpu_seconds(session: ClientSession, url: str) -> float:
    """The service's CPU time so far."""
    for line in (await scrape(session, url)).splitlines():
        if line.startswith("process_cpu_seconds_total "):
            return float(line.split()[1])
    raise LookupError("process_cpu_seconds_total is not on the scrape (no /proc?)")


async def scrape(session: ClientSession, url: str) -> str:
    """One scrape."""
    async with session.get(url + "/metrics") as response:
        response.raise_for_status()
        return await response.text()


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Count, median, 99th percentile and longest."""
    ordered = sorted(milliseconds)
    return {
        "count": len(ordered),
        "p50": statistics.median(ordered),
        "p99": ordered[int(0.99 * (len(ordered) - 1))],
        "max": ordered[-1],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each is asked, idle and loaded")
    parser.add_argument("--engine", choices=("grabcut", "inspyrenet"), default="grabcut")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    given = parser.parse_args()
    main(given.engine, given.seconds, given.json)
