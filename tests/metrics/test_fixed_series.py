"""The set of series in a scrape is fixed at the start, whatever clients send."""

from __future__ import annotations

import asyncio
import random
import string

from aiohttp import ClientError, ClientSession
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.app import PARTS, create_app
from service.settings import Settings
from tests.support.scripted_engine import ScriptedEngine
from tests.support.waiting import until

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "X" * 200]
PATHS = [
    "/",
    "/process",
    "/warmup",
    "/status",
    "/readyz",
    "/livez",
    "/ping",
    "/invocations",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/static/app.js",
    "/static/../../etc/passwd",
    "/static/no-such-file",
    "/wp-login.php",
    "/%00%0a%22%7d",
    "//process",
    "/process/" + "a" * 2000,
]
HEADERS: list[dict[str, str]] = [
    {},
    {"Content-Type": "image/png"},
    {"Content-Type": "multipart/form-data"},
    {"Content-Type": 'evil"} 1'},
    {"X-Request-Id": 'x"} 1\\', "traceparent": "00-" + "f" * 200},
    {"Expect": "no-such-expectation"},
    {"Origin": "https://evil.example", "Access-Control-Request-Method": "EVIL"},
    {"If-None-Match": "*", "Range": "bytes=5-1"},
]
BODIES = [b"", b"\x00" * 100, b"\x89PNG\r\n\x1a\n", b"GIF89a", b'{"a": 1}']

Series = set[tuple[str, frozenset[tuple[str, str]]]]


async def series(session: ClientSession, url: str) -> Series:
    async with session.get(url + "/metrics") as response:
        text = await response.text()
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def send(session: ClientSession, url: str, rng: random.Random) -> int:
    word = "".join(rng.choices(string.printable, k=8))
    try:
        async with session.request(
            rng.choice([*METHODS, *["POST"] * 10]),
            url + rng.choice([*PATHS, f"/{rng.random()}", *["/process"] * 10]),
            params=rng.choice([{}, {rng.choice(["output", "format", "threshold", word]): word}]),
            headers=rng.choice(HEADERS),
            data=rng.choice(BODIES),
            allow_redirects=False,
        ) as response:
            await response.read()
            return response.status
    except (
        ClientError,
        OSError,
        ValueError,
    ):  # the client library refused to send it, or the server closed the connection
        return 0


async def send_raw(port: int, head: bytes) -> None:
    """Send bytes that no client library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    await writer.drain()
    writer.write_eof()
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_the_set_of_series_stays_the_same_whatever_clients_send() -> None:
    app = create_app(Settings(read_timeout=1), engine=ScriptedEngine(), registry=CollectorRegistry())
    rng = random.Random(0)
    async with TestServer(app) as server, ClientSession() as session:
        url = str(server.make_url("")).rstrip("/")
        await until(lambda: app[PARTS].supervisor.ready)
        before = await series(session, url)
        statuses = {await send(session, url, rng) for _ in range(400)}
        for head in [
            b"\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"G\xffT /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
            b"POST /process HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /metrics HTTP/1.0\r\n\r\n",
        ]:
            assert server.port is not None
            await send_raw(server.port, head)
        after = await series(session, url)
    assert {200, 400, 404, 405, 415} <= statuses  # the requests reached many different outcomes
    assert after == before
