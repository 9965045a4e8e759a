"""Sends requests as bytes on a socket.

Tests of hostile and broken requests call it. It must not correct what a test sends, as a client library would.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.support.running_service import Service


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def head(length: int | None = None, *headers: str, path: str = "/process", method: str = "POST") -> bytes:
    """A request's head; without a length there is no Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x"]
    if length is not None:
        lines += [f"Content-Length: {length}"]
    if not any(line.lower().startswith("content-type:") for line in headers):
        lines += ["Content-Type: image/png"]
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode("latin-1")


def chunked(*chunks: bytes) -> bytes:
    """A body in chunked coding."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


async def read_answer(reader: asyncio.StreamReader, *, body: bool = True) -> Answer | None:
    """The next answer; None if the connection ended instead. ``body=False`` is for HEAD, whose answers have no body."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    content = await reader.readexactly(int(headers.get("content-length", "0"))) if body else b""
    return Answer(int(lines[0].split()[1]), headers, content)


async def exchange(service: Service, sent: bytes, *, answers: int = 1, bodies: bool = True) -> list[Answer]:
    """Send bytes on a connection of their own, and read up to that many answers."""
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port, limit=1 << 24)
    found: list[Answer] = []
    try:
        async with asyncio.timeout(30):
            writer.write(sent)
            while len(found) < answers and (answer := await read_answer(reader, body=bodies)) is not None:
                found.append(answer)
    finally:
        writer.transport.abort()
    return found
