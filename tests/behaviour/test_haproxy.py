"""The example configuration in the real HAProxy: slow heads and idle connections never reach the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from tests.support import haproxy
from tests.support.photos import encoded
from tests.support.programs import program
from tests.support.raw_http import head, read_answer
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine

RAW = {"Content-Type": "application/octet-stream"}

pytestmark = pytest.mark.e2e


def proxy(service: Service, folder: Path) -> AbstractAsyncContextManager[int]:
    """HAProxy in front of the service, with a tenth of the timeouts for clients; its port."""
    assert service.client.port is not None
    return haproxy.proxy(
        folder,
        [service.client.port],
        [
            ("http-request 10s", "http-request 1s"),
            ("body time 30s", "body time 500ms"),
            ("inter 500ms", "inter 100ms"),
        ],
    )


async def test_the_shipped_configuration_is_valid() -> None:
    name = await asyncio.to_thread(program, "haproxy")
    process = await asyncio.create_subprocess_exec(
        name,
        "-c",
        "-f",
        str(haproxy.CONFIG),
        stderr=asyncio.subprocess.STDOUT,
        stdout=asyncio.subprocess.PIPE,
    )
    words, _ = await process.communicate()
    assert process.returncode == 0, words.decode()
    assert b"WARNING" not in words


async def test_clients_reach_process_and_the_pages_but_no_operator_route(
    start: Start, tmp_path: Path
) -> None:
    service = await start()
    async with proxy(service, tmp_path) as port, ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.post("/process", data=encoded(), headers=RAW) as response:
            assert response.status == 200
            assert response.headers["X-Request-Id"]
            assert "Server" not in response.headers
        async with session.get("/") as response:
            assert response.status == 200
        for path in (
            "/metrics",
            "/readyz",
            "/ready",
            "/livez",
            "/live",
            "/ping",
            "/v2/health/ready",
            "/%6detrics",
        ):
            async with session.get(URL(path, encoded=True)) as response:
                assert response.status == 404, path


async def chunks() -> AsyncIterator[bytes]:
    yield b"a body without a length"


async def test_a_head_or_a_body_that_no_path_takes_is_refused_before_the_service(
    start: Start, tmp_path: Path
) -> None:
    service = await start()
    long = "a" * 20_000
    async with proxy(service, tmp_path) as port, ClientSession(f"http://127.0.0.1:{port}") as session:
        for sent in ({"params": {"q": long}}, {"headers": {"X-Long": long}}):
            async with session.post("/process", data=encoded(), **sent) as response:
                assert response.status == 431
                assert "16 kB" in (await response.json())["error"]["message"]
        async with session.post("/warmup", data=bytes(70_000)) as response:
            assert response.status == 413
            assert (await response.json())["error"]["code"] == "too_large"
        async with session.post("/warmup", data=chunks()) as response:
            assert response.status == 411
        assert service.value("http_requests_total", route="/process", method="POST", code="400") == 0
        assert service.value("http_requests_total", route="/warmup", method="POST", code="200") == 0


async def test_one_failed_check_of_a_replica_costs_no_client_an_answer(tmp_path: Path) -> None:
    asked_again, client_has_asked = asyncio.Event(), asyncio.Event()
    next_check = "passes"

    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal next_check
        status = 200
        if b" /readyz " in await reader.readuntil(b"\r\n\r\n"):
            if next_check == "fails":
                next_check, status = "waits", 500
            elif next_check == "waits":
                asked_again.set()
                await client_has_asked.wait()
        writer.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        writer.close()

    server = await asyncio.start_server(replica, "127.0.0.1", 0)
    changes = [("timeout check 2s", "timeout check 60s")]
    async with server, haproxy.proxy(tmp_path, [server.sockets[0].getsockname()[1]], changes) as port:
        next_check = "fails"
        await asyncio.wait_for(asked_again.wait(), 30)
        try:
            async with (
                ClientSession(f"http://127.0.0.1:{port}") as session,
                session.get("/warmup") as response,
            ):
                assert response.status == 200
        finally:
            client_has_asked.set()


async def test_slow_heads_and_idle_connections_never_reach_the_service(start: Start, tmp_path: Path) -> None:
    service = await start()
    runner = service.client.server.runner
    assert runner is not None
    assert runner.server is not None
    async with proxy(service, tmp_path) as port, ClientSession(f"http://127.0.0.1:{port}") as session:
        held = []
        for i in range(600):
            # From many addresses, like an attack. Half of the connections send half a head.
            source = (f"127.0.{1 + i // 60}.1", 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
            if i % 2:
                writer.write(b"POST /process HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            held.append((reader, writer))
        for _ in range(5):
            async with session.post("/process", data=encoded(), headers=RAW) as response:
                assert response.status == 200
        assert len(runner.server.connections) < 20
        assert service.admission.taken == 0
        answers = [await asyncio.wait_for(read_answer(reader), 10) for reader, _ in held[1::60]]
        assert {answer.status for answer in answers if answer} == {408}
        for _, writer in held:
            writer.transport.abort()


async def test_a_body_that_is_declared_and_never_sent_takes_no_place(start: Start, tmp_path: Path) -> None:
    service = await start(queue_size=1)
    async with proxy(service, tmp_path) as port:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in opened:
            writer.write(head(100_000))
        answers = [await asyncio.wait_for(read_answer(reader), 10) for reader, _ in opened]
        assert {answer.status for answer in answers if answer} == {408}
        assert service.admission.taken == 0
        assert service.value("http_requests_in_progress", route="/process") == 0
        for _, writer in opened:
            writer.transport.abort()


async def test_refusals_by_a_full_service_lock_nobody_out_and_broken_requests_do(
    start: Start, tmp_path: Path
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    service = await start(engine, queue_size=1)
    engine.on_infer = hold
    async with proxy(service, tmp_path) as port, ClientSession(f"http://127.0.0.1:{port}") as session:

        async def post(data: bytes = encoded()) -> tuple[int, str | None]:
            async with session.post("/process", data=data, headers=RAW) as response:
                return response.status, response.headers.get("Retry-After")

        held = [asyncio.create_task(post()) for _ in range(2)]
        await service.until(lambda: service.admission.taken == 2)
        for _ in range(80):
            status, after = await post()
            assert status == 429
            assert after is not None
            assert int(after) < 60, "the service's own answer"
        hold.release.set()
        assert [await each for each in held] == [(200, None)] * 2
        assert (await post())[0] == 200
        broken = [await post(b"") for _ in range(70)]
        assert broken[0] == (400, None)
        assert broken[-1] == (429, "60")


async def test_without_a_ready_replica_the_proxy_says_when_to_come_back(start: Start, tmp_path: Path) -> None:
    service = await start()
    async with proxy(service, tmp_path) as port, ClientSession(f"http://127.0.0.1:{port}") as session:
        service.parts.lifecycle.begin_drain("a test")
        async with asyncio.timeout(20):
            while True:
                async with session.post("/process", data=encoded(), headers=RAW) as response:
                    if response.status == 503:
                        break
        assert response.headers["Retry-After"]
        assert response.content_type == "application/json"
