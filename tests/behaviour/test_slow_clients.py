"""Slow clients: they hold little, lose their place when another request needs it, and leave no descriptors open."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from blockbuster import BlockBuster

from service.http.slow_clients import SlowClients
from tests.support import photos
from tests.support.photos import encoded
from tests.support.raw_http import exchange, head, read_answer
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine
from tests.support.waiting import until


@asynccontextmanager
async def connections(
    service: Service, count: int, sent: bytes = b""
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open connections that send a few bytes and then nothing."""
    opened = []
    try:
        for _ in range(count):
            opened.append(await asyncio.open_connection(service.client.host, service.client.port))
            opened[-1][1].write(sent)
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def median_seconds(service: Service, picture: bytes, times: int = 15) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        assert (await service.post(picture))[0] == 200
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def evicting_early() -> SlowClients:
    """The rule of the service, but transfers are old enough after 0.1 s instead of two seconds."""
    return SlowClients(min_age=0.1)


@pytest.mark.timing
@pytest.mark.parametrize(
    "sent", [b"", b"POST /process HTTP/1.1\r\nHost: x\r\nX-Slow"], ids=["idle", "half a head"]
)
async def test_thousands_of_silent_connections_change_nothing_for_others(
    start: Start, sent: bytes, nothing_blocks_the_loop: BlockBuster
) -> None:
    nothing_blocks_the_loop.deactivate()  # the test itself reads /proc
    service = await start()
    before = await median_seconds(service, encoded())
    open_before = descriptors()
    count = min(2000, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - open_before - 100) // 2)
    async with connections(service, count, sent):
        assert await median_seconds(service, encoded()) < 2 * before + 0.02
        async with service.client.get("/readyz") as response:
            assert response.status == 200
        assert service.admission.taken == 0
    await until(lambda: descriptors() <= open_before + 5)


async def test_a_trickled_upload_loses_its_place_to_a_new_request(
    start: Start,
) -> None:
    service = await start(queue_size=2, slow_clients=evicting_early())
    picture = encoded()
    async with connections(service, 3, head(len(picture)) + picture[:10]) as readers:
        await service.until(lambda: service.admission.taken == 3)
        assert (await service.post(picture))[0] == 429, "no transfer is evicted so early"
        await asyncio.sleep(0.12)
        assert [(await service.post(picture))[0] for _ in range(5)] == [200] * 5
        answers = [await read_answer(reader) for reader in readers[:1]]
        assert [answer.status for answer in answers if answer] == [408]
        assert service.admission.taken == 2, "one place was needed at a time, so one upload was evicted"
    await service.until(lambda: service.admission.taken == 0)
    assert service.value("rejections_total", reason="timeout") == 1
    assert service.value("client_disconnects_total", stage="upload") == 2


async def test_a_slow_upload_keeps_its_timeouts_while_places_are_free(
    start: Start,
) -> None:
    service = await start(queue_size=1, slow_clients=evicting_early())
    picture = encoded()
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(head(len(picture)) + picture[:10])
    await service.until(lambda: service.admission.taken == 1)
    await asyncio.sleep(0.15)
    assert (await service.post(picture))[0] == 200
    writer.write(picture[10:])
    answer = await read_answer(reader)
    assert answer is not None
    assert answer.status == 200
    writer.close()


@pytest.mark.timing
async def test_a_client_that_does_not_read_its_answer_loses_its_place_to_a_new_request(
    start: Start,
) -> None:
    service = await start(queue_size=1, slow_clients=evicting_early())
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    large, small = photos.save(noise, "PNG"), encoded()
    held = []
    for _ in range(2):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (service.client.host, service.client.port))
        await loop.sock_sendall(connection, head(len(large)) + large)
        held.append(connection)
    await service.until(
        lambda: (
            service.value("stage_duration_seconds_count", stage="encode") == 2
            and service.admission.taken == 2
        )
    )
    # At first the buffers of the kernel take bytes at a good rate. Then nothing moves.
    statuses = []
    async with asyncio.timeout(10):
        while 200 not in statuses:
            await asyncio.sleep(0.12)
            statuses.append((await service.post(small))[0])
    assert len(statuses) <= 4
    assert service.admission.taken == 1
    assert service.value("client_disconnects_total", stage="response") == 1
    for connection in held:
        connection.close()
    await service.until(lambda: service.admission.taken == 0)
    assert service.value("client_disconnects_total", stage="response") == 2
    assert service.value("http_requests_total", method="POST", route="/process", code="200") == 1


