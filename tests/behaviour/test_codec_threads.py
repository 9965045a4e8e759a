"""Decoding and encoding beside the GPU thread: clients cannot starve a probe, and a thread that hangs is reported."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.engines.protocol import RGB, Alpha
from service.host.cpu import available_cpus
from service.inference.jobs import Kind
from tests.support import photos
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine

PHOTO = photos.encoded(40, 30)
CLIENT = (30, 40)
CLIENT_THREADS = max(2, available_cpus())


class SlowToCompose(ScriptedEngine):
    """Blocks the codec thread of every client's picture until the test releases it; canaries pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.blocked = 0
        self.release = threading.Event()

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        if image.shape[:2] == CLIENT:
            self.blocked += 1
            assert self.release.wait(60)
        return super().foreground(image, alpha)


async def warmth(service: Service, method: str = "GET") -> int:
    async with asyncio.timeout(10), service.client.request(method, "/warmup") as response:
        return response.status


async def occupied(service: Service, engine: SlowToCompose, clients: int) -> list[asyncio.Task[int]]:
    """Start clients, and wait until they occupy every codec thread that clients may have."""

    async def post() -> int:
        return (await service.post(PHOTO))[0]

    posted = [asyncio.create_task(post()) for _ in range(clients)]
    await service.until(lambda: engine.blocked == CLIENT_THREADS and service.admission.taken == clients)
    return posted


async def test_probes_pass_while_clients_occupy_every_codec_thread_and_all_clients_are_served(
    start: Start,
) -> None:
    engine, clients = SlowToCompose(), CLIENT_THREADS + 15
    service = await start(engine, queue_size=clients - 1, warmup_timeout=0.5, warmup_interval=0.05)
    posted = await occupied(service, engine, clients)
    before = service.value("warmup_runs_total", outcome="success")
    await service.until(lambda: service.value("warmup_runs_total", outcome="success") >= before + 3)
    assert (await warmth(service), await warmth(service, "POST")) == (200, 200)
    assert service.value("warmup_runs_total", outcome="timeout") == 0
    assert service.parts.supervisor.ready
    engine.release.set()
    assert await asyncio.gather(*posted) == [200] * clients


async def test_gauges_show_the_codec_jobs_that_run_and_when_the_oldest_began(start: Start) -> None:
    engine = SlowToCompose()
    service = await start(engine, warmup_interval=3600)
    assert service.value("codec_jobs_running") == 0
    assert service.value("codec_oldest_job_started_timestamp_seconds") == 0
    posted = await occupied(service, engine, CLIENT_THREADS)
    assert service.value("codec_jobs_running") == CLIENT_THREADS
    assert service.value("codec_oldest_job_started_timestamp_seconds") > 0
    engine.release.set()
    assert await asyncio.gather(*posted) == [200] * CLIENT_THREADS
    assert service.value("codec_jobs_running") == 0
    assert service.value("codec_oldest_job_started_timestamp_seconds") == 0


async def test_every_client_thread_that_hangs_is_late(start: Start) -> None:
    engine = SlowToCompose()
    service = await start(engine, warmup_interval=3600)
    pool = service.parts.codec_pool
    posted = await occupied(service, engine, CLIENT_THREADS + 1)
    await service.until(lambda: pool.late(0.05) == pool.threads)
    assert pool.late(60) == 0
    assert pool.stuck is None
    engine.release.set()
    assert await asyncio.gather(*posted) == [200] * (CLIENT_THREADS + 1)
    assert pool.late(0) == 0


async def test_pictures_that_must_be_decoded_alone_wait_without_a_thread(start: Start) -> None:
    service = await start(warmup_interval=3600)
    pool, avif = service.parts.codec_pool, photos.save(photos.photograph(), "AVIF")
    decoding = threading.Event()
    running = asyncio.create_task(pool.run(lambda: decoding.wait(60), kind=Kind.REQUEST, alone=True))
    posted = [asyncio.create_task(service.post(avif)) for _ in range(CLIENT_THREADS + 1)]
    await service.until(lambda: service.value("queue_depth") == CLIENT_THREADS + 1)
    assert (await service.post(PHOTO))[0] == 200
    assert pool.running == 1
    decoding.set()
    assert await running
    assert [status for status, _, _ in await asyncio.gather(*posted)] == [200] * (CLIENT_THREADS + 1)


@pytest.mark.parametrize("endpoint", ["/livez", "/readyz"])
async def test_slow_codec_work_alone_ends_nothing(start: Start, endpoint: str) -> None:
    engine = SlowToCompose()
    service = await start(engine)
    posted = await occupied(service, engine, CLIENT_THREADS)
    async with service.client.get(endpoint) as response:
        assert response.status == 200
    engine.release.set()
    assert await asyncio.gather(*posted) == [200] * CLIENT_THREADS


async def test_a_canary_whose_codec_thread_hangs_is_a_failed_probe_and_post_warmup_says_so(
    start: Start,
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, warmup_timeout=0.2, warmup_interval=0.05)

    def foreground(image: RGB, _: Alpha) -> RGB:
        if image.shape[:2] == (64, 64):
            hold(image)
        return image

    engine.foreground = foreground  # type: ignore[method-assign]
    await service.until(hold.reached.is_set)
    assert await warmth(service, "POST") == 500
    assert service.value("warmup_runs_total", outcome="timeout") == 1
    assert (await service.post(PHOTO, "/process?output=mask"))[0] == 200, "clients have threads of their own"
    hold.release.set()
    await service.until(lambda: service.value("warmup_success") == 1)
