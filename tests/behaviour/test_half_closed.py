"""Clients that say they will send no more: they get their answers, and one that has really left is noticed."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.photos import encoded
from tests.support.raw_http import head, read_answer
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine

PICTURE = encoded(8, 8)
POST = head(len(PICTURE)) + PICTURE


async def connect(service: Service) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(service.client.host, service.client.port)


async def send_all_and_half_close(service: Service, sent: bytes) -> bytes:
    """Everything that a client receives that sends, half-closes, and reads to the end, as ``nc -N`` does."""
    reader, writer = await connect(service)
    try:
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "sent",
    [
        head(None, path="/livez", method="GET"),
        head(None, path="/metrics", method="GET"),
        head(None, path="/", method="GET").replace(b"HTTP/1.1", b"HTTP/1.0"),
        head(0, path="/warmup"),
        POST,
        POST.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_a_client_that_half_closes_gets_its_answer_and_then_the_end(start: Start, sent: bytes) -> None:
    service = await start()
    received = await send_all_and_half_close(service, sent)
    assert received.startswith(b"HTTP/1.")
    assert received[8:13] == b" 200 "
    assert received.count(b"HTTP/1.") == 1
    await service.until(lambda: service.admission.taken == 0)
    await service.until(lambda: service.value("connections") == 0)


async def test_a_client_that_half_closes_while_its_picture_waits_gets_its_answer(start: Start) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine)
    engine.on_infer = hold
    reader, writer = await connect(service)
    writer.write(POST)
    await service.until(hold.reached.is_set)
    writer.write_eof()
    assert await reader.readexactly(7) == b"HTTP/1.", "the beginning of any answer is sent ahead"
    hold.release.set()
    assert await reader.readexactly(6) == b"1 200 "
    writer.transport.abort()
    assert service.value("client_disconnects_total", stage="run") == 0


async def test_all_pipelined_requests_of_a_half_closed_connection_are_answered(start: Start) -> None:
    service = await start()
    received = await send_all_and_half_close(service, POST * 3 + head(None, path="/livez", method="GET"))
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert received.endswith(b'{"status": "alive"}')


async def test_a_half_closed_connection_whose_body_is_not_complete_is_closed(start: Start) -> None:
    service = await start()
    assert await send_all_and_half_close(service, POST[:-1]) == b""
    await service.until(lambda: service.admission.taken == 0)
    assert service.value("client_disconnects_total", stage="upload") == 1


async def test_a_client_that_has_left_is_noticed_while_its_picture_is_in_work(start: Start) -> None:
    """It closes its socket, which begins as a half-close does."""
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine)
    engine.on_infer = hold
    _, writer = await connect(service)
    writer.write(POST)
    await service.until(hold.reached.is_set)
    writer.close()
    await service.until(lambda: service.value("client_disconnects_total", stage="run") == 1)
    hold.release.set()
    await service.until(lambda: service.admission.taken == 0)


async def test_an_idle_connection_ends_when_its_client_ends_it(start: Start) -> None:
    service = await start()
    reader, writer = await connect(service)
    writer.write(head(None, path="/livez", method="GET"))
    answer = await read_answer(reader)
    assert answer is not None
    assert answer.status == 200
    writer.write_eof()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_http_1_0_gets_no_interim_answer(start: Start) -> None:
    service = await start()
    sent = head(len(PICTURE), "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    reader, writer = await connect(service)
    writer.write(sent)
    await asyncio.sleep(0.05)
    writer.write(PICTURE)
    async with asyncio.timeout(5):
        received = await reader.read()
    assert received[8:13] == b" 200 "
    assert b" 100 " not in received
    writer.close()