async def test_a_request_that_waits_for_the_gpu_is_not_slow_and_keeps_its_place(
    start: Start,
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, queue_size=1, slow_clients=evicting_early())
    engine.on_infer = hold
    picture = encoded()
    tasks = [asyncio.create_task(service.post(picture)) for _ in range(2)]
    await service.until(lambda: service.admission.taken == 2 and hold.reached.is_set())
    await asyncio.sleep(0.15)
    assert (await service.post(picture))[0] == 429
    hold.release.set()
    assert [(await task)[0] for task in tasks] == [200, 200]


@pytest.mark.timing
async def test_a_refused_sender_that_goes_on_sending_is_cut_off(start: Start) -> None:
    """It holds a connection no longer than it needs to read the refusal."""
    service = await start(api_keys="key")
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(head(20_000_000) + bytes(100))
    answer = await read_answer(reader)
    assert answer is not None
    assert answer.status == 401
    assert service.admission.taken == 0
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.timing
async def test_a_connection_that_no_handler_reads_holds_little_memory(start: Start) -> None:
    """A body that is pipelined behind a waiting request is not read: the sender has to wait."""
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine)
    engine.on_infer = hold
    picture = encoded()
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    await loop.sock_connect(connection, (service.client.host, service.client.port))
    waiting = head(len(picture)) + picture + head(20_000_000)
    await loop.sock_sendall(connection, waiting)
    await service.until(hold.reached.is_set)
    taken = 0
    try:
        async with asyncio.timeout(1):
            while True:
                await loop.sock_sendall(connection, bytes(65536))
                taken += 65536
    except TimeoutError:
        pass
    assert taken < 12_000_000, "the buffers of the kernel hold less"
    hold.release.set()
    connection.close()
    await service.until(lambda: service.admission.taken == 0)


@pytest.mark.timing
async def test_every_request_has_exactly_one_outcome(start: Start) -> None:
    """Answers and disconnects together are as many as the requests."""
    service = await start(queue_size=3, read_timeout=0.5)
    picture = encoded()
    whole, half = head(len(picture)) + picture, head(len(picture)) + picture[:40]

    async def leave(sent: bytes, after: float) -> None:
        _, writer = await asyncio.open_connection(service.client.host, service.client.port)
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(after)
        writer.transport.abort()

    rng = np.random.default_rng(1)
    sent = []
    for kind in rng.integers(0, 5, 150):
        match int(kind):
            case 0:
                sent.append(exchange(service, whole))
            case 1:
                sent.append(leave(whole, float(rng.random() / 50)))
            case 2:
                sent.append(leave(half, float(rng.random() / 5)))
            case 3:
                sent.append(exchange(service, half))
            case _:
                sent.append(exchange(service, head(4) + b"junk"))
    before = service.value("http_requests_in_progress", route="/process")
    await asyncio.gather(*sent)
    await service.until(lambda: service.admission.taken == 0)
    await service.until(lambda: service.value("http_requests_in_progress", route="/process") == before == 0)
    answered = sum(
        service.value("http_requests_total", method="POST", route="/process", code=str(code))
        for code in (200, 400, 408, 413, 415, 422, 429, 500, 503, 504)
    )
    left = sum(
        service.value("client_disconnects_total", stage=stage)
        for stage in ("upload", "queue", "run", "response")
    )
    assert answered + left == len(sent)
    assert left > 0
    assert service.value("http_requests_total", method="POST", route="/process", code="500") == 0


@pytest.mark.timing
async def test_a_client_that_reads_nothing_is_cut_off_even_while_places_are_free(start: Start) -> None:
    service = await start(request_timeout=2.0)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1500, 1500, 3), np.uint8)
    large = await asyncio.to_thread(photos.save, noise, "PNG")
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, (service.client.host, service.client.port))
        await loop.sock_sendall(connection, head(len(large)) + large)
        await service.until(lambda: service.value("client_disconnects_total", stage="response") == 1)
        await service.until(lambda: service.admission.taken == 0)
    assert service.value("http_requests_total", method="POST", route="/process", code="200") == 0
