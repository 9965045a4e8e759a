"""Three replicas behind the shipped HAProxy configuration, under load, while one after the other is taken away.

Every answer is looked at. Bodies of 5 MB are among them, because a proxy can repeat only what it holds.
"""

from __future__ import annotations

import asyncio
import signal
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector

from tests.support.haproxy import proxy
from tests.support.photos import encoded
from tests.support.service_process import Live

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SMALL, LARGE = (40, 30), (52, 44)
"""Pixels; by its size each answer is told from every other."""
CLIENTS = {SMALL: 6, LARGE: 2}
LARGE_BYTES = 5_000_000
PAUSE_SECONDS = 0.05
"""Between an answer and a client's next request: the machine also has to start the replicas."""
PATIENCE = 120
"""Seconds that a busy machine may take for anything."""

CHANGES = [
    ("timeout server 65s", "timeout server 6s"),
    ("timeout queue 5s", "timeout queue 60s"),
]


def padded(photo: bytes, length: int) -> bytes:
    """A PNG that is as long as that, by a chunk that no decoder knows."""
    data = bytes(max(0, length - len(photo) - 12))
    chunk = b"teSt" + data
    return (
        photo[:33] + struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + photo[33:]
    )


@dataclass
class Seen:
    """What clients saw in one phase."""

    phase: str
    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def row(self) -> str:
        said = ", ".join(f"{count} x {answer}" for answer, count in sorted(self.answers.items()))
        return f"{self.phase:<42} {said:<28} slowest {self.slowest:.1f} s"


class Load:
    """Clients that send one picture after the other."""

    def __init__(self, port: int) -> None:
        self.seen: list[Seen] = []
        self._url = f"http://127.0.0.1:{port}"
        self._tasks: list[asyncio.Task[None]] = []

    def phase(self, name: str) -> Seen:
        """From now on, count answers under this name."""
        self.seen.append(Seen(name))
        return self.seen[-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        photos = {SMALL: encoded(*SMALL), LARGE: padded(encoded(*LARGE), LARGE_BYTES)}
        async with ClientSession(self._url, connector=TCPConnector(limit=0)) as session:
            ended = asyncio.Event()
            for size, count in CLIENTS.items():
                for _ in range(count):
                    self._tasks.append(asyncio.create_task(self._client(session, size, photos[size], ended)))
            yield
            ended.set()
            await asyncio.gather(*self._tasks)

    async def _client(
        self, session: ClientSession, size: tuple[int, int], photo: bytes, ended: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        while not ended.is_set():
            began = loop.time()
            answer = await self._send(session, size, photo)
            seen = self.seen[-1]
            seen.answers[answer] += 1
            seen.slowest = max(seen.slowest, loop.time() - began)
            await asyncio.sleep(PAUSE_SECONDS if answer == "200" else 4 * PAUSE_SECONDS)

    @staticmethod
    async def _send(session: ClientSession, size: tuple[int, int], photo: bytes) -> str:
        try:
            async with session.post(
                "/process", data=BytesIO(photo), headers={"Content-Type": "image/png"}
            ) as response:
                body = await response.read()
        except (ClientError, OSError, TimeoutError) as error:
            return f"no answer ({type(error).__name__})"
        if response.status == 200:
            return "200" if struct.unpack(">II", body[16:24]) == size else "wrong picture"
        return f"{response.status}" + ("" if response.headers.get("Retry-After") else " without Retry-After")


class Replicas:
    """The three services."""

    def __init__(self, folder: Path) -> None:
        self.all = [Live(folder, name=name, drain_timeout=8) for name in ("one", "two", "three")]

    async def start(self, replica: Live) -> None:
        """Start one, and wait until it is ready."""
        replica.start()
        await asyncio.to_thread(replica.until_ready, seconds=PATIENCE)

    async def serves_clients(self, replica: Live) -> None:
        """Wait until the proxy has given it a request."""
        sample = 'http_requests_total{code="200",method="POST",route="/process"}'
        await asyncio.to_thread(replica.until, lambda: replica.metric(sample) > 0, seconds=PATIENCE)

    async def drained(self, replica: Live) -> int:
        """Send SIGTERM, wait for the end; its exit code."""
        replica.terminate()
        return await asyncio.to_thread(replica.exit_code, within=PATIENCE)


async def test_what_clients_see_while_replicas_come_and_go(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    replicas = Replicas(tmp_path)
    one, two, three = replicas.all
    with ExitStack() as ended:
        for replica in replicas.all:
            ended.callback(replica.close)
            await replicas.start(replica)
            replica.set_faults(request="sleep 0.02")
        async with proxy(tmp_path, [replica.port for replica in replicas.all], CHANGES) as port:
            load = Load(port)
            load.phase("three replicas")
            async with load.running():
                await asyncio.sleep(1.5)

                load.phase("one is killed (SIGKILL)")
                one.process.kill()
                await asyncio.to_thread(one.process.wait)
                await asyncio.sleep(2)

                load.phase("it starts cold, and loads for 1.5 s")
                one.set_faults(load="sleep 1.5", request="sleep 0.02")
                await replicas.start(one)
                await replicas.serves_clients(one)

                load.phase("another is drained (SIGTERM)")
                assert await replicas.drained(two) == 0
                await replicas.start(two)
                await replicas.serves_clients(two)

                load.phase("the third is stopped (SIGSTOP) for 8 s")
                three.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(8)
                load.phase("it goes on (SIGCONT)")
                three.process.send_signal(signal.SIGCONT)
                await asyncio.to_thread(three.until_ready, seconds=PATIENCE)
                await asyncio.sleep(1)

                load.phase("all are replaced, one by one")
                for replica in replicas.all:
                    assert await replicas.drained(replica) == 0
                    await replicas.start(replica)
                    await replicas.serves_clients(replica)
    for seen in load.seen:
        record_property("printed", seen.row())
        assert seen.answers["200"] > 0, seen
        assert set(seen.answers) <= {"200", "429"}, [each.row() for each in load.seen]
