"""Runs the shipped ``deploy/haproxy.cfg`` in the real HAProxy, in front of services that a test has started.

A test may replace some of its numbers, but only text that stands there exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession

from tests.support.ports import free_port
from tests.support.programs import ROOT, program
from tests.support.waiting import until

CONFIG = ROOT / "deploy" / "haproxy.cfg"

SERVER = "server one 127.0.0.1:8080 check"


def configuration(port: int, replicas: Sequence[int], changes: Iterable[tuple[str, str]] = ()) -> str:
    """The shipped configuration for these ports.

    Args:
        port: to which clients connect.
        replicas: the ports of the services.
        changes: what else is different here: shipped text and its replacement.
    """
    servers = "\n    ".join(f"server s{at} 127.0.0.1:{at} check" for at in replicas)
    text = CONFIG.read_text()
    for shipped, here in [
        ("bind :8000", f"bind 127.0.0.1:{port}"),
        (SERVER, servers),
        ("maxconn 4000", "maxconn 900"),
        *changes,
    ]:
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, here)
    return text


@asynccontextmanager
async def proxy(
    folder: Path, replicas: Sequence[int], changes: Iterable[tuple[str, str]] = ()
) -> AsyncIterator[int]:
    """HAProxy in front of services that are ready; its port."""
    name, port = await asyncio.to_thread(program, "haproxy"), free_port()
    path = folder / "haproxy.cfg"
    text = await asyncio.to_thread(configuration, port, replicas, changes)
    await asyncio.to_thread(path.write_text, text)
    process = await asyncio.create_subprocess_exec(name, "-f", str(path))
    try:
        async with ClientSession() as session:

            async def serves() -> bool:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/warmup") as response:
                        return response.status == 200
                except OSError:
                    return False

            await until(serves, seconds=30)
        yield port
    finally:
        process.terminate()
        await process.wait()
