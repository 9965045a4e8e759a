"""Overload: many clients and a small queue. Work that fits is served, the rest gets a 429, and nothing fails."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.engines.protocol import RGB, Alpha
from service.host.allocator import MEMORY_VARIABLES
from service.inference import service_time
from service.inference.return_times import LONGEST_SECONDS
from tests.support.photos import encoded
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine, disc

CLIENTS = 200


def taking(seconds: float) -> Callable[[RGB], Alpha]:
    def infer(image: RGB) -> Alpha:
        time.sleep(seconds)
        return disc(image)

    return infer


@dataclass
class Load:
    """The answers to clients that send without a pause."""

    statuses: Counter[int] = field(default_factory=Counter)
    retry_after: set[int] = field(default_factory=set)
    most_taken: int = 0

    async def of(self, service: Service, clients: int, seconds: float, *, pause: float = 0.05) -> Load:
        """Let clients send for some seconds. Each sends again at once, or ``pause`` seconds after a refusal."""
        picture, end = encoded(), time.monotonic() + seconds

        async def client() -> None:
            while time.monotonic() < end:
                status, _, headers = await service.post(picture)
                self.statuses[status] += 1
                self.most_taken = max(self.most_taken, service.admission.taken)
                if status == 429:
                    self.retry_after.add(int(headers["Retry-After"]))
                    await asyncio.sleep(pause)

        await asyncio.gather(*(client() for _ in range(clients)))
        return self


@pytest.mark.timing
@pytest.mark.parametrize("seconds", [0.0, 0.05], ids=["fast engine", "slow engine"])
async def test_overloaded_clients_get_200_or_429_and_everything_else_goes_on(
    start: Start, seconds: float
) -> None:
    engine = ScriptedEngine()
    service = await start(engine, queue_size=4, request_timeout=2.0, warmup_interval=0.2)
    engine.on_infer = taking(seconds)
    assert (await service.post(encoded()))[0] == 200
    seen: Counter[tuple[str, int]] = Counter()
    slowest: dict[str, float] = {}
    probes = service.value("warmup_runs_total", outcome="success")

    async def watch() -> None:
        for path in itertools.cycle(["/livez", "/readyz", "/metrics", "/warmup"]):
            begun = time.perf_counter()
            async with service.client.get(path) as response:
                await response.read()
            seen[path, response.status] += 1
            slowest[path] = max(slowest.get(path, 0.0), time.perf_counter() - begun)
            await asyncio.sleep(0.01)

    watcher = asyncio.create_task(watch())
    load = await Load().of(service, CLIENTS, 2.5)
    watcher.cancel()
    assert set(load.statuses) == {200, 429}, load.statuses
    assert max(load.retry_after) <= LONGEST_SECONDS, "clients that come back too early make the line longer"
    assert load.most_taken == 5
    assert {status for _, status in seen} == {200}, seen
    assert len(seen) == 4
    # All clients run in this event loop too, so the limit is wide. It shows that no such request waits for the queue.
    assert max(slowest.values()) < 2.0, slowest
    assert service.value("warmup_runs_total", outcome="success") - probes >= 2, "probes get through"
    assert service.value("warmup_consecutive_failures") == 0
    await service.until(lambda: service.admission.taken == 0)
    for code in (200, 429):
        counted = service.value("http_requests_total", method="POST", route="/process", code=str(code))
        assert counted == load.statuses[code] + (code == 200)


async def test_work_that_would_outlast_its_deadline_is_refused_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty-one places, at least 0.3 s for each, and a deadline of six seconds: at most twenty can be served."""
    monkeypatch.setattr(
        service_time, "FLOOR_PIXELS", 1
    )  # or the fast canaries would count as pictures of this size
    engine, hold = ScriptedEngine(), Hold()
    engine.on_infer = taking(0.3)  # from the start: a proof that takes no time would count as a fast picture
    service = await start(engine, queue_size=30, request_timeout=6.0, warmup_interval=3600)
    for _ in range(service_time.JOBS_OF_A_PROOF):
        assert (await service.post(encoded()))[0] == 200
    engine.on_infer = hold  # nothing ends before all have come
    statuses: Counter[int] = Counter()

    async def client() -> None:
        status, _, headers = await service.post(encoded())
        statuses[status] += 1
        if status == 429:
            assert 1 <= int(headers["Retry-After"]) <= LONGEST_SECONDS

    clients = [asyncio.create_task(client()) for _ in range(31)]
    await service.until(lambda: statuses[429] >= 11)
    assert set(statuses) == {429}
    hold.release.set()
    await asyncio.gather(*clients)
    assert set(statuses) == {200, 429}, statuses
    assert statuses[200] >= 5


