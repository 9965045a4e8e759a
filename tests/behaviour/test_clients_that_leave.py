"""Clients that disconnect, at every stage: work stops where it can, the place comes back, and the stage is counted."""

from __future__ import annotations

import asyncio

from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine


async def send(service: Service, body: bytes, *, declared: int | None = None) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(
        b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
        % (declared or len(body))
    )
    writer.write(body)
    await writer.drain()
    return writer


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_a_client_that_leaves_during_its_upload_gives_its_place_back(
    start: Start, photo: bytes
) -> None:
    service = await start()
    writer = await send(service, photo[:50], declared=len(photo))
    await service.until(lambda: service.admission.taken == 1)
    await leave(writer)
    await service.until(lambda: service.admission.taken == 0)
    await service.until(lambda: service.value("client_disconnects_total", stage="upload") == 1)


async def test_a_queued_picture_whose_client_has_left_never_reaches_the_engine(
    start: Start, photo: bytes
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine)
    engine.on_infer = hold
    running = asyncio.create_task(service.post(photo))
    await service.until(hold.reached.is_set)
    before = len(engine.seen)
    writer = await send(service, photo)
    await service.until(lambda: service.admission.taken == 2 and service.admission.expected_wait >= 0)
    await service.until(lambda: service.device_thread.waiting == 1)
    await leave(writer)
    await service.until(lambda: service.admission.taken == 1)
    hold.release.set()
    assert (await running)[0] == 200
    assert len(engine.seen) == before
    assert service.value("client_disconnects_total", stage="queue") == 1


async def test_a_running_picture_whose_client_has_left_keeps_its_place_until_the_thread_ends(
    start: Start, photo: bytes
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine)
    engine.on_infer = hold
    writer = await send(service, photo)
    await service.until(hold.reached.is_set)
    await leave(writer)
    await service.until(lambda: service.value("client_disconnects_total", stage="run") == 1)
    assert service.admission.taken == 1
    assert service.device_thread.busy
    hold.release.set()
    await service.until(lambda: service.admission.taken == 0)
    assert (await service.post(photo))[0] == 200
    assert service.value("http_requests_total", method="POST", route="/process", code="200") == 1
