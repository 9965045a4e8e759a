"""The example configuration in the real HAProxy: slow heads and idle connections never reach the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.support.photos import encoded
from tests.support.ports import free_port
from tests.support.programs import program
from tests.support.raw_http import head, read_answer
from tests.support.running_service import Service, Start
from tests.support.waiting import until

CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
RAW = {"Content-Type": "application/octet-stream"}

pytestmark = pytest.mark.e2e


def at_this_pace(folder: Path, service_port: int) -> tuple[Path, int]:
    """The shipped configuration with other ports, and with a tenth of the timeouts for clients."""
    port, text = free_port(), CONFIG.read_text()
    for shipped, here in [
        ("bind :8000", f"bind 127.0.0.1:{port}"),
        ("127.0.0.1:8080", f"127.0.0.1:{service_port}"),
        ("http-request 10s", "http-request 1s"),
        ("body time 5s", "body time 500ms"),
        ("inter 2s", "inter 100ms"),
        ("maxconn 4000", "maxconn 900"),
    ]:
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, here)
    path = folder / "haproxy.cfg"
    path.write_text(text)
    return path, port


@asynccontextmanager
async def proxy(service: Service, folder: Path) -> AsyncIterator[int]:
    """HAProxy in front of the service; its port."""
    name = await asyncio.to_thread(program, "haproxy")
    assert service.client.port is not None
    path, port = await asyncio.to_thread(at_this_pace, folder, service.client.port)
    process = await asyncio.create_subprocess_exec(name, "-f", str(path))
    try:
        async with ClientSession() as session:

            async def serves() -> bool:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/warmup") as response:
                        return response.status == 200
                except OSError:
                    return False

            await until(serves, seconds=10)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def test_the_shipped_configuration_is_valid() -> None:
    name = await asyncio.to_thread(program, "haproxy")
    process = await asyncio.create_subprocess_exec(
        name, "-c", "-f", str(CONFIG), stderr=asyncio.subprocess.STDOUT, stdout=asyncio.subprocess.PIPE
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
        for path in ("/metrics", "/readyz", "/livez"):
            async with session.get(path) as response:
                assert response.status == 404, path


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