SIDE, UPLOAD = 2000, 2_000_000

MEMORY = """
import asyncio, re, sys
from aiohttp import ClientSession, FormData
from aiohttp.test_utils import TestServer
from service.http import connection
from service.app import PARTS, create_app
from service.settings import Settings
from service.startup import configure_libraries
from tests.support.scripted_engine import Hold, ScriptedEngine
from tests.support.photos import encoded
from tests.support.waiting import until

QUEUE, SIDE, UPLOAD, BACKGROUND = 3, {SIDE}, {UPLOAD}, {BACKGROUND}

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10

async def main():
    configure_libraries()
    engine = ScriptedEngine()
    app = create_app(
        Settings(queue_size=QUEUE, max_upload_bytes=UPLOAD, max_pixels=SIDE * SIDE), engine=engine
    )
    server = TestServer(app)
    await server.start_server(**connection.OPTIONS)
    await until(lambda: app[PARTS].supervisor.ready)
    picture = sys.stdin.buffer.read()  # made in another process: making it here would need more memory than serving it
    def body():
        if not BACKGROUND:
            return picture
        form = FormData()
        form.add_field("image", picture, filename="a.jpg")
        form.add_field("background", picture, filename="b.jpg")
        return form
    headers = {} if BACKGROUND else {"Content-Type": "image/jpeg"}
    output = "background" if BACKGROUND else "mask"
    async with ClientSession() as session:
        async def post():
            async with session.post(
                server.make_url(f"/process?output={output}&format=jpeg"), data=body(), headers=headers
            ) as response:
                await response.read()
                return response.status
        small = encoded(8, 8)
        async with session.post(
            server.make_url("/process?output=mask&format=jpeg"), data=small, headers={"Content-Type": "image/png"}
        ) as response:
            assert response.status == 200
        before = peak()
        statuses = await asyncio.gather(*(post() for _ in range(60)))
    used = peak() - before
    await server.close()
    assert set(statuses) <= {200, 429} and statuses.count(429) > 20, statuses
    pool = app[PARTS].codec_pool.threads + 1  # and the probes' own
    pixels = SIDE * SIDE
    held = 3 + 4 + (3 + 3 if BACKGROUND else 1)  # the picture, its mask, its background, its result
    places = (QUEUE + 1) * (UPLOAD + held * pixels)
    work = pool * (24 * pixels + 3 * UPLOAD + (16 << 20))
    engines_own = 40 * pixels
    print(used, places + work + engines_own)

asyncio.run(main())
"""


def _filled(script: str, values: dict[str, int]) -> str:
    for name, value in values.items():
        script = script.replace(f"{{{name}}}", str(value))
    return script


@pytest.mark.memory
@pytest.mark.parametrize("background", [False, True], ids=["one picture", "two pictures"])
def test_memory_under_overload_stays_within_the_bound_that_the_architecture_states(
    background: bool,
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    picture = encoded(SIDE, SIDE, "JPEG")
    assert len(picture) * 2 <= UPLOAD
    values = {"SIDE": SIDE, "UPLOAD": UPLOAD, "BACKGROUND": background}
    done: Any = subprocess.run(
        [sys.executable, "-c", _filled(MEMORY, values)],
        input=picture,
        env=os.environ | MEMORY_VARIABLES,
        capture_output=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    used, bound = map(int, done.stdout.split()[-2:])
    assert used < bound
